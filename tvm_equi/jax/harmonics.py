"""Spherical harmonics of vectors in JAX, by compiled couplings.

In: degrees and a normalisation. Out: a function of vectors, with the plans that torch's has.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import jax.numpy as jnp

from tvm_equi.algebra.harmonics import scale
from tvm_equi.graph.operations import SphericalHarmonics
from tvm_equi.jax.lengths import unit_vectors
from tvm_equi.jax.operator import run
from tvm_equi.runtime.harmonics_plans import harmonics_steps


def harmonics_function(operation: SphericalHarmonics) -> Callable[[Any], Any]:
    """The function that gives harmonics of each vector.

    Args:
        operation: degrees, normalisation, and whether vectors are made unit vectors.
    """
    steps = tuple(harmonics_steps(set(operation.degrees), operation.normalization))
    constant = scale(operation.normalization, 0)
    linear = sqrt(3) * scale(operation.normalization, 1)

    def harmonics(vectors: Any) -> Any:
        rows = unit_vectors(vectors) if operation.normalize else vectors
        known = {0: jnp.full((rows.shape[0], 1), constant, rows.dtype), 1: rows * linear}
        for step in steps:
            parts = [known[degree] for degree in step.sources]
            left = parts[0] if len(parts) == 1 else jnp.concatenate(parts, -1)
            out = run(step.plan, [left, known[step.partner]])[0]
            start = 0
            for degree in step.targets:
                known[degree] = out[:, start : start + 2 * degree + 1]
                start += 2 * degree + 1
        blocks = [known[degree] for degree in operation.degrees]
        return jnp.concatenate(blocks, -1) if blocks else rows[:, :0]

    return harmonics
