"""What the function that runs a node of a graph is given.

In: the values of one call of a graph. Out: what a rule sees. The sorted edges of an edge index are
made when the first convolution asks for them, and shared by all others of the call and by their
derivatives. Refused: inputs that are missing, unknown or given twice; names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tvm_equi.errors import ArgumentError, unknown_choice
from tvm_equi.runtime.rules.library import Array

Topologies: TypeAlias = dict[tuple[str, str], Any]
"""By the names of the indices of senders and receivers."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a rule sees.

    Args:
        values: of the node's inputs.
        num_rows: of each kind.
        check_indices: as for `Topology`.
        topologies: that were given, and that this call of the graph has made so far.
    """

    values: list[Array]
    num_rows: dict[str, int]
    check_indices: bool | None = None
    topologies: Topologies = field(default_factory=dict)


Rule: TypeAlias = Callable[[Call], Array]


def bind(
    names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any], kind: str
) -> dict[str, Any]:
    """Inputs of a graph by name.

    Args:
        names: of the inputs, in order.
        args: given in order.
        kwargs: given by name.
        kind: "a tensor" or "an array", for errors.

    Raises:
        ArgumentError: one is missing, unknown or given twice.
    """
    if len(args) > len(names):
        raise ArgumentError(
            f"graph: inputs: expected {len(names)} ({', '.join(names)}), got {len(args)}"
        )
    values = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise ArgumentError(unknown_choice("graph", "inputs", names, name))
        if name in values:
            raise ArgumentError(f"graph: {name}: expected it once, got it twice")
        values[name] = value
    for name in names:
        if name not in values:
            raise ArgumentError(f"graph: {name}: expected {kind}, got none")
    return values
