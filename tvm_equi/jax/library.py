"""JAX as the library of arrays that rules of a graph run in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tvm_equi.jax.harmonics import harmonics_function
from tvm_equi.jax.lengths import length, unit_vectors
from tvm_equi.jax.operator import convolve, run
from tvm_equi.jax.topology import Topology
from tvm_equi.runtime.rules.library import ArrayLibrary


def _topology(
    indices: tuple[Any, Any], num_nodes: tuple[int, int], check_indices: bool | None
) -> Topology:
    """Edges, checked where they are known."""
    is_known = not any(isinstance(index, jax.core.Tracer) for index in indices)
    edges = np.stack(indices) if is_known else jnp.stack(indices)
    return Topology(edges, num_nodes, check_indices if is_known else None)


JAX = ArrayLibrary(
    functions={
        "silu": jax.nn.silu,
        "tanh": jnp.tanh,
        "sigmoid": jax.nn.sigmoid,
        "relu": jax.nn.relu,
        "abs": jnp.abs,
        "identity": lambda x: x,
    },
    zeros=lambda like, shape: jnp.zeros(shape, like.dtype),
    ones=lambda like, shape: jnp.ones(shape, like.dtype),
    count_to=lambda like, num: jnp.arange(1, num + 1, dtype=like.dtype),
    concat=lambda arrays: jnp.concatenate(arrays, -1),
    einsum=jnp.einsum,
    sin=jnp.sin,
    take_rows=lambda values, index: jnp.take(values, index, axis=0, mode="clip"),
    sum_rows=jax.ops.segment_sum,
    length=length,
    unit_vectors=unit_vectors,
    harmonics=harmonics_function,
    run=run,
    convolve=convolve,
    topology=_topology,
)
