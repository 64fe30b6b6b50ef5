"""What a convolution is compared with: e3nn's product on gathered rows, then a sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch


def summed(
    product: Callable[..., torch.Tensor],
    edges: torch.Tensor,
    num_receivers: int,
    x: torch.Tensor,
    *rest: torch.Tensor,
) -> torch.Tensor:
    """Gather, a product per edge, and the sum over each receiver's edges."""
    messages = product(x[edges[0]], *rest)
    total = messages.new_zeros((num_receivers, messages.shape[1]))
    return total.index_add(0, edges[1], messages)


def derivatives(
    function: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], order: int
) -> list[torch.Tensor]:
    """The value, and gradients of random sums of the order before, up to an order.

    The sums are the same in every dtype.
    """
    generator = torch.Generator().manual_seed(1)
    current: list[torch.Tensor] = [function(*inputs)]
    found = list(current)
    for _ in range(order):
        terms = [
            (value * draw(generator, *value.shape, requires_grad=False).to(value)).sum()
            for value in current
        ]
        total = torch.stack(terms).sum()
        current = list(torch.autograd.grad(total, inputs, create_graph=True))
        found += current
    return [value.detach() for value in found]


def largest_error(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """The largest difference, relative to each tensor's largest element."""
    errors = []
    for one, other in zip(found, wanted, strict=True):
        if one.shape != other.shape:
            return float("inf")
        if one.numel():
            scale = max(float(other.detach().abs().max()), 1e-30)
            errors.append(float((one - other).abs().max()) / scale)
    return float("inf") if any(map(math.isnan, errors)) else max(errors, default=0.0)


def draw(generator: torch.Generator, *shape: int, **options: Any) -> torch.Tensor:
    """Normal random numbers in float64 that require a gradient."""
    options = {"dtype": torch.float64, "requires_grad": True} | options
    return torch.randn(shape, generator=generator, **options)


def graph(kind: str, num_edges: int, senders: int, receivers: int) -> torch.Tensor:
    """Random edges: "any" order with repeats, loops and nodes without edges, or a "hub"."""
    generator = torch.Generator().manual_seed(2)
    counts = (senders, max(1, receivers - 1))
    edges = torch.stack([torch.randint(0, n, (num_edges,), generator=generator) for n in counts])
    if kind == "hub":
        edges[1, : num_edges // 5] = 0
        edges = edges[:, torch.randperm(num_edges, generator=generator)]
    return edges
