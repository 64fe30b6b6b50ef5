"""What typing rules refuse, word by word."""

from collections.abc import Callable

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations import checks
from tvm_equi.graph.types import IndexType, ValueType, canonical_irreps

VECTORS = ValueType(canonical_irreps("4x1o"), "node")
SCALARS = ValueType(canonical_irreps("4x0o"), "edge", dtype="float64")
INDEX = IndexType("edge", "node")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: checks.expect_count([VECTORS], ("x", "y")), "inputs: expected 2 (x, y), got 1"),
        (lambda: checks.expect_value("x", INDEX), "x: expected a value, got index edge -> node"),
        (lambda: checks.expect_index("i", VECTORS), "i: expected an index, got 4x1o [node]"),
        (
            lambda: checks.expect_irreps("x", VECTORS, "4x1e"),
            "x: expected irreps 4x1e, got 4x1o",
        ),
        (lambda: checks.expect_rows("x", INDEX, "node"), "x: expected rows 'node', got 'edge'"),
        (
            lambda: checks.expect_layout("x", VECTORS, "ir_mul"),
            "x: expected layout 'ir_mul', got 'mul_ir'",
        ),
        (
            lambda: checks.expect_same_dtype("xy", [VECTORS, SCALARS]),
            "y: expected dtype 'float32' like x, got 'float64'",
        ),
        (lambda: checks.expect_scalars("w", VECTORS), "w: expected scalars, got 4x1o"),
        (lambda: checks.expect_scalars("w", SCALARS, 4), "w: expected 4 even scalars, got 4x0o"),
    ],
)
def test_refusals(check: Callable[[], object], message: str) -> None:
    with pytest.raises(GraphError) as error:
        check()
    assert str(error.value) == message


def test_layout_of_scalars_plays_no_part() -> None:
    checks.expect_layout("x", SCALARS, "ir_mul")
