"""Checks of a module against e3nn, and of its equivariance, for users' tests and ours.

In: a module of `tvm_equi.nn`, and the e3nn module that it should equal. Out: nothing, or an
`AssertionError` that names the worst value and its error. Operands and cotangents are drawn here,
with a seed; e3nn runs in float64 with its constants made anew, so that the error is the module's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from e3nn import o3

from tvm_equi.nn.linear import Linear
from tvm_equi.nn.spherical_harmonics import SphericalHarmonics
from tvm_equi.nn.tensor_product import TensorProduct
from tvm_equi.nn.tensor_square import TensorSquare

EquivariantModule = TensorProduct | Linear | SphericalHarmonics

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Largest relative error allowed: the largest difference over the largest value."""

COTANGENT_SEED = 1 << 20
"""Added to a seed: a cotangent that equals an operand would hide antisymmetric products."""

Tensors = dict[str, torch.Tensor]


def assert_matches_e3nn(
    module: EquivariantModule,
    reference: torch.nn.Module,
    *,
    dtype: torch.dtype = torch.float64,
    rows: int = 5,
    derivatives: int = 2,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Checks values and derivatives of a module against e3nn's in float64.

    The derivative of order k is the gradient, to every operand, parameter and earlier cotangent, of
    a random functional of all gradients of order k-1.

    Args:
        module: of any layout; it is copied to `dtype`.
        reference: the e3nn module with the same weights.
        dtype: float32 or float64.
        rows: size of the leading dimension of operands.
        derivatives: highest order: 1 for gradients, 2 for double backward.
        tolerance: largest relative error; by default that of `TOLERANCES`.
        seed: of the operands and functionals.

    Raises:
        AssertionError: parameters or a shape differ, or an error is larger than the tolerance.

    Example:
        >>> layer = o3.Linear("4x0e + 2x1o", "3x0e + 2x1o")
        >>> assert_matches_e3nn(Linear.from_e3nn(layer), layer)
    """
    limit = TOLERANCES[dtype] if tolerance is None else tolerance
    own, their = ([name for name, _ in m.named_parameters()] for m in (module, reference))
    if sorted(own) != sorted(their):
        raise AssertionError(f"{module}: expected a reference with own {own}, got one with {their}")
    drawn = {name: value.to(dtype) for name, value in random_operands(module, rows, seed).items()}
    ours = copy.deepcopy(module).to(dtype)
    theirs = _in_float64(reference)
    values = _values(_with_mul_ir(ours), ours, drawn, derivatives, seed)
    expected = _values(
        theirs, theirs, {name: value.double() for name, value in drawn.items()}, derivatives, seed
    )
    for name, wanted in expected.items():
        _check(f"{module}: {name}", values[name], wanted, limit)


def assert_equivariant(
    module: EquivariantModule,
    *,
    dtype: torch.dtype = torch.float64,
    rows: int = 5,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Checks that turning the operands turns the output, for a random rotation times the inversion.

    Args:
        module: of any layout; it is copied to `dtype`.
        dtype: float32 or float64.
        rows: size of the leading dimension of operands.
        tolerance: largest relative error; by default that of `TOLERANCES`.
        seed: of the operands and the rotation.

    Raises:
        AssertionError: an error is larger than the tolerance.

    Example:
        >>> assert_equivariant(TensorProduct("3x1o", "1o", "3x1e", [(0, 0, 0, "uvu", True)]))
    """
    limit = TOLERANCES[dtype] if tolerance is None else tolerance
    call = _with_mul_ir(copy.deepcopy(module).to(dtype))
    operands = random_operands(module, rows, seed)
    irreps = operand_irreps(module)
    quaternion = torch.randn(4, dtype=torch.float64, generator=_generator(seed))
    with torch.no_grad():
        straight = call(**{name: value.to(dtype) for name, value in operands.items()})
        for inverted in (False, True):
            turned = {
                name: turn(value, irreps[name], quaternion, inverted=inverted)
                if name in irreps
                else value
                for name, value in operands.items()
            }
            got = call(**{name: value.to(dtype) for name, value in turned.items()})
            wanted = turn(straight.double(), module.irreps_out, quaternion, inverted=inverted)
            _check(f"{module}: turned, inverted={inverted}", got, wanted, limit)


def operand_irreps(module: EquivariantModule) -> dict[str, o3.Irreps]:
    """The irreps of each argument of `forward` that has some."""
    if isinstance(module, Linear):
        return {"features": module.irreps_in}
    if isinstance(module, (SphericalHarmonics, TensorSquare)):
        return {"x": module.irreps_in}
    return {"x": module.irreps_in1, "y": module.irreps_in2}


def random_operands(module: EquivariantModule, rows: int, seed: int = 0) -> Tensors:
    """Normally distributed arguments of `forward`, in float64 and mul_ir, with weights it needs.

    Args:
        module: says what to draw.
        rows: size of the leading dimension.
        seed: of the draw.
    """
    lead = {"features": module.feature_dims[:1]} if isinstance(module, Linear) else {}
    shapes: dict[str, tuple[int, ...]] = {
        name: (rows, *lead.get(name, ()), irreps.dim)
        for name, irreps in operand_irreps(module).items()
    }
    if not isinstance(module, SphericalHarmonics) and not module.internal_weights:
        batch = () if module.shared_weights else (rows,)
        dims = module.feature_dims if isinstance(module, Linear) else ()
        if module.weight_numel:
            shapes["weight"] = (*batch, *dims, module.weight_numel)
        if isinstance(module, Linear) and module.bias_numel:
            shapes["bias"] = (*dims[1:], module.bias_numel)
    generator = _generator(seed)
    return {
        name: torch.randn(shape, dtype=torch.float64, generator=generator)
        for name, shape in shapes.items()
    }


def change_layout(x: torch.Tensor, irreps: o3.Irreps, *, to: str) -> torch.Tensor:
    """The same features in the other layout.

    Args:
        x: [..., irreps.dim].
        irreps: of x.
        to: "mul_ir" or "ir_mul"; x is in the other one.

    Example:
        >>> change_layout(torch.arange(6), o3.Irreps("2x1o"), to="ir_mul")
        tensor([0, 3, 1, 4, 2, 5])
    """
    blocks = []
    for part, (mul, ir) in zip(x.split([mul_ir.dim for mul_ir in irreps], -1), irreps, strict=True):
        shape = (mul, ir.dim) if to == "ir_mul" else (ir.dim, mul)
        blocks.append(part.unflatten(-1, shape).transpose(-1, -2).flatten(-2))
    return torch.cat(blocks, dim=-1) if blocks else x


def turn(
    x: torch.Tensor, irreps: o3.Irreps, quaternion: torch.Tensor, *, inverted: bool
) -> torch.Tensor:
    """The features, turned by a rotation and, if asked, inverted.

    Args:
        x: float64 [..., irreps.dim], mul_ir.
        irreps: of x.
        quaternion: float64 [4], of any length but 0.
        inverted: whether odd irreps change sign.
    """
    blocks = []
    unit = torch.nn.functional.normalize(quaternion, dim=-1)
    for part, (mul, ir) in zip(x.split([mul_ir.dim for mul_ir in irreps], -1), irreps, strict=True):
        with _default_dtype(torch.float64):
            matrix = ir.D_from_quaternion(unit, torch.tensor(float(inverted)))
        blocks.append((part.unflatten(-1, (mul, ir.dim)) @ matrix.T).flatten(-2))
    return torch.cat(blocks, dim=-1) if blocks else x


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference over the largest wanted value; 0 where both are empty or zero."""
    if wanted.numel() == 0:
        return 0.0
    difference = (got.double() - wanted.double()).abs().max().item()
    return difference and difference / max(wanted.double().abs().max().item(), 1e-300)


def _check(what: str, got: torch.Tensor, wanted: torch.Tensor, limit: float) -> None:
    """Refuses another shape or too large an error; NaN is too large."""
    if got.shape != wanted.shape:
        raise AssertionError(f"{what}: expected shape {list(wanted.shape)}, got {list(got.shape)}")
    error = relative_error(got, wanted)
    if not error <= limit:
        raise AssertionError(f"{what}: expected a relative error <= {limit:g}, got {error:g}")


def _values(
    call: Callable[..., torch.Tensor],
    owner: torch.nn.Module,
    operands: Mapping[str, torch.Tensor],
    derivatives: int,
    seed: int,
) -> Tensors:
    """The output, and gradients up to an order, by name."""
    leaves = {name: value.clone().requires_grad_() for name, value in operands.items()}
    output = call(**leaves)
    leaves |= {name: value for name, value in owner.named_parameters() if value.requires_grad}
    values = {"output": output}
    newest = values
    generator = _generator(seed + COTANGENT_SEED)
    for order in range(1, derivatives + 1):
        cotangents = {
            f"cotangent of {name}": torch.randn(
                value.shape, dtype=torch.float64, generator=generator
            )
            .to(value.dtype)
            .requires_grad_()
            for name, value in newest.items()
        }
        products = zip(newest.values(), cotangents.values(), strict=True)
        functional = torch.stack([(value * cotangent).sum() for value, cotangent in products]).sum()
        gradients = torch.autograd.grad(
            functional,
            list(leaves.values()),
            create_graph=order < derivatives,
            allow_unused=True,
            materialize_grads=True,
        )
        newest = {
            f"order {order}, to {name}": gradient
            for name, gradient in zip(leaves, gradients, strict=True)
        }
        values = values | newest
        leaves = leaves | cotangents
    return {name: value.detach() for name, value in values.items()}


def _with_mul_ir(module: EquivariantModule) -> Callable[..., torch.Tensor]:
    """The module as a function of operands in mul_ir, which is what e3nn takes and gives."""
    if module.layout == "mul_ir":
        return module
    irreps = operand_irreps(module)

    def call(**operands: torch.Tensor) -> torch.Tensor:
        changed = {
            name: change_layout(value, irreps[name], to="ir_mul") if name in irreps else value
            for name, value in operands.items()
        }
        output: torch.Tensor = module(**changed)
        return change_layout(output, module.irreps_out, to="mul_ir")

    return call


def _in_float64(reference: torch.nn.Module) -> torch.nn.Module:
    """A copy in float64.

    e3nn rounds the Wigner 3j symbols of generated code to the default dtype of the moment; casting
    a module does not bring them back. So the code of tensor products is generated again.
    """
    double = copy.deepcopy(reference).to(torch.float64)
    if isinstance(double, o3.TensorProduct):
        with _default_dtype(torch.float64):
            again = o3.TensorProduct(
                double.irreps_in1,
                double.irreps_in2,
                double.irreps_out,
                [(*ins[:5], ins.path_weight**2) for ins in double.instructions],
                irrep_normalization="none",
                path_normalization="none",
                internal_weights=double.internal_weights,
                shared_weights=double.shared_weights,
            )
        double._compiled_main_left_right = again._compiled_main_left_right
    return double


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets torch's default dtype, in which e3nn makes its generators of rotations."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
