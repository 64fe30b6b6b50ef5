"""Typing rules of gather, scatter and sums."""

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations import Gather, ScatterSum, Sum
from tvm_equi.graph.types import IndexType, Type, ValueType, canonical_irreps

NODES = ValueType(canonical_irreps("4x0e"), "node")
EDGES = ValueType(canonical_irreps("4x0e"), "edge")
SHARED = ValueType(canonical_irreps("4x0e"), "shared")
INDEX = IndexType("edge", "node")


def test_types() -> None:
    assert Gather().infer([NODES, INDEX]) == EDGES
    assert ScatterSum(0.5).infer([EDGES, INDEX]) == NODES
    assert Sum().infer([NODES]) == SHARED


@pytest.mark.parametrize(
    ("operation", "inputs", "message"),
    [
        (Gather(), [EDGES, INDEX], "x: expected rows 'node', got 'edge'"),
        (Gather(), [NODES, NODES], "index: expected an index, got 4x0e [node]"),
        (ScatterSum(), [NODES, INDEX], "x: expected rows 'edge', got 'node'"),
        (ScatterSum(), [INDEX, INDEX], "x: expected a value, got index edge -> node"),
        (Sum(), [SHARED], "x: expected a value with rows, got a shared one"),
    ],
)
def test_refusals(operation: Gather, inputs: list[Type], message: str) -> None:
    with pytest.raises(GraphError) as error:
        operation.infer(inputs)
    assert str(error.value) == message
