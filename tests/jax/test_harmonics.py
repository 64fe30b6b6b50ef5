"""Harmonics in JAX: e3nn's, any degrees in any order; derivatives."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from e3nn import o3
from jax.test_util import check_grads

from tvm_equi.graph.operations import SphericalHarmonics
from tvm_equi.jax.harmonics import harmonics_function

pytestmark = pytest.mark.deploy


def test_degrees_in_any_order() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    found = harmonics_function(SphericalHarmonics((3, 0, 1, 3)))(jnp.asarray(vectors))
    wanted = o3.spherical_harmonics([3, 0, 1, 3], torch.tensor(vectors), True, "component")
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-12)
    assert harmonics_function(SphericalHarmonics(()))(jnp.asarray(vectors)).shape == (5, 0)


def test_derivatives() -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 3))
    check_grads(harmonics_function(SphericalHarmonics((0, 1, 2))), (vectors,), order=1)
