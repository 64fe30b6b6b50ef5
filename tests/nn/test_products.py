"""Products with ready-made instructions: the same instructions, results and refusals as e3nn's."""

import re
from typing import Any

import pytest
import torch
from e3nn import o3

from tvm_equi import nn
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.testing import assert_equivariant, assert_matches_e3nn

CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("FullyConnectedTensorProduct", ("3x0e + 2x1o", "0e + 1o + 1o", "2x0e + 3x1o + 0x2e"), {}),
    (
        "FullyConnectedTensorProduct",
        ("3x0e + 2x1o", "0e + 2x1o", "2x1o + 2x1e"),
        {"shared_weights": False, "path_normalization": "path", "irrep_normalization": "norm"},
    ),
    ("FullTensorProduct", ("2x1o + 1x1o + 2x0e", "1x1o + 2x1e"), {}),
    (
        "FullTensorProduct",
        ("2x1o + 0x2e", "1x1o + 2x2e"),
        {"filter_ir_out": ["1o", "3o", "0e"], "irrep_normalization": "norm"},
    ),
    ("ElementwiseTensorProduct", ("5x1o + 5x1e", "10x1e"), {"filter_ir_out": ["0e", "0o"]}),
    ("ElementwiseTensorProduct", ("2x0e + 3x1o", "4x1o + 1x2e"), {"irrep_normalization": "norm"}),
]


def _pair(name: str, arguments: Any, options: Any, layout: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    reference = getattr(o3, name)(*arguments, **options)
    torch.manual_seed(0)
    return getattr(nn, name)(*arguments, **options, layout=layout), reference


@pytest.mark.parametrize(("name", "arguments", "options"), CASES)
@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_equals_e3nn(name: str, arguments: Any, options: Any, layout: str) -> None:
    ours, reference = _pair(name, arguments, options, layout)
    assert ours.irreps_in1 == reference.irreps_in1
    assert ours.irreps_in2 == reference.irreps_in2
    assert ours.irreps_out == reference.irreps_out
    assert [ins[:5] for ins in ours.instructions] == [ins[:5] for ins in reference.instructions]
    assert repr(ours) == repr(reference)
    assert_matches_e3nn(ours, reference)
    if layout == "mul_ir":
        assert_matches_e3nn(ours, reference, dtype=torch.float32)
    assert_equivariant(ours)


BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (
        "FullyConnectedTensorProduct",
        ("1o", "1o", "1a"),
        {},
        ArgumentError,
        "FullyConnectedTensorProduct: irreps_out: expected irreps such as '8x0e + 4x1o', got '1a'",
    ),
    (
        "FullTensorProduct",
        ("1o", "1o"),
        {"filter_ir_out": ["1a"]},
        ArgumentError,
        "FullTensorProduct: filter_ir_out: expected a list of irreps such as ['0e', '1o'], got "
        "['1a']",
    ),
    (
        "FullTensorProduct",
        ("1o", "1o"),
        {"filter_ir_out": 3},
        ArgumentTypeError,
        "FullTensorProduct: filter_ir_out: expected a list of irreps such as ['0e', '1o'], got 3",
    ),
    (
        "ElementwiseTensorProduct",
        ("2x1o", "3x1o"),
        {},
        ArgumentError,
        "ElementwiseTensorProduct: irreps_in2: expected 2 channels as irreps_in1 (2x1o), got 3 "
        "(3x1o)",
    ),
    (
        "FullTensorProduct",
        ("1o", "1o"),
        {"irrep_normalization": "nome"},
        ArgumentError,
        "FullTensorProduct: irrep_normalization: expected one of 'component', 'none', 'norm', "
        "got 'nome'; "
        "did you mean 'norm'?",
    ),
]


@pytest.mark.parametrize(("name", "arguments", "options", "error", "message"), BAD)
def test_bad_construction(
    name: str, arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        getattr(nn, name)(*arguments, **options)
