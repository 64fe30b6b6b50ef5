"""`TensorSquare` equals e3nn's, with and without weights."""

import re
from typing import Any

import pytest
import torch
from e3nn import o3

from tvm_equi.errors import ArgumentError
from tvm_equi.nn import TensorSquare
from tvm_equi.testing import assert_equivariant, assert_matches_e3nn

CASES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("3x1o + 2x0e",), {}),
    (("1x1o + 1x1o + 1x2e",), {"filter_ir_out": ["0e", "2e", "1o"], "irrep_normalization": "norm"}),
    (("2x1o + 1x0e", "2x0e + 2x2e + 1x1o"), {}),
    (("2x1o", "2x0e + 2x2e"), {"irrep_normalization": "none", "shared_weights": False}),
    (("2x1o", "2x0e + 2x2e"), {"irrep_normalization": "norm", "internal_weights": False}),
]


@pytest.mark.parametrize(("arguments", "options"), CASES)
@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_equals_e3nn(arguments: Any, options: Any, layout: str) -> None:
    torch.manual_seed(0)
    reference = o3.TensorSquare(*arguments, **options)
    torch.manual_seed(0)
    ours = TensorSquare(*arguments, **options, layout=layout)
    assert ours.irreps_in == reference.irreps_in
    assert ours.irreps_out == reference.irreps_out
    assert [ins[:5] for ins in ours.instructions] == [ins[:5] for ins in reference.instructions]
    assert repr(ours) == repr(reference)
    assert_matches_e3nn(ours, reference)
    if layout == "mul_ir":
        assert_matches_e3nn(ours, reference, dtype=torch.float32)
    assert_equivariant(ours)


def test_filter_and_output_exclude_each_other() -> None:
    message = "TensorSquare: filter_ir_out: expected None where irreps_out is given, got ['0e']"
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}$"):
        TensorSquare("1o", "0e", filter_ir_out=["0e"])


def test_unknown_normalization() -> None:
    message = (
        "TensorSquare: irrep_normalization: expected one of 'component', 'none', 'norm', got '3'"
    )
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}$"):
        TensorSquare("1o", irrep_normalization="3")
