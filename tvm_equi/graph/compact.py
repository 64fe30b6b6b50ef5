"""Parameters without the numbers that nothing reads.

    w: 10 numbers                          w: 4 numbers
    k = Slice(w): 4 of them           ->   z = Linear(x, w)
    z = Linear(x, k)

In: a graph and values of its parameters. Out: both, smaller: slices of parameters and unread
columns of last layers are cut out of the values. Names stay. A parameter that several operations
read stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Convolution, Parameter, ScalarMLP, Slice
from tvm_equi.graph.rewriting import View

Array = NDArray[np.float64]
Values = dict[str, Array]


def compact(
    graph: TensorProductGraph, parameters: Mapping[str, Array]
) -> tuple[TensorProductGraph, Values]:
    """The graph with smaller parameters, and their values.

    Args:
        graph: to make smaller.
        parameters: values by name; more than the graph's are ignored.
    """
    view = View.of(graph.nodes, graph.outputs)
    values = {name: np.asarray(parameters[name]) for name in graph.parameters}
    changed: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        match node.operation:
            case Slice(parts=parts) if _is_own(view, node.inputs[0]):
                source = node.inputs[0]
                values[source] = np.concatenate(
                    [values[source][:0], *(values[source][a:b] for _, a, b in parts)]
                )
                renamed[node.name] = source
            case ScalarMLP(sizes=sizes, columns=columns) if columns and _is_own(
                view, node.inputs[-1]
            ):
                last = node.inputs[-1]
                values[last] = cut_columns(values[last], sizes[-2], _flat(columns))
                smaller = replace(
                    node.operation, sizes=(*sizes[:-1], node.operation.num_columns), columns=()
                )
                changed[node.name] = replace(node, operation=smaller)
            case Convolution(radial=radial) if radial is not None and radial.columns:
                last = node.operation.by_name(node.inputs)["last"]
                if _is_own(view, last):
                    values[last] = cut_columns(
                        values[last], radial.num_hidden, _flat(radial.columns)
                    )
                    layer = replace(radial, num_weights=radial.num_columns, columns=())
                    changed[node.name] = replace(
                        node, operation=replace(node.operation, radial=layer)
                    )
            case _:
                continue
    nodes = []
    for node in graph.nodes:
        if node.name in renamed and node.name not in graph.outputs:
            continue
        node = changed.get(node.name, node)
        if isinstance(node.operation, Parameter):
            size = len(values[node.name])
            node = replace(node, operation=replace(node.operation, size=size))
        nodes.append(replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs)))
    return TensorProductGraph(tuple(nodes), graph.outputs), values


def cut_columns(matrix: Array, num_rows: int, columns: NDArray[np.int64]) -> Array:
    """Some columns of a row-major matrix, flat.

    Args:
        matrix: flat.
        num_rows: of it.
        columns: to keep.
    """
    return matrix.reshape(num_rows, -1)[:, columns].reshape(-1)


def _flat(ranges: tuple[tuple[int, int], ...]) -> NDArray[np.int64]:
    """The numbers in some ranges."""
    return np.concatenate([np.arange(start, end) for start, end in ranges])


def _is_own(view: View, name: str) -> bool:
    """Whether a value is a parameter that one operation reads."""
    return isinstance(view.nodes[name].operation, Parameter) and view.is_read_once(name)
