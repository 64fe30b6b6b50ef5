"""Typing rules of what works on invariants, and e3nn's activation constants."""

from collections.abc import Callable

import pytest
import torch
from e3nn.math import normalize2mom

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations import (
    SECOND_MOMENT_SCALES,
    Activation,
    Cutoff,
    Norm,
    RadialBasis,
    ScalarMLP,
)
from tvm_equi.graph.types import ValueType, canonical_irreps


def value(irreps: str, rows: str = "edge") -> ValueType:
    return ValueType(canonical_irreps(irreps), rows)


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "abs": torch.abs,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_scales_are_e3nns(name: str) -> None:
    assert SECOND_MOMENT_SCALES[name] == pytest.approx(normalize2mom(FUNCTIONS[name]).cst, rel=1e-9)


def test_types() -> None:
    assert Norm().infer([value("2x1o+3x2e")]).irreps == "2x0e+3x0e"
    assert RadialBasis(8, 4.0).infer([value("0e")]).irreps == "8x0e"
    assert Cutoff(4.0).infer([value("0e")]) == value("0e")
    activation = Activation(("tanh", "abs", "silu"), (1.0, 1.0, 1.0))
    assert activation.infer([value("2x0o+3x0o+4x0e")]).irreps == "2x0o+3x0e+4x0e"
    weights = [value("16x0e", "shared"), value("24x0e", "shared")]
    assert ScalarMLP((4, 4, 6)).infer([value("4x0e"), *weights]).irreps == "6x0e"
    some = ScalarMLP((4, 4, 6), columns=((0, 1), (3, 5)))
    assert some.infer([value("4x0e"), *weights]).irreps == "3x0e"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RadialBasis(0, 4.0), "num: expected more than 0, got 0"),
        (lambda: RadialBasis(8, -1.0), "cutoff: expected more than 0, got -1.0"),
        (lambda: Cutoff(0.0), "cutoff: expected more than 0, got 0.0"),
        (lambda: Cutoff(4.0, 0), "power: expected more than 0, got 0"),
        (lambda: Cutoff(4.0).infer([value("2x0e")]), "length: expected 1 even scalars"),
        (lambda: RadialBasis(8, 4.0).infer([value("1o")]), "length: expected 1 even scalars"),
        (lambda: ScalarMLP((4,)), "sizes: expected two or more, each at least 1, got (4,)"),
        (lambda: ScalarMLP((4, 0)), "sizes: expected two or more, each at least 1, got (4, 0)"),
        (
            lambda: ScalarMLP((4, 4), "gelu"),
            "function: expected one of abs, identity, relu, sigmoid, silu, tanh, got 'gelu'",
        ),
        (
            lambda: ScalarMLP((4, 4), columns=((0, 5),)),
            "columns: expected ranges within 0 .. 4, got 0, 5",
        ),
        (
            lambda: ScalarMLP((4, 4)).infer([value("4x0e"), value("15x0e", "shared")]),
            "w0: expected 16 even scalars, got 15x0e",
        ),
        (
            lambda: Activation(("silu",), (1.0,)).infer([value("2x0e+2x0e")]),
            "functions: expected 2, one per segment, got 1",
        ),
        (
            lambda: Activation(("silu",), (1.0,)).infer([value("2x1o")]),
            "x: expected scalars, got 2x1o",
        ),
        (
            lambda: Activation(("silu",), (1.0,)).infer([value("2x0o")]),
            "functions[0]: expected an even or odd function for odd scalars (2x0o), got 'silu'",
        ),
        (
            lambda: Activation(("gelu",), (1.0,)).infer([value("2x0e")]),
            "functions[0]: expected one of abs, identity, relu, sigmoid, silu, tanh, got 'gelu'",
        ),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(GraphError) as error:
        make()
    assert str(error.value).startswith(message)
