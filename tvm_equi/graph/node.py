"""A node of a graph: one operation and the names of what it reads.

In: an operation and names. Out: frozen data. Whether the names exist and fit is the graph's
business.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_equi.graph.operations import Operation


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph and the value that it makes.

    Args:
        name: of the node and its value.
        operation: what it does.
        inputs: names of the values it reads, in the operation's order.
    """

    name: str
    operation: Operation
    inputs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The operation's name."""
        return type(self.operation).__name__
