"""A module that takes another's place, compared with it once on random data.

In: both modules. Out: the largest relative error of values and first derivatives. Refused: an error
above the tolerance, with the module's path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from tvm_equi.errors import ArtifactError
from tvm_equi.models.edges import convolve_edges
from tvm_equi.nn.linear import Linear
from tvm_equi.nn.spherical_harmonics import SphericalHarmonics
from tvm_equi.nn.tensor_product import TensorProduct
from tvm_equi.testing import random_operands

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-10}

ROUNDED = 1e-6
"""Tolerance where the old module computes in float64 with constants that were made in float32, as
e3nn's does that was constructed in float32 and cast."""

ROWS = 4
NODES = 3

Example = Callable[[], tuple[Any, ...]]


def tensor_like(module: torch.nn.Module, default: torch.Tensor) -> torch.Tensor:
    """A tensor of the dtype and device of a module's tensors.

    Args:
        module: any.
        default: where it has none of float32 or float64.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dtype in TOLERANCES and tensor.numel():
            return tensor.detach()
    return default


def has_known_dtypes(module: torch.nn.Module) -> bool:
    """Whether a module computes in float32 or float64, for which there is a tolerance.

    Args:
        module: any.
    """
    tensors = (*module.parameters(), *module.buffers())
    return all(t.dtype in TOLERANCES for t in tensors if t.is_floating_point() and t.numel())


def known_example(module: torch.nn.Module, like: torch.Tensor) -> Example | None:
    """Makes arguments of a module of `tvm_equi.nn`; None for another.

    Args:
        module: whose arguments are wanted.
        like: has their dtype and device.
    """
    if not isinstance(module, (TensorProduct, Linear, SphericalHarmonics)):
        return None

    def example() -> tuple[Any, ...]:
        return tuple(tensor.to(like) for tensor in random_operands(module, ROWS).values())

    return example


def compare_modules(
    path: str,
    new: torch.nn.Module,
    old: torch.nn.Module,
    example: Example,
    like: torch.Tensor,
) -> float:
    """The largest relative error of a module.

    Args:
        path: of the module in its model.
        new: the module.
        old: what it should compute.
        example: makes arguments for both.
        like: has the dtype and device that they compute in.

    Raises:
        ArtifactError: the error is above the tolerance.
    """
    parameters = [p for p in old.parameters() if p.requires_grad]
    # Not by calling the modules: hooks of the model are not to see this.
    tolerance = _tolerance(old, like.dtype)
    state = [(buffer, buffer.detach().clone()) for buffer in old.buffers()]
    try:
        return _compare(path, new.forward, old.forward, example(), parameters, tolerance)
    finally:
        with torch.no_grad():  # statistics of a batch norm, which the modules share
            for buffer, before in state:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


def compare_convolution(
    path: str, product: TensorProduct, old: torch.nn.Module, like: torch.Tensor
) -> float:
    """The largest relative error of a convolution, on a graph of a few edges.

    Args:
        path: of the product in its model.
        product: with its convolution attached.
        old: the product that it took the place of.
        like: has the dtype and device that they compute in.

    Raises:
        ArtifactError: the error is above the tolerance.
    """
    drawn = random_operands(product, ROWS)
    operands = {name: value.to(like) for name, value in drawn.items()}
    x = operands["x"][:NODES]
    senders, receivers = torch.tensor([[0, 2, 1, 2], [1, 1, 2, 0]], device=like.device)
    weight = operands.get("weight")
    given = (x, operands["y"]) if weight is None else (x, operands["y"], weight)

    def fused(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None = None) -> torch.Tensor:
        return convolve_edges(product, x, senders, y, w, receivers, NODES)

    def steps(x: torch.Tensor, y: torch.Tensor, *w: torch.Tensor) -> torch.Tensor:
        messages: torch.Tensor = old.forward(x[senders], y, *w)
        return messages.new_zeros((NODES, messages.shape[1])).index_add(0, receivers, messages)

    parameters = [p for p in old.parameters() if p.requires_grad]
    return _compare(path, fused, steps, given, parameters, _tolerance(old, like.dtype))


def _tolerance(old: torch.nn.Module, dtype: torch.dtype) -> float:
    """The error that is allowed."""
    return ROUNDED if dtype == torch.float64 and _is_rounded(old) else TOLERANCES[dtype]


def _is_rounded(module: torch.nn.Module) -> bool:
    """Whether a float64 module holds constants that were made in float32."""
    constants = [value for _, value in module.named_buffers() if value.is_floating_point()]
    for part in module.modules():
        if not isinstance(part, torch.jit.ScriptModule):
            constants += [
                value
                for value in vars(part).values()
                if isinstance(value, torch.Tensor) and value.is_floating_point()
            ]
    numbers = [value for value in constants if value.dim() > 1]
    return bool(numbers) and all(torch.equal(n.double(), n.float().double()) for n in numbers)


def _compare(
    path: str,
    new: Callable[..., Any],
    old: Callable[..., Any],
    arguments: Sequence[Any],
    parameters: list[torch.nn.Parameter],
    tolerance: float,
) -> float:
    got = list(_values(new, arguments, parameters))
    wanted = list(_values(old, arguments, parameters))
    worst = 0.0
    for (name, value), (_, expected) in zip(got, wanted, strict=True):
        if value.shape != expected.shape:
            raise ArtifactError(
                f"accelerate: {path}: expected {name} of shape {list(expected.shape)} as the "
                f"original has, got {list(value.shape)}"
            )
        error = _error(value, expected)
        if not error <= tolerance:
            raise ArtifactError(
                f"accelerate: {path}: expected {name} within {tolerance:g} of the original's, got "
                f"a relative error of {error:.2g}; accelerate(model, check=False) skips this check"
            )
        worst = max(worst, error)
    return worst


def _values(
    call: Callable[..., Any], arguments: Sequence[Any], parameters: list[torch.nn.Parameter]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Outputs, and the gradients of a random functional of them, by name."""
    given = [
        value.detach().clone().requires_grad_()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for value in arguments
    ]
    with torch.enable_grad():
        found = call(*given)
        outputs = [out for out in _flat(found) if isinstance(out, torch.Tensor)]
        generator = torch.Generator().manual_seed(1)
        weights = [
            torch.randn(out.shape, dtype=torch.float64, generator=generator).to(out)
            for out in outputs
        ]
        terms = zip(outputs, weights, strict=True)
        functional = [(out * weight).sum() for out, weight in terms if out.requires_grad]
        leaves = [v for v in given if isinstance(v, torch.Tensor) and v.requires_grad]
        wanted = [*leaves, *parameters]
        gradients = (
            torch.autograd.grad(
                sum(functional[1:], functional[0]),
                wanted,
                allow_unused=True,
                materialize_grads=True,
            )
            if functional and wanted
            else ()
        )
    for number, out in enumerate(outputs):
        yield f"output {number}", out.detach()
    for number, gradient in enumerate(gradients):
        name = f"argument {number}" if number < len(leaves) else f"parameter {number - len(leaves)}"
        yield f"the gradient to {name}", gradient


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def _error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference over the largest wanted value."""
    if not wanted.numel():
        return 0.0
    difference = float((got.double() - wanted.double()).abs().max())
    return difference / max(float(wanted.double().abs().max()), 1e-30) if difference else 0.0
