"""`SphericalHarmonics` equals e3nn's: degrees, normalisations, derivatives, zeros, parities."""

import copy
import re
from typing import Any

import pytest
import torch
from e3nn import o3

from tvm_equi.errors import ArgumentError, ArgumentTypeError, UnsupportedError
from tvm_equi.nn import SphericalHarmonics
from tvm_equi.testing import assert_equivariant, assert_matches_e3nn, change_layout

MAX_DEGREE = 11
"""The highest that every supported e3nn has."""


@pytest.mark.parametrize("normalization", ["integral", "component", "norm"])
@pytest.mark.parametrize("normalize", [True, False])
def test_degrees_to_four(normalize: bool, normalization: str) -> None:
    arguments = (list(range(5)), normalize, normalization)
    ours, reference = SphericalHarmonics(*arguments), o3.SphericalHarmonics(*arguments)
    assert ours.irreps_in == reference.irreps_in
    assert ours.irreps_out == reference.irreps_out
    assert_matches_e3nn(ours, reference)
    if normalization == "integral":
        assert_matches_e3nn(ours, reference, dtype=torch.float32)
    assert_equivariant(ours)


def test_every_degree() -> None:
    arguments = (list(range(MAX_DEGREE + 1)), True)
    ours, reference = SphericalHarmonics(*arguments), o3.SphericalHarmonics(*arguments)
    assert_matches_e3nn(ours, reference, derivatives=1)
    assert_equivariant(ours)


@pytest.mark.parametrize("degree", [5, 8, MAX_DEGREE])
def test_one_degree_alone(degree: int) -> None:
    ours, reference = SphericalHarmonics(degree, False), o3.SphericalHarmonics(degree, False)
    assert_matches_e3nn(ours, reference)
    assert_matches_e3nn(ours, reference, dtype=torch.float32)


@pytest.mark.parametrize(
    ("irreps_out", "irreps_in"),
    [
        (0, None),
        ([2, 0, 1, 1], None),
        ("2x1o + 3x0e + 1o + 2e", None),
        ("1e + 2e", None),
        ([1, 2, 3], "1e"),
        (o3.Irreps("0e + 1o"), "1o"),
    ],
)
def test_any_order_and_repetition(irreps_out: Any, irreps_in: Any) -> None:
    arguments = (irreps_out, True, "norm", irreps_in)
    ours, reference = SphericalHarmonics(*arguments), o3.SphericalHarmonics(*arguments)
    assert ours.irreps_in == reference.irreps_in
    assert ours.irreps_out == reference.irreps_out
    assert_matches_e3nn(ours, reference)
    assert_matches_e3nn(SphericalHarmonics(*arguments, layout="ir_mul"), reference)


def test_ir_mul_transposes_repeated_degrees() -> None:
    x = torch.randn(3, 3)
    usual = SphericalHarmonics("2x1o", True)
    got = SphericalHarmonics("2x1o", True, layout="ir_mul")(x)
    torch.testing.assert_close(got, change_layout(usual(x), usual.irreps_out, to="ir_mul"))


@pytest.mark.parametrize("normalize", [True, False])
def test_zero_vectors(normalize: bool) -> None:
    arguments = ([0, 1, 2, 3], normalize)
    x = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
    results = []
    for module in (SphericalHarmonics(*arguments), o3.SphericalHarmonics(*arguments)):
        leaf = x.clone().requires_grad_()
        value = module(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        results.append((value, gradient))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [(), (0,), (4,), (2, 3), (2, 0)])
def test_leading_dimensions(batch: tuple[int, ...]) -> None:
    arguments = ("0e + 2e", True)
    x = torch.randn(*batch, 3)
    got, wanted = SphericalHarmonics(*arguments)(x), o3.SphericalHarmonics(*arguments)(x)
    torch.testing.assert_close(got, wanted)


def test_no_degrees() -> None:
    module = SphericalHarmonics([], True)
    assert module(torch.randn(2, 3)).shape == (2, 0)


def test_module() -> None:
    module = SphericalHarmonics("0e + 1o", True)
    assert not module.state_dict()
    assert repr(module) == (
        "SphericalHarmonics(1x1o -> 1x0e+1x1o | normalize=True, normalization='integral')"
    )
    x = torch.randn(2, 3)
    assert torch.equal(copy.deepcopy(module)(x), module(x))


def test_torch_compile_and_export() -> None:
    module = SphericalHarmonics([0, 1, 2, 3], True)
    x = torch.randn(4, 3)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x))
    rows = torch.export.Dim("rows")
    program = torch.export.export(module, (x,), dynamic_shapes=({0: rows},))
    more = torch.randn(7, 3)
    torch.testing.assert_close(program.module()(more), module(more))


BAD: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (
        ("1o+2f", True),
        {},
        ArgumentError,
        "irreps_out: expected irreps such as '8x0e + 4x1o', got '1o+2f'",
    ),
    (
        ("2o", True),
        {},
        ArgumentError,
        "irreps_out: expected 2e in place of 2o for irreps_in 1x1o, got 1x2o",
    ),
    (
        ("1o + 1e", True),
        {},
        ArgumentError,
        "irreps_out: expected 1e in place of 1o for irreps_in 1x1e, got 1x1o+1x1e",
    ),
    ((1, True), {"irreps_in": "2x1o"}, ArgumentError, "irreps_in: expected 1x1o or 1x1e, got 2x1o"),
    (
        (1.5, True),
        {},
        ArgumentTypeError,
        "irreps_out: expected irreps, a degree or a list of degrees, got 1.5",
    ),
    (([0, -1], True), {}, ArgumentError, "irreps_out: expected degrees >= 0, got [0, -1]"),
    ((13, True), {}, UnsupportedError, "irreps_out: expected degrees up to 12, got 13"),
    (
        (1, True, "integra"),
        {},
        ArgumentError,
        "normalization: expected one of 'component', 'integral', 'norm', got 'integra'; "
        "did you mean 'integral'?",
    ),
    (
        (1, True),
        {"layout": "x"},
        ArgumentError,
        "layout: expected one of 'ir_mul', 'mul_ir', got 'x'",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"), BAD, ids=[b[3][:40] for b in BAD]
)
def test_bad_construction(
    arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(f'SphericalHarmonics: {message}')}$"):
        SphericalHarmonics(*arguments, **options)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 4), ArgumentError, "x: expected shape [..., 3], got [2, 4]"),
        (
            torch.zeros(2, 3, dtype=torch.int32),
            ArgumentTypeError,
            "x: expected float32 or float64, got int32; cast with .float() or .double()",
        ),
        (
            torch.zeros(2, 3, device="meta"),
            ArgumentError,
            "x: expected a tensor on the CPU or a CUDA device, got one on 'meta'; move the module "
            "and its inputs to one device",
        ),
    ],
)
def test_bad_call(x: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(f'SphericalHarmonics: {message}')}$"):
        SphericalHarmonics(2, True)(x)
