"""Stages of a tensor product over edges in JAX: equal to torch's however they are split."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.jax.arrays import edges
from tests.nn.test_stages import product
from tvm_equi.jax.stages import radial_blocks, run_stages
from tvm_equi.jax.topology import Topology
from tvm_equi.nn import stages as in_torch
from tvm_equi.runtime.stage_plans import stage_plans
from tvm_equi.runtime.topology import Topology as TorchTopology

pytestmark = pytest.mark.deploy


@pytest.mark.parametrize("over_edges", [False, True])
def test_equal_torch(over_edges: bool) -> None:
    rng = np.random.default_rng(0)
    index = edges(30, (5, 5))
    arrays = {"x": rng.normal(size=(5, 20)), "y": rng.normal(size=(30, 4))}
    arrays["w"] = rng.normal(size=34)
    plans = stage_plans(product("shared", over_edges=over_edges))
    assert bool(plans.before) is over_edges
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    wanted = in_torch.run_stages(plans, tensors, TorchTopology(torch.tensor(index), 5))
    found = run_stages(plans, {n: jnp.asarray(a) for n, a in arrays.items()}, Topology(index, 5))
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-13)


def test_radial_blocks() -> None:
    matrix = np.arange(12.0).reshape(3, 4)
    wanted = in_torch.radial_blocks(torch.tensor(matrix), [1, 3])
    np.testing.assert_array_equal(radial_blocks(jnp.asarray(matrix), [1, 3]), wanted.numpy())
