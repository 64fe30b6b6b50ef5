"""What a whole graph costs: multiply-adds and bytes, for so many nodes and edges.

In: a graph and sizes. Out: totals that compare, by multiply-adds first. The work of a sum is
counted at the rows that it reads, that of a convolution at its edges and nodes apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tvm_equi.graph.cost import DTYPE_BYTES, INDEX_BYTES, Cost, operation_cost
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Convolution, Gather, Operation, ScatterSum, Sum
from tvm_equi.graph.types import Type, ValueType


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows a graph is planned for; only ratios matter but for work once per call.

    Args:
        nodes: atoms.
        edges: pairs of neighbours.
        graphs: structures.
    """

    nodes: int = 256
    edges: int = 256 * 28
    graphs: int = 1

    def of(self, rows: str) -> int:
        """The number of some rows; 1 for what is shared."""
        return {"node": self.nodes, "edge": self.edges, "graph": self.graphs, "shared": 1}[rows]


@dataclass(frozen=True, slots=True, order=True)
class Total:
    """Work of a call.

    Args:
        multiply_adds: after sparsity.
        num_bytes: of all values that operations read or write.
    """

    multiply_adds: int
    num_bytes: int

    def __add__(self, other: Total) -> Total:
        """Both."""
        return Total(self.multiply_adds + other.multiply_adds, self.num_bytes + other.num_bytes)


def total_cost(graph: TensorProductGraph, sizes: Sizes = Sizes()) -> Total:
    """Work of all operations.

    Args:
        graph: to count.
        sizes: rows of each kind.

    Example:
        >>> from tvm_equi.graph import GraphBuilder
        >>> build = GraphBuilder()
        >>> z = build.linear("z", build.input("x", "4x0e", rows="node"), "2x0e")
        >>> total_cost(build.graph(z), Sizes(nodes=10)).multiply_adds
        80
    """
    found = Total(0, 0)
    for node in graph.nodes:
        found += node_total(graph, node, sizes)
    return found


def node_total(graph: TensorProductGraph, node: Node, sizes: Sizes) -> Total:
    """Work of one operation.

    Args:
        graph: that holds it.
        node: to count.
        sizes: rows of each kind.
    """
    if not node.inputs:
        return Total(0, 0)
    inputs = tuple(graph.types[name] for name in node.inputs)
    output = graph.types[node.name]
    cost = _cost(node.operation, inputs, output)
    rows = output.rows
    if isinstance(node.operation, ScatterSum | Sum):
        rows = inputs[0].rows
    elif isinstance(node.operation, Convolution):
        rows = inputs[-1].rows
    adds = cost.multiply_adds * sizes.of(rows) + cost.node_multiply_adds * sizes.of(output.rows)
    is_gathered = isinstance(node.operation, Gather | Convolution)
    num_bytes = _bytes(output) * sizes.of(output.rows)
    for number, kind in enumerate(inputs):
        read_rows = rows if is_gathered and number == 0 else kind.rows
        num_bytes += _bytes(kind) * sizes.of(read_rows)
    return Total(adds, num_bytes)


@lru_cache(maxsize=8192)
def _cost(operation: Operation, inputs: tuple[Type, ...], output: Type) -> Cost:
    return operation_cost(operation, inputs, output)


def _bytes(kind: Type) -> int:
    """Bytes of a row."""
    return kind.dim * DTYPE_BYTES[kind.dtype] if isinstance(kind, ValueType) else INDEX_BYTES
