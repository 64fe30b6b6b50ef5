"""The one dtype of a graph's values.

In: a graph. Out: its dtype, or the graph in another. Refused: values of several dtypes.
"""

from __future__ import annotations

from dataclasses import replace

from tvm_equi.errors import GraphError
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Input, Parameter
from tvm_equi.graph.types import DType, ValueType


def with_dtype(graph: TensorProductGraph, dtype: DType) -> TensorProductGraph:
    """The graph with inputs and parameters of a dtype.

    Args:
        graph: to convert.
        dtype: of every value.
    """
    nodes = []
    for node in graph.nodes:
        match node.operation:
            case Input(type=ValueType() as kind):
                nodes.append(Node(node.name, Input(replace(kind, dtype=dtype))))
            case Parameter(size=size):
                nodes.append(Node(node.name, Parameter(size, dtype)))
            case _:
                nodes.append(node)
    return TensorProductGraph(tuple(nodes), graph.outputs)


def graph_dtype(graph: TensorProductGraph) -> DType:
    """The one dtype of a graph.

    Args:
        graph: to look at.

    Raises:
        GraphError: its values have several.
    """
    found = {kind.dtype for kind in graph.types.values() if isinstance(kind, ValueType)}
    if len(found) != 1:
        raise GraphError(f"graph: dtype: expected one for all values, got {sorted(found)}")
    return found.pop()
