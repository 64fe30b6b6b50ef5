"""vmap of a kernel: a batch of rows is more rows; other batches are run one by one.

In: a call, its values and where their batches are. Out: the outputs, batches first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tvm_equi.algebra.contraction import Rows


def batched_call(
    call: Callable[..., list[Any]],
    values: Sequence[Any],
    dims: Sequence[int | None],
    kinds: Sequence[Rows],
    outputs: Sequence[Rows],
    *,
    has_edges: bool,
) -> tuple[list[Any], list[int]]:
    """The outputs of a batch of calls, and where their batches are.

    Args:
        call: of one, or of more rows.
        values: its arguments.
        dims: the axis of each that counts the batch, None where all have one.
        kinds: the rows of those that are values; others are indices.
        outputs: the rows of the outputs.
        has_edges: whether rows are edges, whose order is not that of a longer list.
    """
    first = [
        value if dim is None else jnp.moveaxis(value, dim, 0)
        for value, dim in zip(values, dims, strict=True)
    ]
    has_batch = [dim is not None for dim in dims]
    shared = any(kind == "shared" and b for kind, b in zip(kinds, has_batch, strict=False))
    if has_edges or shared or "shared" in outputs:
        return _one_by_one(call, first, has_batch), [0] * len(outputs)
    batches = [
        value.shape[:2]
        for value, b, kind in zip(first, has_batch, kinds, strict=True)
        if b and kind != "shared"
    ]
    size, num_rows = batches[0]
    folded = []
    for value, b, kind in zip(first, has_batch, kinds, strict=True):
        if kind == "shared":
            folded.append(value)
        else:
            rows = value if b else jnp.broadcast_to(value, (size, *value.shape))
            folded.append(rows.reshape(size * num_rows, rows.shape[2]))
    found = call(*folded)
    split = [out.reshape(size, num_rows, out.shape[1]) for out in found]
    return split, [0] * len(split)


def _one_by_one(
    call: Callable[..., list[Any]], values: Sequence[Any], has_batch: Sequence[bool]
) -> list[Any]:
    """The outputs of each call, stacked."""
    batched = [value for value, b in zip(values, has_batch, strict=True) if b]

    def one(parts: list[Any]) -> list[Any]:
        rest = iter(parts)
        return call(*(next(rest) if b else v for v, b in zip(values, has_batch, strict=True)))

    return list(jax.lax.map(one, batched))
