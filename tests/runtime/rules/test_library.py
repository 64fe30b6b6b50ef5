"""A library of arrays of one's own: numpy, for graphs without kernels."""

from typing import Any

import numpy as np
import pytest

from tests.operation_graphs import rows_and_scalars
from tests.passes import random_arrays
from tvm_equi.algebra.contraction import LAYOUTS, Layout
from tvm_equi.graph import interpret
from tvm_equi.graph.interpret import scalar_function
from tvm_equi.graph.operations import Input, Parameter
from tvm_equi.runtime.rules.call import Call
from tvm_equi.runtime.rules.library import ArrayLibrary
from tvm_equi.runtime.rules.operations import node_rule


def sum_rows(values: Any, index: Any, num_rows: int) -> Any:
    total = np.zeros((num_rows, values.shape[1]))
    np.add.at(total, index, values)
    return total


def missing(*_: object) -> Any:
    raise AssertionError("expected no kernel in this graph")


NAMES = ("silu", "tanh", "sigmoid", "relu", "abs", "identity")
NUMPY = ArrayLibrary(
    functions={name: lambda x, name=name: scalar_function(name, x) for name in NAMES},
    zeros=lambda like, shape: np.zeros(shape, like.dtype),
    ones=lambda like, shape: np.ones(shape, like.dtype),
    count_to=lambda like, num: np.arange(1, num + 1, dtype=like.dtype),
    concat=lambda arrays: np.concatenate(arrays, -1),
    einsum=np.einsum,
    sin=np.sin,
    take_rows=lambda values, index: values[index],
    sum_rows=sum_rows,
    length=lambda values, axis: np.linalg.norm(values, axis=axis),
    unit_vectors=missing,
    harmonics=missing,
    run=missing,
    convolve=missing,
    topology=missing,
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_graph_in_numpy(layout: Layout) -> None:
    graph = rows_and_scalars(layout)
    values: dict[str, Any] = random_arrays(graph, 3)
    wanted, types = interpret(graph, values), graph.types
    num_rows = {types[name].rows: len(values[name]) for name in graph.inputs}
    for node in graph.nodes:
        if not isinstance(node.operation, Input | Parameter):
            call = Call([values[name] for name in node.inputs], num_rows)
            values[node.name] = node_rule(graph, node, NUMPY)(call)
    for name, expected in wanted.items():
        np.testing.assert_allclose(values[name], expected, atol=1e-12)
