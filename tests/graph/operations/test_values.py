"""Typing rules of inputs, parameters, sums, slices and concatenations."""

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations import Add, Concat, Input, Parameter, Slice
from tvm_equi.graph.types import ValueType, canonical_irreps

X = ValueType(canonical_irreps("4x0e+2x1o"), "node")
EDGES = ValueType(canonical_irreps("4x0e+2x1o"), "edge")


def test_types() -> None:
    assert Input(X).infer([]) == X
    assert str(Parameter(7).infer([])) == "7x0e [shared]"
    assert Add((1.0, -1.0)).infer([X, X]) == X
    assert Slice(((1, 1, 2), (0, 0, 3))).infer([X]).irreps == "1x1o+3x0e"
    assert Concat(2).infer([X, X]).irreps == "4x0e+2x1o+4x0e+2x1o"


@pytest.mark.parametrize(
    ("operation", "inputs", "message"),
    [
        (Add((1.0, 1.0)), [X], "inputs: expected 2 (inputs[0], inputs[1]), got 1"),
        (Add((1.0, 1.0)), [X, EDGES], "inputs[1]: expected rows 'node', got 'edge'"),
        (Add(()), [], "inputs: expected 1 (inputs[0]), got 0"),
        (Slice(((2, 0, 1),)), [X], "parts[0]: expected a segment below 2, got 2"),
        (Slice(((1, 0, 3),)), [X], "parts[0]: expected 0 <= start <= end <= 2, got 0, 3"),
        (Concat(2), [X, EDGES], "inputs[1]: expected rows 'node', got 'edge'"),
    ],
)
def test_refusals(operation: Add, inputs: list[ValueType], message: str) -> None:
    with pytest.raises(GraphError) as error:
        operation.infer(inputs)
    assert str(error.value) == message


def test_negative_size() -> None:
    with pytest.raises(GraphError, match="size: expected 0 or more, got -1"):
        Parameter(-1)
