"""Typing rules of the convolution."""

from dataclasses import replace

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations import (
    Convolution,
    Instruction,
    RadialLayer,
    SphericalHarmonics,
    TensorProduct,
)
from tvm_equi.graph.types import IndexType, Type, ValueType, canonical_irreps

PRODUCT = TensorProduct(
    canonical_irreps("4x0e"),
    canonical_irreps("0e+1o"),
    canonical_irreps("4x1o"),
    (Instruction(0, 1, 0, "uvu", True, 1.0),),
    "row",
)
SENDERS, RECEIVERS = IndexType("edge", "node"), IndexType("edge", "graph")


def value(irreps: str, rows: str) -> ValueType:
    return ValueType(canonical_irreps(irreps), rows)


X, Y, W = value("4x0e", "node"), value("0e+1o", "edge"), value("4x0e", "edge")
INSIDE = Convolution(PRODUCT, 0.5, RadialLayer(3, 6, ((1, 3), (4, 6))), SphericalHarmonics((0, 1)))


def test_type() -> None:
    found = Convolution(PRODUCT)
    assert found.names == ("x", "y", "w", "senders", "receivers")
    assert found.infer([X, Y, W, SENDERS, RECEIVERS]) == value("4x1o", "graph")


def test_type_with_inner_parts() -> None:
    assert INSIDE.names == ("x", "vectors", "h", "last", "senders", "receivers")
    inputs = [X, value("1o", "edge"), value("3x0e", "edge"), value("18x0e", "shared")]
    assert INSIDE.infer([*inputs, SENDERS, RECEIVERS]) == value("4x1o", "graph")
    assert INSIDE.by_name([*inputs, SENDERS, RECEIVERS])["last"] == inputs[3]


@pytest.mark.parametrize(
    ("operation", "inputs", "message"),
    [
        (
            Convolution(PRODUCT),
            [X, Y, SENDERS, RECEIVERS],
            "inputs: expected 5 (x, y, w, senders, receivers), got 4",
        ),
        (Convolution(PRODUCT), [X, Y, W, X, RECEIVERS], "senders: expected an index, got 4x0e"),
        (
            Convolution(PRODUCT),
            [X, Y, W, SENDERS, IndexType("node", "graph")],
            "receivers: expected rows 'edge', got 'node'",
        ),
        (
            Convolution(PRODUCT),
            [X, value("0e+1o", "node"), W, SENDERS, RECEIVERS],
            "y: expected rows 'edge', got 'node'",
        ),
        (
            Convolution(PRODUCT),
            [value("4x0e", "edge"), Y, W, SENDERS, RECEIVERS],
            "x: expected rows 'node', got 'edge'",
        ),
        (
            Convolution(replace(PRODUCT, weights="shared"), radial=RadialLayer(3, 4)),
            [X, Y, value("3x0e", "edge"), value("12x0e", "shared"), SENDERS, RECEIVERS],
            "radial: expected a product with weights per row, got 'shared'",
        ),
        (
            Convolution(PRODUCT, radial=RadialLayer(3, 4)),
            [X, Y, value("3x0e", "edge"), value("11x0e", "shared"), SENDERS, RECEIVERS],
            "last: expected 12 even scalars, got 11x0e",
        ),
        (
            Convolution(PRODUCT, radial=RadialLayer(3, 5)),
            [X, Y, value("3x0e", "edge"), value("15x0e", "shared"), SENDERS, RECEIVERS],
            "w: expected 4 even scalars, got 5x0e",
        ),
    ],
)
def test_refusals(operation: Convolution, inputs: list[Type], message: str) -> None:
    with pytest.raises(GraphError) as error:
        operation.infer(inputs)
    assert str(error.value).startswith(message)


def test_radial_layers() -> None:
    assert RadialLayer(3, 6).num_columns == 6
    assert RadialLayer(3, 6, ((1, 3), (4, 6))).num_columns == 4
    with pytest.raises(GraphError, match="num_hidden: expected at least 1, got 0"):
        RadialLayer(0, 4)
    with pytest.raises(GraphError, match=r"columns: expected ranges within 0 \.\. 4, got 3, 5"):
        RadialLayer(2, 4, ((3, 5),))
