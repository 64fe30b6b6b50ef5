"""The three passes that are timed, as functions of a product and its tensors.

In: any function z = product(x, y, w), or of other inputs, and prepared tensors. Out: everything
that the pass computes, detached, so that nothing can be left out. All cotangents are prepared, so
that no other arithmetic is timed.

- forward: z, without gradients.
- forward+backward: z, and the gradients of <z, g> to x, y, w.
- training step: as a loss on forces needs: z, the gradients above, and the gradients of <gx, a> +
  <gy, b> + <gw, c> to x, y, w, g.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from e3nn import o3
from torch import Tensor

from bench.counts import Rows

Product = Callable[..., Tensor]


class Tensors(NamedTuple):
    """What a pass reads.

    Args:
        inputs: x, y, w; in the place of w, h and a matrix where weights are their product.
        g: the cotangent of z.
        cotangents: of the gradients to the inputs, called a, b, c above.
    """

    inputs: tuple[Tensor, ...]
    g: Tensor
    cotangents: tuple[Tensor, ...]

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """All in one tuple."""
        return (*self.inputs, self.g, *self.cotangents)

    @staticmethod
    def of(flat: Sequence[Tensor]) -> Tensors:
        """The inverse of `flat`."""
        count = len(flat) // 2
        return Tensors(tuple(flat[:count]), flat[count], tuple(flat[count + 1 :]))


def random_tensors(
    product: o3.TensorProduct, rows: int | Rows, dtype: torch.dtype, hidden: int | None = None
) -> Tensors:
    """Normal random tensors, the same in each run; inputs and g require gradients.

    Args:
        product: e3nn's module.
        rows: of the operands; a number where they are alike.
        dtype: of all.
        hidden: entries of h in a row, where weights are h times a matrix.
    """
    rows = Rows.alike(rows) if isinstance(rows, int) else rows
    generator = torch.Generator().manual_seed(0)
    x, y = (rows.senders, product.irreps_in1.dim), (rows.edges, product.irreps_in2.dim)
    weights: tuple[tuple[int, ...], ...] = ((rows.edges, product.weight_numel),)
    if product.shared_weights:
        weights = ((product.weight_numel,),)
    if hidden is not None:
        weights = ((rows.edges, hidden), (hidden, product.weight_numel))
    inputs = (x, y, *weights)
    g = (rows.receivers, product.irreps_out.dim)
    flat = [torch.randn(shape, dtype=dtype, generator=generator) for shape in (*inputs, g, *inputs)]
    for tensor in flat[: len(inputs) + 1]:
        tensor.requires_grad_()
    return Tensors.of(flat)


Pass = Callable[[Product, Tensors], tuple[Tensor, ...]]


def forward(product: Product, t: Tensors) -> tuple[Tensor, ...]:
    """The value."""
    with torch.no_grad():
        return (product(*t.inputs),)


def forward_backward(product: Product, t: Tensors) -> tuple[Tensor, ...]:
    """The value and the gradients."""
    z = product(*t.inputs)
    first = torch.autograd.grad(z, t.inputs, t.g)
    return _detached(z, *first)


def training_step(product: Product, t: Tensors) -> tuple[Tensor, ...]:
    """The value, the gradients, and the gradients of these."""
    z = product(*t.inputs)
    first = torch.autograd.grad(z, t.inputs, t.g, create_graph=True)
    second = torch.autograd.grad(first, (*t.inputs, t.g), t.cotangents)
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
        worst = larger(worst, float((value - wanted).detach().abs().max() / scale))
    return worst


def larger(one: float, other: float) -> float:
    """The larger of two errors; infinity if one is no number."""
    return math.inf if math.isnan(one) or math.isnan(other) else max(one, other)
