"""The graph of a model: operations on equivariant values, immutable and always well typed.

In: nodes, each after its inputs, and the names of the outputs. Out: types, a networkx view, a
table, a hash. Refused, when a graph is made: names used twice, inputs that come later, types that
do not fit, rows whose number no input tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import networkx

from tvm_equi.errors import GraphError, unknown_choice
from tvm_equi.graph.cost import Cost, operation_cost
from tvm_equi.graph.infer import infer_types
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Convolution,
    Input,
    Linear,
    Operation,
    Parameter,
    SymmetricContraction,
    TensorProduct,
)
from tvm_equi.graph.types import Type, ValueType


@dataclass(frozen=True, slots=True)
class TensorProductGraph:
    """Operations and the values between them.

    Args:
        nodes: each after the nodes that it reads.
        outputs: names of the values that a call returns.

    Raises:
        GraphError: the graph is not well formed; names the node.

    Example:
        >>> from tvm_equi.graph import GraphBuilder
        >>> build = GraphBuilder()
        >>> x = build.input("x", "2x0e+2x1o", rows="node")
        >>> graph = build.graph(build.linear("mixed", x, "4x1o"))
        >>> graph.types["mixed"].irreps
        '4x1o'
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        """Verifies the graph."""
        self.verify()

    def verify(self) -> None:
        """Checks names, types and rows.

        Raises:
            GraphError: naming the node.
        """
        types = infer_types(self.nodes)
        if not self.outputs:
            raise GraphError("graph: outputs: expected at least one, got none")
        for name in self.outputs:
            if name not in types:
                raise GraphError(unknown_choice("graph", "outputs", types, name))
            if not isinstance(types[name], ValueType):
                raise GraphError(f"graph: outputs: expected values, got {name!r}: {types[name]}")
        known = {"shared"} | {
            node.operation.type.rows for node in self.nodes if isinstance(node.operation, Input)
        }
        for name, given in types.items():
            if given.rows not in known:
                raise GraphError(
                    f"node {name!r}: rows: expected an Input with rows {given.rows!r}, "
                    "which tells how many there are, got none"
                )

    @property
    def types(self) -> Mapping[str, Type]:
        """The type of every node's value."""
        return _types(self)

    @property
    def network(self) -> networkx.DiGraph:
        """A frozen networkx graph: an edge from each value to each node that reads it."""
        return _network(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in the order in which a call takes them."""
        return tuple(node.name for node in self.nodes if isinstance(node.operation, Input))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(node.name for node in self.nodes if isinstance(node.operation, Parameter))

    def node(self, name: str) -> Node:
        """The node of a name.

        Args:
            name: of the node.

        Raises:
            GraphError: there is none.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise GraphError(unknown_choice("graph", "node", [node.name for node in self.nodes], name))

    def cost(self, name: str) -> Cost:
        """Multiply-adds and bytes of a node."""
        node = self.node(name)
        types = self.types
        return operation_cost(node.operation, [types[i] for i in node.inputs], types[name])

    def key(self) -> str:
        """sha256 of the content, hexadecimal."""
        return hashlib.sha256(repr((self.nodes, self.outputs)).encode()).hexdigest()

    def __repr__(self) -> str:
        """A table with one line per node."""
        return format_table(self)


@lru_cache(maxsize=256)
def _types(graph: TensorProductGraph) -> Mapping[str, Type]:
    return MappingProxyType(infer_types(graph.nodes))


@lru_cache(maxsize=256)
def _network(graph: TensorProductGraph) -> networkx.DiGraph:
    network = networkx.DiGraph()
    for node in graph.nodes:
        network.add_node(node.name, operation=node.operation)
        for slot, source in enumerate(node.inputs):
            slots = (*network.get_edge_data(source, node.name, {}).get("slots", ()), slot)
            network.add_edge(source, node.name, slots=slots)
    return networkx.freeze(network)


TABLE_HEADER = ("node", "operation", "reads", "value", "paths", "nnz", "multiply-adds", "bytes")


def table_rows(graph: TensorProductGraph) -> list[tuple[str, ...]]:
    """The cells of the table of a graph; counts are per row of the node's value.

    Args:
        graph: to print.
    """
    rows: list[tuple[str, ...]] = []
    for node in graph.nodes:
        cost = graph.cost(node.name)
        is_product = isinstance(
            node.operation, TensorProduct | Convolution | Linear | SymmetricContraction
        )
        rows.append(
            (
                node.name,
                node.kind,
                ", ".join(node.inputs),
                str(graph.types[node.name]),
                str(cost.paths) if is_product else "",
                str(cost.nonzeros) if is_product else "",
                _count(cost.multiply_adds),
                _count(cost.row_bytes),
            )
        )
    return rows


def _count(number: int) -> str:
    """A count with thousands apart; nothing for none."""
    return f"{number:,}" if number else ""


def format_table(graph: TensorProductGraph) -> str:
    """The table of a graph as text.

    Args:
        graph: to print.
    """
    rows = [TABLE_HEADER, *table_rows(graph)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TABLE_HEADER))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column >= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, f"outputs: {', '.join(graph.outputs)}"])


__all__ = ["Operation", "TensorProductGraph", "format_table", "table_rows"]
