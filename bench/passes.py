"""The three passes that are timed, as functions of a product and its tensors.

In: any function z = product(x, y, w), and prepared tensors. Out: everything that the pass computes,
detached, so that nothing can be left out. All cotangents are prepared, so that no other arithmetic
is timed.

- forward: z, without gradients.
- forward+backward: z, and the gradients of <z, g> to x, y, w.
- training step: as a loss on forces needs: z, the gradients above, and the gradients of <gx, a> +
  <gy, b> + <gw, c> to x, y, w, g.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from e3nn import o3
from torch import Tensor

Product = Callable[[Tensor, Tensor, Tensor], Tensor]


class Tensors(NamedTuple):
    """Inputs x, y, w, the cotangent g of z, and cotangents a, b, c of the gradients to x, y, w."""

    x: Tensor
    y: Tensor
    w: Tensor
    g: Tensor
    a: Tensor
    b: Tensor
    c: Tensor


def random_tensors(product: o3.TensorProduct, rows: int, dtype: torch.dtype) -> Tensors:
    """Normal random tensors, the same in each run; x, y, w and g require gradients."""
    generator = torch.Generator().manual_seed(0)
    x, y = (rows, product.irreps_in1.dim), (rows, product.irreps_in2.dim)
    w = (product.weight_numel,) if product.shared_weights else (rows, product.weight_numel)
    g = (rows, product.irreps_out.dim)
    tensors = [
        torch.randn(shape, dtype=dtype, generator=generator) for shape in (x, y, w, g, x, y, w)
    ]
    for tensor in tensors[:4]:
        tensor.requires_grad_()
    return Tensors(*tensors)


Pass = Callable[[Product, Tensors], tuple[Tensor, ...]]


def forward(product: Product, t: Tensors) -> tuple[Tensor, ...]:
    """The value."""
    with torch.no_grad():
        return (product(t.x, t.y, t.w),)


def forward_backward(product: Product, t: Tensors) -> tuple[Tensor, ...]:
    """The value and the gradients."""
    z = product(t.x, t.y, t.w)
    first = torch.autograd.grad(z, (t.x, t.y, t.w), t.g)
    return _detached(z, *first)


def training_step(product: Product, t: Tensors) -> tuple[Tensor, ...]:
    """The value, the gradients, and the gradients of these."""
    z = product(t.x, t.y, t.w)
    first = torch.autograd.grad(z, (t.x, t.y, t.w), t.g, create_graph=True)
    second = torch.autograd.grad(first, (t.x, t.y, t.w, t.g), (t.a, t.b, t.c))
    return _detached(z, *first, *second)


def _detached(*values: Tensor) -> tuple[Tensor, ...]:
    return tuple(value.detach() for value in values)


PASSES: dict[str, Pass] = {
    "forward": forward,
    "forward+backward": forward_backward,
    "training step": training_step,
}

KERNELS_OF = {
    "forward": ("forward",),
    "forward+backward": ("forward", "backward"),
    "training step": ("forward", "backward", "double backward"),
}
"""The kernels of `bench.counts` that a pass consists of."""


def relative_error(values: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> float:
    """The largest difference of any value, relative to the largest entry of its reference.

    Raises:
        ValueError: another number of values, or another shape.
    """
    worst = 0.0
    for value, wanted in zip(values, reference, strict=True):
        if value.shape != wanted.shape:
            raise ValueError(f"expected shape {list(wanted.shape)}, got {list(value.shape)}")
        scale = wanted.detach().abs().max().clamp_min(torch.finfo(wanted.dtype).tiny)
        worst = max(worst, float((value - wanted).detach().abs().max() / scale))
    return worst
