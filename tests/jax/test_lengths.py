"""Lengths as torch has them, at zero too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tvm_equi.jax.lengths import length, unit_vectors

pytestmark = pytest.mark.deploy

VECTORS = np.array([[1.0, 2.0, -2.0], [0.0, 0.0, 0.0], [3e-13, 0.0, 0.0]])


def test_values_and_derivatives() -> None:
    given = torch.tensor(VECTORS, requires_grad=True)
    torch.linalg.vector_norm(given, dim=-1).sum().backward()
    np.testing.assert_allclose(length(jnp.asarray(VECTORS)), [3, 0, 3e-13])
    np.testing.assert_allclose(jax.grad(lambda v: length(v).sum())(VECTORS), given.grad.numpy())
    assert length(jnp.asarray(VECTORS), 0, keepdims=True).shape == (1, 3)


def test_unit_vectors() -> None:
    given = torch.tensor(VECTORS, requires_grad=True)
    units = torch.nn.functional.normalize(given, dim=-1)
    (units * torch.arange(3)).sum().backward()
    np.testing.assert_allclose(unit_vectors(jnp.asarray(VECTORS)), units.detach().numpy())
    found = jax.grad(lambda v: (unit_vectors(v) * jnp.arange(3)).sum())(VECTORS)
    np.testing.assert_allclose(found, given.grad.numpy(), rtol=1e-12)
