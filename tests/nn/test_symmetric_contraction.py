"""Symmetric contractions: values and derivatives against dense coupling trees, equivariance."""

import pytest
import torch
from e3nn import o3

from tests.algebra.test_symmetric import left_fold
from tvm_equi import SymmetricContraction
from tvm_equi.errors import ArgumentError, ArgumentTypeError, IndexRangeError
from tvm_equi.nn.symmetric_contraction import convert_weights
from tvm_equi.testing import change_layout, turn

IRREPS_IN, MUL, ELEMENTS, ROWS = "4x0e + 4x1o + 4x2e", 4, 3, 6
IRS = ((0, 1), (1, -1), (2, 1))


def flat(x: torch.Tensor) -> torch.Tensor:
    """[rows, channels, components] in e3nn's layout."""
    return torch.cat([x[..., s].flatten(1) for s in (slice(0, 1), slice(1, 4), slice(4, 9))], 1)


def dense(x: torch.Tensor, tensors: list, weights: list, element: torch.Tensor) -> torch.Tensor:
    """The sum over degrees of full coupling tensors, for one output."""
    total = torch.zeros(())
    for tensor, weight in zip(tensors, weights, strict=True):
        value = torch.einsum("...k,zku->zu...", tensor, weight)[element]
        while value.dim() > 3:
            value = torch.einsum("nu...i,nui->nu...", value, x)
        total = total + value
    return total.flatten(1)


@pytest.mark.parametrize(("irreps_out", "nu"), [("4x0e + 4x1o", 3), ("4x2e", 2), ("4x0e", 4)])
def test_equals_dense_tensors_in_every_derivative(irreps_out: str, nu: int) -> None:
    ours = SymmetricContraction(IRREPS_IN, irreps_out, nu, ELEMENTS, internal_weights=False)
    x = torch.randn(ROWS, MUL, 9, dtype=torch.float64, requires_grad=True)
    element = torch.randint(0, ELEMENTS, (ROWS,))
    outputs = [(ir.l, ir.p) for _, ir in o3.Irreps(irreps_out)]
    blocks, projections, weights = [], [], []
    for number, out in enumerate(outputs):
        tensors = [torch.from_numpy(left_fold(IRS, out, d)) for d in range(1, nu + 1)]
        own = [
            torch.randn(ELEMENTS, t.shape[-1], MUL, dtype=torch.float64, requires_grad=True)
            for t in tensors
        ]
        blocks.append(dense(x, tensors, own, element))
        projections += [ours.projection(number, d + 1, t) for d, t in enumerate(tensors)]
        weights += own
    expected = torch.cat(blocks, 1)
    found = ours(flat(x), element, convert_weights(projections, weights))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    cotangent = torch.randn_like(found)
    wrt = [x, *(weight for weight in weights if weight.numel())]
    first = [torch.autograd.grad(v, wrt, cotangent, create_graph=True) for v in (found, expected)]
    torch.testing.assert_close(*first, rtol=1e-10, atol=1e-9)
    second = [
        torch.autograd.grad(g[0].square().sum(), wrt, allow_unused=True, materialize_grads=True)
        for g in first
    ]
    scale = max(float(g.abs().max()) for g in second[1])
    torch.testing.assert_close(*second, rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_equivariance(layout: str, inverted: bool) -> None:
    module = SymmetricContraction(IRREPS_IN, "4x0e+4x1o+4x2e", 3, 2, layout=layout).double()
    element = torch.randint(0, 2, (ROWS,))
    irreps, quaternion = o3.Irreps(IRREPS_IN), torch.randn(4, dtype=torch.float64)
    x = torch.randn(ROWS, irreps.dim, dtype=torch.float64)

    def run(value: torch.Tensor) -> torch.Tensor:
        if layout == "mul_ir":
            return module(value, element)
        given = change_layout(value, irreps, to="ir_mul")
        return change_layout(module(given, element), irreps, to="mul_ir")

    turned = run(turn(x, irreps, quaternion, inverted=inverted))
    expected = turn(run(x), irreps, quaternion, inverted=inverted)
    torch.testing.assert_close(turned, expected, rtol=1e-10, atol=1e-10)


def test_float32_compile_and_one_element() -> None:
    module = SymmetricContraction(IRREPS_IN, "4x0e", 2)
    x = torch.randn(ROWS, 36)
    expected = module.double()(x.double())
    module = module.float()
    torch.testing.assert_close(module(x), expected.float(), rtol=1e-5, atol=1e-5)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x))


def test_no_rows_and_no_polynomials() -> None:
    module = SymmetricContraction(IRREPS_IN, "4x0e", 2)
    assert module(torch.randn(0, 36)).shape == (0, 4)
    nothing = SymmetricContraction("4x0e", "4x0o", 2)
    assert nothing(torch.randn(2, 4)).equal(torch.zeros(2, 4))


def test_state_dict_and_repr() -> None:
    module = SymmetricContraction("4x0e", "4x0e", 2, 5)
    assert {k: tuple(v.shape) for k, v in module.state_dict().items()} == {"weight": (5, 2, 4)}
    assert repr(module) == "SymmetricContraction(4x0e -> 4x0e | correlation 2, 5 x 2 x 4 weights)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("4x0e+3x1o", "4x0e", 2), ArgumentError, "expected irreps of one multiplicity, got 4x0e"),
        (("4x0e", "4x0e", 5), ArgumentError, "correlation: expected 1 to 4, got 5"),
        (("4x0e", "4x0e", 2.0), ArgumentTypeError, "correlation: expected an integer, got 2.0"),
        (("4x0e", "4x0e", 2, 0), ArgumentError, "num_elements: expected 1 or more, got 0"),
        (("4x0z", "4x0e", 2), ArgumentError, "irreps_in: expected irreps such as"),
    ],
)
def test_constructor_refuses(arguments: tuple, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        SymmetricContraction(*arguments)


@pytest.mark.parametrize(
    ("x", "element", "weight", "error", "message"),
    [
        ((2, 5), [0, 1], None, ArgumentError, r"x: expected shape \[..., 4\], got \[2, 5\]"),
        ((2, 4), [0, 3], None, IndexRangeError, "element: expected 0 to 2, got 3"),
        ((2, 4), [-1, 0], None, IndexRangeError, "element: expected 0 to 2, got -1"),
        ((2, 4), [0.0, 1.0], None, ArgumentTypeError, "element: expected int64, got torch.float32"),
        ((2, 4), [0], None, ArgumentError, r"element: expected shape \[2\], got \[1\]"),
        ((2, 4), None, None, ArgumentError, r"element: expected int64 \[rows\], got None"),
        ((2, 4), [0, 0], (3, 2, 4), ArgumentError, "weight: expected none, as the module has"),
    ],
)
def test_forward_refuses(x: tuple, element: list, weight: tuple, error: type, message: str) -> None:
    module = SymmetricContraction("4x0e", "4x0e", 2, 3)
    given = None if element is None else torch.tensor(element)
    with pytest.raises(error, match=message):
        module(torch.zeros(x), given, None if weight is None else torch.zeros(weight))


def test_forward_refuses_weights_of_another_shape() -> None:
    module = SymmetricContraction("4x0e", "4x0e", 2, 3, internal_weights=False)
    with pytest.raises(ArgumentError, match=r"weight: expected shape \[3, 2, 4\], got \[3, 2, 5\]"):
        module(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), torch.zeros(3, 2, 5))
    with pytest.raises(ArgumentError, match="weight: expected weights, got none"):
        module(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))
