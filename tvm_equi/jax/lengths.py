"""Lengths of vectors, with torch's derivative at zero, which is zero; JAX's own is no number.

In: arrays of vectors. Out: lengths, or vectors of length one.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

SHORTEST = 1e-12
"""Vectors are divided by at least this length, as `torch.nn.functional.normalize` does."""


def length(vectors: Any, axis: int = -1, *, keepdims: bool = False) -> Any:
    """The length of each vector.

    Args:
        vectors: with components along `axis`.
        axis: of the components.
        keepdims: whether an axis of one stays in its place.
    """
    squares = (vectors * vectors).sum(axis, keepdims=keepdims)
    is_zero = squares == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squares)))


def unit_vectors(vectors: Any) -> Any:
    """Vectors of length one; zero stays zero.

    Args:
        vectors: [rows, 3].
    """
    return vectors / jnp.maximum(length(vectors, keepdims=True), SHORTEST)
