"""Types of values: canonical irreps, dimensions, layouts, and what is refused."""

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph.types import (
    IndexType,
    ValueType,
    canonical_irreps,
    format_irreps,
    irreps_dim,
    is_layout_free,
    parse_irreps,
)


def test_canonical_irreps_keeps_order_and_repetition() -> None:
    text = canonical_irreps("1o + 2x0e+3x1o")
    assert text == "1x1o+2x0e+3x1o"
    assert format_irreps(parse_irreps(text)) == text
    assert irreps_dim(text) == 14
    assert canonical_irreps("") == ""


def test_irreps_that_are_none() -> None:
    with pytest.raises(GraphError) as error:
        canonical_irreps("64x0q")
    assert str(error.value) == (
        "irreps: expected e3nn's notation such as '64x0e+64x1o', got '64x0q'"
    )


@pytest.mark.parametrize(("irreps", "free"), [("4x0e+1x3o", True), ("2x1o", False), ("", True)])
def test_layout_free(irreps: str, free: bool) -> None:
    assert is_layout_free(irreps) is free


def test_value_type_facts() -> None:
    kind = ValueType(canonical_irreps("4x0e+4x1o"), "edge", "ir_mul")
    assert (kind.dim, kind.is_invariant, str(kind)) == (16, False, "4x0e+4x1o [edge] ir_mul")
    assert ValueType(canonical_irreps("4x0o"), "node").is_invariant


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"rows": "nodes"},
            "rows: expected one of 'edge', 'graph', 'node', 'shared', got 'nodes'; "
            "did you mean 'node'?",
        ),
        (
            {"layout": "mulir"},
            "layout: expected one of 'ir_mul', 'mul_ir', got 'mulir'; did you mean 'mul_ir'?",
        ),
        (
            {"dtype": "float16"},
            "dtype: expected one of 'float32', 'float64', got 'float16'; did you mean 'float64'?",
        ),
        ({"irreps": "0e"}, "irreps: expected '1x0e', got '0e'; use canonical_irreps()"),
    ],
)
def test_value_type_refuses(fields: dict[str, str], message: str) -> None:
    given = {"irreps": "1x0e", "rows": "node"} | fields
    with pytest.raises(GraphError) as error:
        ValueType(**given)
    assert str(error.value).startswith(message.split("; did")[0])


def test_index_type() -> None:
    assert str(IndexType("edge", "node")) == "index edge -> node"
    with pytest.raises(GraphError, match="into: expected one of 'edge', 'graph', 'node', got"):
        IndexType("edge", "shared")
