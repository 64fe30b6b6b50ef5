"""`Linear` equals e3nn's: weights of every kind, biases, features, layouts, dtypes, derivatives."""

import copy
import re
from typing import Any

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.nn import Linear
from tvm_equi.testing import assert_equivariant, assert_matches_e3nn

LAYOUTS = ("mul_ir", "ir_mul")
DTYPES = (torch.float32, torch.float64)
WEIGHTS: dict[str, dict[str, Any]] = {
    "internal": {},
    "shared": {"internal_weights": False, "shared_weights": True},
    "row": {"shared_weights": False},
}
IRREPS = ("3x0e + 2x1o + 4x1o + 5x2e", "2x1o + 0x0e + 3x0e + 2x0o + 7x1o")


def _pair(*arguments: Any, layout: str = "mul_ir", **options: Any) -> tuple[Any, Any]:
    """Ours and e3nn's, with the same own weights."""
    torch.manual_seed(0)
    reference = o3.Linear(*arguments, **options)
    torch.manual_seed(0)
    return Linear(*arguments, **options, layout=layout), reference


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_equals_e3nn(weights: str, layout: str, dtype: torch.dtype) -> None:
    ours, reference = _pair(*IRREPS, **WEIGHTS[weights], layout=layout)
    assert repr(ours) == repr(reference)
    assert_matches_e3nn(ours, reference, dtype=dtype)
    assert_equivariant(ours, dtype=dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"biases": True},
        {"biases": [False, False, True, False, False], "internal_weights": False},
        {"path_normalization": "path", "instructions": [(0, 2), (1, 0), (2, 0)]},
        {"instructions": [(1, 4), (1, 4)]},
        {"instructions": []},
    ],
    ids=str,
)
def test_options(options: dict[str, Any]) -> None:
    ours, reference = _pair(*IRREPS, **options)
    if ours.internal_weights and ours.bias_numel:
        with torch.no_grad():
            for module in (ours, reference):
                module.bias.copy_(torch.arange(1.0, 1 + ours.bias_numel))
    assert torch.equal(ours.output_mask, reference.output_mask)
    assert_matches_e3nn(ours, reference)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_feature_dimensions(weights: str, layout: str) -> None:
    # e3nn can not make a layer that has biases, features and weights for each row.
    options: dict[str, Any] = {"f_in": 2, "f_out": 3, "layout": layout, "biases": weights != "row"}
    ours, reference = _pair("2x0e + 1x1o", "1x0e + 2x1o", **options, **WEIGHTS[weights])
    assert_matches_e3nn(ours, reference)


def test_bias_of_each_row() -> None:
    module = Linear("2x0e", "2x0e + 1x1o", shared_weights=False, biases=True)
    x, weight, bias = torch.randn(5, 2), torch.randn(5, 4), torch.randn(5, 2)
    without = module(x, weight, torch.zeros(1, 2))
    torch.testing.assert_close(module(x, weight, bias)[:, :2], without[:, :2] + bias)


@pytest.mark.parametrize(("mul_in", "mul_out"), [(1, 512), (13, 19), (33, 123), (512, 1)])
def test_multiplicities(mul_in: int, mul_out: int) -> None:
    ours, reference = _pair(f"{mul_in}x1o", f"{mul_out}x1o")
    assert_matches_e3nn(ours, reference, rows=3)


@settings(max_examples=10)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["0e", "1o", "2e"])), max_size=4),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["0e", "1o", "2e"])), max_size=4),
    st.sampled_from(sorted(WEIGHTS)),
    st.sampled_from(LAYOUTS),
    st.sampled_from(["element", "path"]),
)
def test_random_layers(
    irreps_in: Any, irreps_out: Any, weights: str, layout: str, path_normalization: str
) -> None:
    ours, reference = _pair(
        irreps_in,
        irreps_out,
        path_normalization=path_normalization,
        **WEIGHTS[weights],
        layout=layout,
    )
    assert_matches_e3nn(ours, reference, rows=3)


@pytest.mark.parametrize(
    ("batch", "weight_batch"),
    [((), (1,)), ((4,), (4,)), ((0,), (1,)), ((2, 3), (3,)), ((3,), (2, 1))],
)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_leading_dimensions(
    weights: str, batch: tuple[int, ...], weight_batch: tuple[int, ...]
) -> None:
    module = Linear("2x0e + 1x1o", "1x0e + 2x1o", **WEIGHTS[weights])
    x = torch.randn(*batch, 5)
    extra = {"shared": [torch.randn(4)], "row": [torch.randn(*weight_batch, 4)]}.get(weights, [])
    weight = extra[0] if extra else module.weight
    if weights == "row":
        x, weight = torch.broadcast_tensors(x[..., None], weight[..., None, :])
        x, weight = x[..., 0], weight[..., 0, :]
    scalars = (x[..., :2] * weight[..., :2]).sum(-1, keepdim=True) / 2**0.5
    vectors = (weight[..., 2:, None] * x[..., None, 2:]).flatten(-2)
    got = module(torch.as_tensor(x), *extra)
    torch.testing.assert_close(got, torch.cat([scalars, vectors], -1))


def test_state_and_views() -> None:
    ours, reference = _pair(*IRREPS, biases=True)
    assert ours.state_dict().keys() == reference.state_dict().keys()
    ours.load_state_dict(reference.state_dict())
    for index, ins, view in ours.weight_views(yield_instruction=True):
        assert view.shape == ins.path_shape
        assert torch.equal(view, reference.weight_view_for_instruction(index))
        assert torch.equal(view, ours.weight_view_for_instruction(index))
    message = re.escape(
        "Linear: instruction: expected one with weights, of [0, 1, 2, 3, 4, 5], got 6"
    )
    with pytest.raises(ArgumentError, match=message):
        ours.weight_view_for_instruction(6)


def test_copy_and_cast() -> None:
    module = copy.deepcopy(Linear("2x0e", "2x0e", biases=True)).to(torch.float64)
    assert module(torch.randn(3, 2, dtype=torch.float64)).dtype == torch.float64


def test_torch_compile() -> None:
    module = Linear("2x0e + 1x1o", "1x0e + 2x1o", biases=True)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 5)
    torch.testing.assert_close(compiled(x), module(x))


BAD: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (
        ("2x0", "1o"),
        {},
        ArgumentError,
        "irreps_in: expected irreps such as '8x0e + 4x1o', got '2x0'",
    ),
    (
        ("0e", "0e"),
        {"instructions": [(0, 1)]},
        ArgumentError,
        "instructions[0].i_out: expected 0 <= index < 1 for irreps 1x0e, got 1",
    ),
    (
        ("0e + 1o", "0e"),
        {"instructions": [(0, 0), (1, 0)]},
        ArgumentError,
        "instructions[1]: expected equal irreps of input and output, got 1o and 0e",
    ),
    (
        ("0e", "0e"),
        {"instructions": [(0,)]},
        ArgumentError,
        "instructions[0]: expected (i_in, i_out), got (0,)",
    ),
    (
        ("0e", "0e"),
        {"instructions": [0]},
        ArgumentTypeError,
        "instructions[0]: expected (i_in, i_out), got 0",
    ),
    (
        ("0e", "0e + 1o"),
        {"biases": [True]},
        ArgumentError,
        "biases: expected 2 entries, one per irrep of 1x0e+1x1o, got 1",
    ),
    (
        ("0e", "0e + 1o"),
        {"biases": [True, True]},
        ArgumentError,
        "biases[1]: expected False for 1o, as only 0e is invariant, got True",
    ),
    (("0e", "0e"), {"biases": 3}, ArgumentTypeError, "biases: expected a list of bool, got 3"),
    (
        ("0e", "0e"),
        {"f_in": 2},
        ArgumentError,
        "f_out: expected a number where f_in is given, got None",
    ),
    (
        ("0e", "0e"),
        {"f_in": 2, "f_out": -1},
        ArgumentError,
        "f_out: expected a number >= 0, got -1",
    ),
    (
        ("0e", "0e"),
        {"f_in": 2.0, "f_out": 1},
        ArgumentTypeError,
        "f_in: expected an integer, got 2.0",
    ),
    (
        ("0e", "0e"),
        {"path_normalization": "none"},
        ArgumentError,
        "path_normalization: expected one of 'element', 'path', got 'none'",
    ),
    (
        ("0e", "0e"),
        {"internal_weights": True, "shared_weights": False},
        ArgumentError,
        "shared_weights: expected True where internal_weights is True, got False; "
        "pass internal_weights=False and the weights of each row to forward",
    ),
    (
        ("0e", "0e"),
        {"layout": "mul"},
        ArgumentError,
        "layout: expected one of 'ir_mul', 'mul_ir', got 'mul'; did you mean 'mul_ir'?",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"), BAD, ids=[b[3][:30] for b in BAD]
)
def test_bad_construction(
    arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(f'Linear: {message}')}$"):
        Linear(*arguments, **options)


X = torch.zeros(4, 2)

BAD_CALLS: list[tuple[dict[str, Any], tuple[Any, ...], type[Exception], str]] = [
    ({}, (X[:, :1],), ArgumentError, "features: expected shape [..., 2], got [4, 1]"),
    ({}, ("x",), ArgumentTypeError, "features: expected a tensor, got str"),
    (
        {},
        (X.long(),),
        ArgumentTypeError,
        "features: expected float32 or float64, got int64; cast with .float() or .double()",
    ),
    (
        {},
        (X.double(),),
        ArgumentTypeError,
        "weight: expected float64 as the first input has, got float32; cast with "
        ".to(torch.float64)",
    ),
    (
        {},
        (X.to("meta"),),
        ArgumentError,
        "features: expected a tensor on the CPU or a CUDA device, got one on 'meta'; move the "
        "module and its inputs to one device",
    ),
    (
        {"internal_weights": False},
        (X,),
        ArgumentError,
        "weight: expected a tensor of shape [2] where internal_weights is False, got None",
    ),
    (
        {"internal_weights": False},
        (X, X[0]),
        ArgumentError,
        "bias: expected a tensor of shape [1] where internal_weights is False, got None",
    ),
    (
        {},
        (X, X[0]),
        ArgumentError,
        "weight: expected None where internal_weights is True, got a second set; "
        "construct the module with internal_weights=False to pass it",
    ),
    (
        {},
        (X, None, X[0, :1]),
        ArgumentError,
        "bias: expected None where internal_weights is True, got a second set; "
        "construct the module with internal_weights=False to pass it",
    ),
    (
        {"shared_weights": False},
        (X, X[:3], X[:, :1]),
        ArgumentError,
        "weight: expected leading dimensions that broadcast, got features [4], weight [3], bias "
        "[4]",
    ),
    (
        {"f_in": 2, "f_out": 2},
        (X,),
        ArgumentError,
        "features: expected shape [..., 2, 2], got [4, 2]",
    ),
]


@pytest.mark.parametrize(
    ("options", "operands", "error", "message"), BAD_CALLS, ids=[b[3][:40] for b in BAD_CALLS]
)
def test_bad_call(options: Any, operands: Any, error: type[Exception], message: str) -> None:
    module = Linear("2x0e", "1x0e", biases=True, **options)
    with pytest.raises(error, match=f"^{re.escape(f'Linear: {message}')}$"):
        module(*operands)
