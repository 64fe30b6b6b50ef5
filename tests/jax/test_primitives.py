"""Derivatives of kernels of every kind and order, control flow, other platforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tests.jax.arrays import RECEIVERS, SENDERS, edges, values
from tests.kernels import linear, product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.algebra.symmetric_kernel import symmetric_kernel
from tvm_equi.errors import UnsupportedError
from tvm_equi.jax.operator import convolve, run
from tvm_equi.jax.topology import Topology

pytestmark = pytest.mark.deploy

MODES = ("uvw", "uuu")


def small(mode: str) -> str:
    """One path of a mode with weights."""
    out = {"uvw": 2, "uvu": 3, "uvv": 3, "uuu": 3}[mode]
    paths = (Instruction(0, 0, 0, mode, True, 0.7),)
    return tensor_product_kernel(((3, 1),), ((3, 1),), ((out, 2),), paths, weight_rows="row").plan()


def symmetric() -> str:
    return symmetric_kernel(((0, 1), (1, -1)), ((0, 1), (1, -1)), 2, 3).plan()


@pytest.mark.parametrize("plan", [*(small(mode) for mode in MODES), symmetric(), linear().plan()])
def test_derivatives_over_rows(plan: str) -> None:
    check_grads(lambda *arrays: run(plan, arrays), values(plan, {"row": 4}), order=2)


def test_derivatives_over_edges() -> None:
    plan = convolution_kernel(product(u=4)).plan()
    topology = Topology(edges(), (SENDERS, RECEIVERS))
    check_grads(lambda *arrays: convolve(plan, arrays, topology), values(plan), order=2)


def test_third_derivatives() -> None:
    plan = small("uvu")
    check_grads(lambda *arrays: run(plan, arrays), values(plan, {"row": 2}), order=3, modes=["rev"])


def test_hessians_of_all_modes_agree() -> None:
    plan = symmetric()
    x, one, w = values(plan, {"row": 3})

    def energy(x: jax.Array) -> jax.Array:
        return jnp.sin(run(plan, [x, one, w])[0]).sum()

    wanted = jax.hessian(energy)(x)
    for outer, inner in ((jax.jacfwd, jax.jacfwd), (jax.jacrev, jax.jacfwd)):
        np.testing.assert_allclose(jax.jit(outer(inner(energy)))(x), wanted, atol=1e-12)
    direction = jnp.ones_like(x)
    product = jax.grad(lambda x: jnp.vdot(jax.grad(energy)(x), direction))(x)
    np.testing.assert_allclose(product, jnp.einsum("aibj,bj->ai", wanted, direction), atol=1e-12)
    _, linear_map = jax.linearize(jax.grad(energy), x)
    np.testing.assert_allclose(linear_map(direction), product, atol=1e-12)


def test_a_kernel_that_is_linear_can_be_transposed() -> None:
    plan = small("uvu")
    x, y, w = values(plan, {"row": 4})
    out = run(plan, [x, y, w])[0]
    (found,) = jax.linear_transpose(lambda x: run(plan, [x, y, w])[0], x)(out)
    wanted = jax.grad(lambda x: jnp.vdot(run(plan, [x, y, w])[0], out))(x)
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(UnsupportedError, match="linear in its inputs"):
        jax.linear_transpose(lambda x, y: run(plan, [x, y, w])[0], x, y)(out)


def test_control_flow() -> None:
    plan = product(u=4).plan()
    x, y, w = values(plan, {"row": 3})

    def step(x: jax.Array) -> jax.Array:
        return jnp.tanh(run(plan, [x, y, w])[0][:, :12])

    def unrolled(x: jax.Array) -> jax.Array:
        return step(step(step(x))).sum()

    def scanned(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (step(x), None), x, None, length=3)[0].sum()

    def repeated(x: jax.Array) -> jax.Array:
        return jax.lax.while_loop(
            lambda state: state[0] < 3, lambda state: (state[0] + 1, step(state[1])), (0, x)
        )[1].sum()

    ones = jnp.ones_like(x)
    for function in (scanned, jax.checkpoint(unrolled)):
        np.testing.assert_allclose(jax.grad(function)(x), jax.grad(unrolled)(x), atol=1e-14)
    wanted = jax.jvp(unrolled, (x,), (ones,))[1]
    np.testing.assert_allclose(jax.jvp(repeated, (x,), (ones,))[1], wanted, atol=1e-14)


def test_another_platform_is_refused() -> None:
    plan = small("uvu")
    exported = jax.jit(lambda arrays: run(plan, arrays))
    with pytest.raises(UnsupportedError, match="expected arrays on the CPU, got a computation for"):
        exported.trace(values(plan, {"row": 4})).lower(lowering_platforms=("cuda",))
