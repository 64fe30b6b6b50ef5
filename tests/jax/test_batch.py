"""vmap of kernels: rows, shared values, values over edges, topologies; and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.jax.arrays import RECEIVERS, SENDERS, edges, values
from tests.kernels import linear, product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.jax.operator import convolve, run
from tvm_equi.jax.topology import Topology

pytestmark = pytest.mark.deploy


def stacked(plan: str, counts: dict[str, int], size: int = 3) -> list[jax.Array]:
    """A batch of inputs."""
    sets = [values(plan, counts, seed) for seed in range(size)]
    return [jnp.stack(column) for column in zip(*sets, strict=True)]


@pytest.mark.parametrize("axes", [(0, 0, 0), (0, None, 0), (None, 0, None), (1, 0, 2)])
def test_rows(axes: tuple[int | None, ...]) -> None:
    plan = product(u=4).plan()
    batch = stacked(plan, {"row": 5})
    given = [
        array[0] if axis is None else jnp.moveaxis(array, 0, axis)
        for array, axis in zip(batch, axes, strict=True)
    ]
    found = jax.vmap(lambda *a: run(plan, a)[0], axes)(*given)
    for number, out in enumerate(found):
        one = [a[0] if axis is None else a[number] for a, axis in zip(batch, axes, strict=True)]
        np.testing.assert_array_equal(out, run(plan, one)[0])


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None)])
def test_shared_values(axes: tuple[int | None, ...]) -> None:
    plan = linear().plan()
    batch = stacked(plan, {"row": 5})
    given = [a[0] if axis is None else a for a, axis in zip(batch, axes, strict=True)]

    def gradients(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.grad(lambda x, w: (run(plan, [x, w])[0] ** 2).sum(), (0, 1))(x, w)

    found = jax.jit(jax.vmap(gradients, axes))(*given)
    for number in range(3):
        one = [a if axis is None else a[number] for a, axis in zip(given, axes, strict=True)]
        for out, expected in zip(found, gradients(*one), strict=True):
            np.testing.assert_allclose(out[number], expected, rtol=1e-12, atol=1e-12)


def test_values_and_topologies_over_edges() -> None:
    plan = convolution_kernel(product(u=4)).plan()
    batch = stacked(plan, {"row": 9, "sender": SENDERS, "receiver": RECEIVERS})
    indices = jnp.stack([jnp.asarray(edges(seed=seed)) for seed in range(3)])

    def energy(arrays: list[jax.Array], index: jax.Array) -> jax.Array:
        return (convolve(plan, arrays, Topology(index, (SENDERS, RECEIVERS)))[0] ** 2).sum()

    found = jax.jit(jax.vmap(jax.grad(energy)))(batch, indices)
    same = jax.vmap(jax.grad(energy), (0, None))(batch, indices[0])
    for number in range(3):
        one = [array[number] for array in batch]
        for out, expected in zip(found, jax.grad(energy)(one, indices[number]), strict=True):
            np.testing.assert_allclose(out[number], expected, rtol=1e-12, atol=1e-12)
        for out, expected in zip(same, jax.grad(energy)(one, indices[0]), strict=True):
            np.testing.assert_allclose(out[number], expected, rtol=1e-12, atol=1e-12)


def test_derivatives_of_batches() -> None:
    plan = product(u=4).plan()
    batch = stacked(plan, {"row": 2})

    def total(x: jax.Array) -> jax.Array:
        return (jax.vmap(lambda *a: run(plan, a)[0])(x, *batch[1:]) ** 2).sum()

    wanted = jax.jacrev(jax.jacrev(total))(batch[0])
    np.testing.assert_allclose(jax.hessian(total)(batch[0]), wanted, atol=1e-12)
    np.testing.assert_allclose(jax.jacfwd(jax.jacfwd(total))(batch[0]), wanted, atol=1e-12)
