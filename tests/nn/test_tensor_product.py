"""`TensorProduct` equals e3nn's in every mode, kind of weights, layout, dtype and derivative."""

import copy
import io
import re
from typing import Any

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_equi.errors import ArgumentError, ArgumentTypeError, UnsupportedError
from tvm_equi.nn import TensorProduct
from tvm_equi.testing import assert_equivariant, assert_matches_e3nn, change_layout

LAYOUTS = ("mul_ir", "ir_mul")
DTYPES = (torch.float32, torch.float64)
WEIGHTS: dict[str, dict[str, Any]] = {
    "none": {},
    "internal": {"internal_weights": True},
    "shared": {"internal_weights": False, "shared_weights": True},
    "row": {"internal_weights": False, "shared_weights": False},
}

EVERY_MODE = ("3x1o + 3x2e + 2x0e", "3x1o + 2x1e", "4x1o + 3x2e + 3x1o + 2x0e + 3x1e + 4x1e")
WEIGHTED: list[tuple[Any, ...]] = [
    (0, 1, 0, "uvw", True),
    (1, 1, 1, "uvu", True, 0.5),
    (2, 0, 2, "uvv", True),
    (0, 0, 3, "uuw", True),
    (0, 0, 4, "uuu", True),
    (2, 1, 5, "uvuv", True),
    (0, 0, 1, "uvu<v", True, 2.0),
    (0, 0, 3, "u<vw", True),
]
"""Each mode once; outputs 1 and 3 have two instructions each, irreps repeat on every side."""

EVERY_MODE_WITHOUT = (EVERY_MODE[0], EVERY_MODE[1], "3x2e + 3x1o + 1x0e + 3x1e + 4x1e")
UNWEIGHTED: list[tuple[Any, ...]] = [
    (1, 1, 0, "uvu", False),
    (2, 0, 1, "uvv", False),
    (0, 0, 2, "uuw", False),
    (0, 0, 3, "uuu", False),
    (2, 1, 4, "uvuv", False),
    (0, 0, 0, "uvu<v", False),
]


def _every_mode(weights: str) -> tuple[Any, ...]:
    if weights == "none":
        return (*EVERY_MODE_WITHOUT, UNWEIGHTED)
    return (*EVERY_MODE, WEIGHTED)


def _pair(*arguments: Any, layout: str = "mul_ir", **options: Any) -> tuple[Any, Any]:
    """Ours and e3nn's, with the same own weights."""
    torch.manual_seed(0)
    reference = o3.TensorProduct(*arguments, **options)
    torch.manual_seed(0)
    return TensorProduct(*arguments, **options, layout=layout), reference


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_mode(weights: str, layout: str, dtype: torch.dtype) -> None:
    ours, reference = _pair(*_every_mode(weights), **WEIGHTS[weights], layout=layout)
    assert_matches_e3nn(ours, reference, dtype=dtype)
    assert_equivariant(ours, dtype=dtype)


@pytest.mark.parametrize("weights", ["shared", "row"])
def test_weighted_and_unweighted_instructions_together(weights: str) -> None:
    instructions = [
        (0, 0, 0, "uvu", False),
        (0, 0, 1, "uuu", True),
        (1, 0, 3, "uvv", False),
        (1, 0, 2, "uvw", True),
    ]
    arguments = ("2x1o + 3x0e", "2x1o", "2x1e + 2x0e + 1x1o + 2x1o", instructions)
    ours, reference = _pair(*arguments, **WEIGHTS[weights])
    assert_matches_e3nn(ours, reference)


@pytest.mark.parametrize("mul", [1, 13, 19, 33, 123, 512])
def test_multiplicities(mul: int) -> None:
    instructions = [
        (0, 0, 0, "uvu", True),
        (0, 1, 1, "uuw", True),
        (0, 1, 0, "uuu", True),
        (0, 0, 2, "uvw", True),
    ]
    ours, reference = _pair(
        f"{mul}x1o",
        f"1x1o + {mul}x1o",
        f"{mul}x1e + 2x0e + 3x2e",
        instructions,
        **WEIGHTS["row"],
    )
    assert_matches_e3nn(ours, reference, rows=3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_multiplicities_of_the_second_input(layout: str) -> None:
    instructions = [(0, 0, 0, "uvv", True), (0, 1, 1, "uvuv", False), (0, 1, 2, "uvw", True)]
    arguments = ("2x1e", "33x0o + 19x1o", "33x1o + 38x0o + 13x1o", instructions)
    ours, reference = _pair(*arguments, **WEIGHTS["row"], layout=layout)
    assert_matches_e3nn(ours, reference, rows=3)


@pytest.mark.parametrize(
    "degrees", [(8, 8, 8), (4, 4, 8), (8, 3, 5), (7, 1, 8), (0, 8, 8), (6, 6, 0)]
)
def test_degrees_to_eight(degrees: tuple[int, int, int]) -> None:
    l1, l2, l3 = degrees
    ours, reference = _pair(
        f"2x{l1}e", f"1x{l2}o", f"2x{l3}o", [(0, 0, 0, "uvu", True)], **WEIGHTS["row"]
    )
    assert_matches_e3nn(ours, reference, rows=2)
    assert_equivariant(ours, rows=2)


MULS = st.sampled_from([1, 1, 2, 3, 5])


@st.composite
def products(draw: st.DrawFn) -> tuple[str, str, str, list[tuple[Any, ...]]]:
    """Arguments of a valid product; later instructions may share irreps with earlier ones."""
    in1: list[str] = []
    in2: list[str] = []
    out: list[str] = []
    instructions = []
    for _ in range(draw(st.integers(1, 3))):
        mode = draw(st.sampled_from(sorted({ins[3] for ins in WEIGHTED})))
        l1, l2 = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        l3 = draw(st.integers(abs(l1 - l2), l1 + l2))
        p1, p2 = draw(st.sampled_from("eo")), draw(st.sampled_from("eo"))
        p3 = "e" if p1 == p2 else "o"
        u, v, w = draw(MULS), draw(MULS), draw(MULS)
        has_weight = mode in ("uvw", "u<vw") or draw(st.booleans())
        fitting: dict[str, tuple[int, int, int]] = {
            "uvw": (u, v, w),
            "uvu": (u, v, u),
            "uvv": (u, v, v),
            "uuw": (u, u, w if has_weight else 1),
            "uuu": (u, u, u),
            "uvuv": (u, v, u * v),
            "uvu<v": (u, u, u * (u - 1) // 2),
            "u<vw": (u, u, w),
        }
        muls = fitting[mode]
        names = (f"{muls[0]}x{l1}{p1}", f"{muls[1]}x{l2}{p2}", f"{muls[2]}x{l3}{p3}")
        indices = []
        for irreps, name in zip((in1, in2, out), names, strict=True):
            if name not in irreps or draw(st.booleans()):
                irreps.append(name)
            indices.append(len(irreps) - 1 - irreps[::-1].index(name))
        path_weight = draw(st.sampled_from([1.0, 0.3, 2.0]))
        instructions.append((*indices, mode, has_weight, path_weight))
    return " + ".join(in1), " + ".join(in2), " + ".join(out), instructions


@settings(max_examples=15)
@given(
    products(),
    st.sampled_from(["shared", "row"]),
    st.sampled_from(LAYOUTS),
    st.sampled_from(["component", "norm", "none"]),
    st.sampled_from(["element", "path", "none"]),
)
def test_random_products(
    arguments: Any, weights: str, layout: str, irrep_normalization: str, path_normalization: str
) -> None:
    ours, reference = _pair(
        *arguments,
        irrep_normalization=irrep_normalization,
        path_normalization=path_normalization,
        **WEIGHTS[weights],
        layout=layout,
    )
    assert_matches_e3nn(ours, reference, rows=3)
    assert_matches_e3nn(ours, reference, rows=3, dtype=torch.float32, derivatives=0)
    assert_equivariant(ours, rows=3)


@pytest.mark.parametrize(
    ("in1", "in2", "out", "instructions"),
    [
        ("1o", "1o", "1e + 2x0e", []),
        ("0x0e", "1x0e", "0x0e + 1x1o", [(0, 0, 0, "uvw", True)]),
        ("0x1o + 2x1e", "1x1e", "0x0o + 2x0e", [(0, 0, 0, "uvu", True), (1, 0, 1, "uvu", True)]),
        ("1x1o", "1x1o", "0x0e + 1x1e", [(0, 0, 0, "uvu<v", True), (0, 0, 1, "uuu", True)]),
        ("2x1o", "1x1o", "2x1e + 2x0e", [(0, 0, 0, "uvu", True, 0.0), (0, 0, 1, "uvu", True)]),
        ("2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True, 0.0)]),
        ("", "1x0e", "2x0e", []),
        ("2x0e", "1x0e", "", []),
    ],
)
@pytest.mark.parametrize("weights", ["shared", "row"])
def test_paths_that_are_empty(
    in1: str, in2: str, out: str, instructions: Any, weights: str
) -> None:
    ours, reference = _pair(in1, in2, out, instructions, **WEIGHTS[weights])
    torch.testing.assert_close(ours.output_mask, reference.output_mask)
    assert_matches_e3nn(ours, reference)


def test_variances() -> None:
    options: dict[str, Any] = {
        "in1_var": [0.5, 2.0, 1.0],
        "in2_var": torch.tensor([1.0, 3.0]),
        "out_var": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
    ours, reference = _pair(*EVERY_MODE, WEIGHTED, **options)
    wanted = [ins.path_weight for ins in reference.instructions]
    assert [ins.path_weight for ins in ours.instructions] == pytest.approx(wanted, rel=1e-12)


def test_deprecated_name_of_normalization() -> None:
    arguments = ("1o", "1o", "1e", [(0, 0, 0, "uuu", False)])
    with pytest.warns(DeprecationWarning, match="irrep_normalization"):
        old = TensorProduct(*arguments, normalization="norm")
    new = TensorProduct(*arguments, irrep_normalization="norm")
    assert old.instructions == new.instructions


@pytest.mark.parametrize(
    ("batch1", "batch2", "batch3"),
    [
        ((), (), (1,)),
        ((4,), (), (1,)),
        ((4,), (1,), (4,)),
        ((1,), (4,), (1,)),
        ((2, 3), (2, 3), (3,)),
        ((2, 1), (3,), (5, 1, 1)),
        ((0,), (0,), (0,)),
        ((0,), (1,), (1,)),
        ((2, 0, 3), (1, 3), (3,)),
    ],
)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_leading_dimensions_broadcast(
    weights: str, batch1: tuple[int, ...], batch2: tuple[int, ...], batch3: tuple[int, ...]
) -> None:
    instructions = [(0, 0, 0, "uvu", weights != "none")]
    ours, reference = _pair("2x1o", "1x1o", "2x1e", instructions, **WEIGHTS[weights])
    operands = [torch.randn(*batch1, 6), torch.randn(*batch2, 3)]
    operands += {"shared": [torch.randn(2)], "row": [torch.randn(*batch3, 2)]}.get(weights, [])
    torch.testing.assert_close(ours(*operands), reference(*operands))


def test_inputs_with_strides() -> None:
    ours, reference = _pair("2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True)], **WEIGHTS["row"])
    x, y, w = torch.randn(6, 8).T[:, :6], torch.randn(8, 6)[:, ::2], torch.randn(2).expand(8, 2)
    torch.testing.assert_close(ours(x, y, w), reference(x, y, w))


@pytest.mark.parametrize("weights", ["shared", "row"])
def test_weights_as_a_list(weights: str) -> None:
    ours, _ = _pair(*EVERY_MODE, WEIGHTED, **WEIGHTS[weights])
    x, y = torch.randn(4, 26), torch.randn(4, 15)
    weight = (
        torch.randn(4, ours.weight_numel) if weights == "row" else torch.randn(ours.weight_numel)
    )
    torch.testing.assert_close(ours(x, y, list(ours.weight_views(weight))), ours(x, y, weight))


def test_state_and_views_are_e3nns() -> None:
    ours, reference = _pair(*EVERY_MODE, WEIGHTED)
    assert list(ours.state_dict()) == ["weight", "output_mask"]
    for name, value in ours.state_dict().items():
        assert torch.equal(value, reference.state_dict()[name])
    assert ours.weight_numel == reference.weight_numel
    assert repr(ours) == repr(reference)
    views, wanted = (
        list(module.weight_views(yield_instruction=True)) for module in (ours, reference)
    )
    for (index, ins, view), (other_index, other, other_view) in zip(views, wanted, strict=True):
        assert (index, ins[:5], ins.path_shape) == (other_index, other[:5], other.path_shape)
        assert torch.equal(view, other_view)
        assert torch.equal(ours.weight_view_for_instruction(index), other_view)


def test_views_skip_instructions_without_weights() -> None:
    instructions = [(0, 0, 0, "uuu", False), (0, 0, 0, "uvu", True)]
    module = TensorProduct("2x1o", "2x1o", "2x1e", instructions)
    assert torch.equal(module.weight_view_for_instruction(1).flatten(), module.weight)
    with pytest.raises(
        ArgumentError, match=r"instruction: expected one with weights, of \[1\], got 0"
    ):
        module.weight_view_for_instruction(0)


def test_loads_a_checkpoint_of_e3nn() -> None:
    reference = o3.TensorProduct("2x2e", "1x2e", "2x2e", [(0, 0, 0, "uvu", True)])
    assert len(reference.state_dict()) > 2  # e3nn keeps Wigner 3j symbols in it
    model = torch.nn.ModuleDict(
        {"product": TensorProduct("2x2e", "1x2e", "2x2e", [(0, 0, 0, "uvu", True)])}
    )
    model.load_state_dict({f"product.{k}": v for k, v in reference.state_dict().items()})
    assert torch.equal(model.get_parameter("product.weight"), reference.weight)


def test_copies() -> None:
    module, _ = _pair("2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True)])
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    x, y = torch.randn(3, 6), torch.randn(3, 3)
    for other in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        assert torch.equal(other(x, y), module(x, y))
        assert other.weight is not module.weight


def test_cast_to_float64() -> None:
    module, _ = _pair("2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True)])
    x, y = torch.randn(3, 6), torch.randn(3, 3)
    wanted = module(x, y)
    got = module.to(torch.float64)(x.double(), y.double())
    assert got.dtype == torch.float64
    torch.testing.assert_close(got.float(), wanted)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_torch_compile(weights: str) -> None:
    instructions = [(0, 0, 0, "uvu", weights != "none")]
    module, _ = _pair("2x1o", "1x1o", "2x1e", instructions, **WEIGHTS[weights])
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    extra = {"shared": [torch.randn(2)], "row": [torch.randn(3, 2)]}.get(weights, [])
    gradients = []
    for function in (module, compiled):
        torch.manual_seed(1)
        x, y = torch.randn(2, 3, 6, requires_grad=True), torch.randn(3, 3, requires_grad=True)
        gradients.append(torch.autograd.grad(function(x, y, *extra).square().sum(), [x, y]))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_torch_export() -> None:
    module, _ = _pair("2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True)], **WEIGHTS["row"])
    rows = torch.export.Dim("rows")
    example = torch.randn(4, 6), torch.randn(4, 3), torch.randn(4, 2)
    program = torch.export.export(module, example, dynamic_shapes=({0: rows},) * 3)
    operands = torch.randn(7, 6), torch.randn(7, 3), torch.randn(7, 2)
    torch.testing.assert_close(program.module()(*operands), module(*operands))


def test_ir_mul_is_a_permutation() -> None:
    product, _ = _pair("2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True)])
    other = TensorProduct.from_e3nn(product, layout="ir_mul")
    x, y = torch.randn(4, 6), torch.randn(4, 3)
    got = other(change_layout(x, product.irreps_in1, to="ir_mul"), y)
    torch.testing.assert_close(got, change_layout(product(x, y), product.irreps_out, to="ir_mul"))


UVU = [(0, 0, 0, "uvu", True)]

BAD_CONSTRUCTION: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (
        ("2x1q", "1o", "1o", UVU),
        {},
        ArgumentError,
        "TensorProduct: irreps_in1: expected irreps such as '8x0e + 4x1o', got '2x1q'",
    ),
    (
        ("1o", 3, "1o", UVU),
        {},
        ArgumentTypeError,
        "TensorProduct: irreps_in2: expected irreps such as '8x0e + 4x1o', got 3",
    ),
    (
        ("1o", "1o", "1e", [(1, 0, 0, "uvu", True)]),
        {},
        ArgumentError,
        "TensorProduct: instructions[0].i_in1: expected 0 <= index < 1 for irreps 1x1o, got 1",
    ),
    (
        ("1o", "1o", "1e", [(0, 0, -1, "uvu", True)]),
        {},
        ArgumentError,
        "TensorProduct: instructions[0].i_out: expected 0 <= index < 1 for irreps 1x1e, got -1",
    ),
    (
        ("1o", "1o", "1e", [(0, 0, 0, "uvvu", True)]),
        {},
        ArgumentError,
        "TensorProduct: instructions[0].mode: expected one of 'u<vw', 'uuu', 'uuw', 'uvu', "
        "'uvu<v', "
        "'uvuv', 'uvv', 'uvw', got 'uvvu'; did you mean 'uvv'?",
    ),
    (
        ("2x1o", "1o", "3x1e", UVU),
        {},
        ArgumentError,
        "TensorProduct: instructions[0]: expected mul_out = mul_in1 for mode 'uvu', "
        "got mul_in1=2, mul_in2=1, mul_out=3",
    ),
    (
        ("2x1o", "3x1o", "2x1e", [(0, 0, 0, "uuu", True)]),
        {},
        ArgumentError,
        "TensorProduct: instructions[0]: expected mul_in1 = mul_in2 = mul_out for mode 'uuu', "
        "got mul_in1=2, mul_in2=3, mul_out=2",
    ),
    (
        ("2x1o", "2x1o", "2x1e", [(0, 0, 0, "uvu<v", True)]),
        {},
        ArgumentError,
        "TensorProduct: instructions[0]: expected mul_in1 = mul_in2 and "
        "mul_out = mul_in1 * (mul_in1 - 1) / 2 for mode 'uvu<v', "
        "got mul_in1=2, mul_in2=2, mul_out=2",
    ),
    (
        ("2x1o", "2x1o", "2x1e", [(0, 0, 0, "uuw", False)]),
        {},
        ArgumentError,
        "TensorProduct: instructions[0]: expected mul_out = 1 for mode 'uuw' without weights, "
        "got 2",
    ),
    (
        ("2x1o", "2x1o", "2x1e", [(0, 0, 0, "uvw", False)]),
        {},
        ArgumentError,
        "TensorProduct: instructions[0].has_weight: expected True for mode 'uvw', got False",
    ),
    (
        ("1o", "1o", "1o", UVU),
        {},
        ArgumentError,
        "TensorProduct: instructions[0]: expected an output irrep of 1o x 1o, one of 0e, 1e, 2e, "
        "got 1o",
    ),
    (
        ("1o", "1o", "3e", UVU),
        {},
        ArgumentError,
        "TensorProduct: instructions[0]: expected an output irrep of 1o x 1o, one of 0e, 1e, 2e, "
        "got 3e",
    ),
    (
        ("1o", "1o", "1e", [(0, 0, 0, "uvu")]),
        {},
        ArgumentError,
        "TensorProduct: instructions[0]: expected (i_in1, i_in2, i_out, mode, has_weight[, "
        "path_weight]), "
        "got (0, 0, 0, 'uvu')",
    ),
    (
        ("1o", "1o", "1e", [("a", 0, 0, "uvu", True)]),
        {},
        ArgumentTypeError,
        "TensorProduct: instructions[0]: expected (i_in1, i_in2, i_out, mode, has_weight[, "
        "path_weight]), "
        "got ('a', 0, 0, 'uvu', True)",
    ),
    (
        ("1o", "1o", "1e", [(0, 0, 0, "uvu", True, -1.0)]),
        {},
        ArgumentError,
        "TensorProduct: instructions[0].path_weight: expected a number >= 0, got -1.0",
    ),
    (
        ("1o", "1o", "1e", UVU),
        {"in1_var": [1.0, 2.0]},
        ArgumentError,
        "TensorProduct: in1_var: expected 1 variances >= 0, one per irrep of 1x1o, got [1.0, 2.0]",
    ),
    (
        ("1o", "1o", "1e", UVU),
        {"out_var": 2.0},
        ArgumentTypeError,
        "TensorProduct: out_var: expected 1 variances >= 0, one per irrep of 1x1e, got 2.0",
    ),
    (
        ("1o", "1o", "1e", UVU),
        {"irrep_normalization": "componant"},
        ArgumentError,
        "TensorProduct: irrep_normalization: expected one of 'component', 'none', 'norm', "
        "got 'componant'; did you mean 'component'?",
    ),
    (
        ("1o", "1o", "1e", UVU),
        {"path_normalization": "paths"},
        ArgumentError,
        "TensorProduct: path_normalization: expected one of 'element', 'none', 'path', got "
        "'paths'; "
        "did you mean 'path'?",
    ),
    (
        ("1o", "1o", "1e", UVU),
        {"internal_weights": True, "shared_weights": False},
        ArgumentError,
        "TensorProduct: shared_weights: expected True where internal_weights is True, got False; "
        "pass internal_weights=False and the weights of each row to forward",
    ),
    (
        ("1o", "1o", "1e", UVU),
        {"layout": "irmul"},
        ArgumentError,
        "TensorProduct: layout: expected one of 'ir_mul', 'mul_ir', got 'irmul'; did you mean "
        "'ir_mul'?",
    ),
    (
        ("1o", "1o", "1e", UVU),
        {"compile_right": True},
        UnsupportedError,
        "TensorProduct: compile_right: expected False, got True; "
        "call the module on the rows of the identity",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    BAD_CONSTRUCTION,
    ids=[b[3][15:60] for b in BAD_CONSTRUCTION],
)
def test_bad_construction(
    arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        TensorProduct(*arguments, **options)


X, Y, W, R = torch.zeros(4, 6), torch.zeros(4, 3), torch.zeros(2), torch.zeros(4, 2)

BAD_CALLS: list[tuple[str, tuple[Any, ...], type[Exception], str]] = [
    ("internal", (X[:, :5], Y), ArgumentError, "x: expected shape [..., 6], got [4, 5]"),
    ("internal", (X, Y[0, 0]), ArgumentError, "y: expected shape [..., 3], got []"),
    ("internal", ([1.0], Y), ArgumentTypeError, "x: expected a tensor, got list"),
    (
        "internal",
        (X.int(), Y),
        ArgumentTypeError,
        "x: expected float32 or float64, got int32; cast with .float() or .double()",
    ),
    (
        "internal",
        (X.to(torch.complex64).requires_grad_(), Y),  # integers can not require a gradient in torch
        ArgumentTypeError,
        "x: expected float32 or float64, got complex64; cast with .float() or .double()",
    ),
    (
        "row",
        (X, Y, R.long()),
        ArgumentTypeError,
        "weight: expected float32 or float64, got int64; cast with .float() or .double()",
    ),
    (
        "internal",
        (X.bfloat16(), Y),
        ArgumentTypeError,
        "x: expected float32 or float64, got bfloat16; cast with .float() or .double()",
    ),
    (
        "internal",
        (X, Y.double()),
        ArgumentTypeError,
        "y: expected float32 as the first input has, got float64; cast with .to(torch.float32)",
    ),
    (
        "internal",
        (X.double(), Y.double()),
        ArgumentTypeError,
        "weight: expected float64 as the first input has, got float32; cast with "
        ".to(torch.float64)",
    ),
    (
        "internal",
        (X, Y.to("meta")),
        ArgumentError,
        "y: expected a tensor on cpu, got one on 'meta'; move the module and its inputs to one "
        "device",
    ),
    (
        "internal",
        (X, Y, W),
        ArgumentError,
        "weight: expected None where internal_weights is True, got a second set; "
        "construct the module with internal_weights=False to pass it",
    ),
    (
        "shared",
        (X, Y),
        ArgumentError,
        "weight: expected a tensor of shape [2] where internal_weights is False, got None",
    ),
    (
        "row",
        (X, Y),
        ArgumentError,
        "weight: expected a tensor of shape [..., 2] where internal_weights is False, got None",
    ),
    (
        "shared",
        (X, Y, R),
        ArgumentError,
        "weight: expected shape [2] where shared_weights is True, got [4, 2]",
    ),
    (
        "row",
        (X, Y, W),
        ArgumentError,
        "weight: expected shape [..., 2] where shared_weights is False, got [2]",
    ),
    ("row", (X, Y, X), ArgumentError, "weight: expected shape [..., 2], got [4, 6]"),
    (
        "row",
        (X, Y, [R[:, :1]]),
        ArgumentError,
        "weight: expected tensors [..., *path_shape] of path shapes [(2, 1)], got [(4, 1)]",
    ),
    (
        "row",
        (X, Y, []),
        ArgumentError,
        "weight: expected tensors [..., *path_shape] of path shapes [(2, 1)], got []",
    ),
    (
        "row",
        (X, Y, R[:3]),
        ArgumentError,
        "weight: expected leading dimensions that broadcast, got x [4], y [4], weight [3]",
    ),
    (
        "internal",
        (X, Y[:3]),
        ArgumentError,
        "y: expected leading dimensions that broadcast, got x [4], y [3]",
    ),
]


@pytest.mark.parametrize(
    ("weights", "operands", "error", "message"), BAD_CALLS, ids=[b[3][:45] for b in BAD_CALLS]
)
def test_bad_call(weights: str, operands: Any, error: type[Exception], message: str) -> None:
    module = TensorProduct("2x1o", "1o", "2x1e", UVU, **WEIGHTS[weights])
    with pytest.raises(error, match=f"^TensorProduct: {re.escape(message)}$"):
        module(*operands)


def test_not_compiled_is_not_called() -> None:
    module = TensorProduct("2x1o", "1o", "2x1e", UVU, compile_left_right=False)
    message = (
        "TensorProduct: compile_left_right: expected True for a module that is called, got False"
    )
    with pytest.raises(UnsupportedError, match=message):
        module(X, Y)
