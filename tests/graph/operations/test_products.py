"""Typing rules of products, linear layers and spherical harmonics."""

from dataclasses import replace

import pytest
from e3nn import o3

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations import (
    Instruction,
    Linear,
    LinearPath,
    SphericalHarmonics,
    TensorProduct,
)
from tvm_equi.graph.operations.products import is_allowed, multiplicities_fit, num_weights
from tvm_equi.graph.types import Irrep, ValueType, canonical_irreps

PATH = Instruction(0, 0, 0, "uvu", True, 1.0)


def value(irreps: str, rows: str = "node", **fields: str) -> ValueType:
    return ValueType(canonical_irreps(irreps), rows, **fields)


def product(*instructions: Instruction, **fields: object) -> TensorProduct:
    given = TensorProduct(
        canonical_irreps("4x0e+4x1o"),
        canonical_irreps("1o"),
        canonical_irreps("4x1o+4x0e"),
        instructions,
        "row",
    )
    return replace(given, **fields)


def test_product_type() -> None:
    found = product(PATH, replace(PATH, i_in1=1, i_out=1))
    assert found.weight_sizes() == (4, 4)
    inputs = [value("4x0e+4x1o"), value("1o"), value("8x0e")]
    assert found.infer(inputs) == value("4x1o+4x0e")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            product(replace(PATH, i_in1=2)),
            "instructions[0].i_in1: expected 0 or more and below 2, got 2",
        ),
        (
            product(replace(PATH, i_out=-1)),
            "instructions[0].i_out: expected 0 or more and below 2, got -1",
        ),
        (
            product(PATH, replace(PATH, mode="uvz")),
            "instructions[1].mode: expected one of 'u<vw', 'uuu'",
        ),
        (
            product(replace(PATH, mode="uvw", has_weight=False)),
            "instructions[0].has_weight: expected true for mode 'uvw', got false",
        ),
        (
            product(replace(PATH, mode="uvv")),
            "instructions[0].mode: expected mul_in2 = mul_out for 'uvv', got 4, 1 and 4",
        ),
        (
            product(PATH, weights="none"),
            "weights: expected 'row' or 'shared' for instructions with weights, got 'none'",
        ),
        (product(PATH, weights="rows"), "weights: expected 'none', 'row' or 'shared', got 'rows'"),
        (
            product(replace(PATH, has_weight=False), weights="none"),
            "inputs: expected 2 (x, y), got 3",
        ),
        (product(PATH, PATH), "w: expected 8 even scalars, got 4x0e"),
        (product(PATH, weights="shared"), "w: expected rows 'shared', got 'node'"),
        (product(PATH, irreps_in2=canonical_irreps("1e")), "y: expected irreps 1x1e, got 1x1o"),
        (product(PATH, layout="ir_mul"), "x: expected layout 'ir_mul', got 'mul_ir'"),
    ],
)
def test_product_refusals(found: TensorProduct, message: str) -> None:
    with pytest.raises(GraphError) as error:
        found.infer([value("4x0e+4x1o"), value("1o"), value("4x0e")])
    assert str(error.value).startswith(message)


def test_product_needs_its_weights() -> None:
    with pytest.raises(GraphError, match=r"inputs: expected 3 \(x, y, w\), got 2"):
        product(PATH).infer([value("4x0e+4x1o"), value("1o")])


def test_product_refuses_several_dtypes() -> None:
    with pytest.raises(GraphError, match="y: expected dtype 'float32' like x, got 'float64'"):
        product(PATH).infer([value("4x0e+4x1o"), value("1o", dtype="float64"), value("4x0e")])


@pytest.mark.parametrize("mode", ["uvw", "uvu", "uvv", "uuw", "uuu", "uvuv", "uvu<v", "u<vw"])
def test_multiplicities_are_those_that_e3nn_takes(mode: str) -> None:
    for u in (1, 2, 3):
        for v in (1, 2, 3):
            for w in (1, 2, 3, 6, 9):
                for has_weight in (False, True):
                    if mode in ("uvw", "u<vw") and not has_weight:
                        continue
                    if "<" in mode and 1 in (u, v):
                        continue  # e3nn skips its checks where there are no pairs
                    path = [(0, 0, 0, mode, has_weight, 1.0)]
                    try:
                        tp = o3.TensorProduct(
                            f"{u}x0e", f"{v}x0e", f"{w}x0e", path, compile_right=False
                        )
                    except AssertionError:
                        assert not multiplicities_fit(mode, u, v, w, has_weight)
                        continue
                    assert multiplicities_fit(mode, u, v, w, has_weight)
                    ins = Instruction(0, 0, 0, mode, has_weight, 1.0)
                    assert num_weights(ins, u, v, w) == tp.weight_numel


def test_allowed_is_what_e3nn_allows() -> None:
    for left in (o3.Irrep(2, 1), o3.Irrep(1, -1)):
        for right in (o3.Irrep(0, -1), o3.Irrep(3, 1)):
            for out in o3.Irrep.iterator(5):
                given = [Irrep(1, ir.l, ir.p) for ir in (left, right, out)]
                assert is_allowed(*given) == (out in left * right)


def linear(*paths: tuple[int, int], biases: tuple[int, ...] = ()) -> Linear:
    typed = tuple(LinearPath(i, k, 1.0) for i, k in paths)
    irreps = canonical_irreps("4x0e+4x1o"), canonical_irreps("2x1o+3x0e")
    return Linear(*irreps, typed, biases)


def test_linear_type() -> None:
    found = linear((0, 1), (1, 0), biases=(1,))
    assert (found.weight_sizes(), found.bias_sizes()) == ((12, 8), (3,))
    inputs = [value("4x0e+4x1o"), value("20x0e", "shared"), value("3x0e", "shared")]
    assert found.infer(inputs).irreps == "2x1o+3x0e"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (linear((0, 0)), "paths[0]: expected one irrep on both sides, got 4x0e and 2x1o"),
        (linear((0, 2)), "paths[0].i_out: expected 0 or more and below 2, got 2"),
        (linear((0, 1), biases=(0,)), "biases[0]: expected even scalars, got 2x1o"),
        (linear((0, 1), biases=(1,)), "inputs: expected 3 (x, w, b), got 2"),
        (linear((0, 1), (1, 0)), "w: expected 20 even scalars, got 12x0e"),
    ],
)
def test_linear_refusals(found: Linear, message: str) -> None:
    with pytest.raises(GraphError) as error:
        found.infer([value("4x0e+4x1o"), value("12x0e", "shared")])
    assert str(error.value) == message


def test_spherical_harmonics_type() -> None:
    assert SphericalHarmonics((0, 1, 2)).infer([value("1o")]).irreps == "1x0e+1x1o+1x2e"
    assert SphericalHarmonics((1, 1)).infer([value("1e")]).irreps == "1x1e+1x1e"


def test_spherical_harmonics_refusals() -> None:
    with pytest.raises(GraphError, match="degrees: expected 0 or more"):
        SphericalHarmonics((-1,))
    with pytest.raises(GraphError, match="normalization: expected one of 'component', 'integral'"):
        SphericalHarmonics((1,), True, "components")
    with pytest.raises(GraphError, match="vectors: expected irreps 1x1o or 1x1e, got 2x1o"):
        SphericalHarmonics((1,)).infer([value("2x1o")])
