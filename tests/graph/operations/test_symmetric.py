"""The type of a symmetric contraction, and what it refuses."""

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations import SymmetricContraction
from tvm_equi.graph.types import ValueType


def value(irreps: str, rows: str = "node", **fields: str) -> ValueType:
    return ValueType(irreps, rows, **fields)


MODULE = SymmetricContraction("2x0e+2x1o", "2x0e", 2)


def test_type() -> None:
    assert MODULE.num_weights() == 2 * 3  # x0, x0 x0, x1 x1
    assert MODULE.infer([value("2x0e+2x1o"), value("6x0e", "shared")]) == value("2x0e")


@pytest.mark.parametrize(
    ("operation", "inputs", "message"),
    [
        (MODULE, ("2x0e", "node", "6x0e", "shared"), "x: expected irreps 2x0e"),
        (MODULE, ("2x0e+2x1o", "shared", "6x0e", "shared"), "x: expected a value with rows"),
        (MODULE, ("2x0e+2x1o", "node", "6x0e", "node"), "w: expected rows 'shared', got 'node'"),
        (MODULE, ("2x0e+2x1o", "node", "5x0e", "shared"), "w: expected 6 even scalars, got 5x0e"),
        (
            SymmetricContraction("2x0e+3x1o", "2x0e", 2),
            ("2x0e+3x1o", "node", "6x0e", "shared"),
            "expected irreps of one multiplicity, got 2x0e.3x1o and 2x0e",
        ),
        (
            SymmetricContraction("2x0e", "2x0e", 5),
            ("2x0e", "node", "6x0e", "shared"),
            "correlation: expected 1 to 4, got 5",
        ),
    ],
)
def test_refusals(operation: SymmetricContraction, inputs: tuple[str, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        operation.infer([value(*inputs[:2]), value(*inputs[2:])])


def test_needs_weights() -> None:
    with pytest.raises(GraphError, match=r"inputs: expected 2 \(x, w\), got 1"):
        MODULE.infer([value("2x0e+2x1o")])
