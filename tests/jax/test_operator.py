"""Kernels in JAX: values of torch to the last bit, derivatives of every kind, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tests.jax.arrays import COUNTS, RECEIVERS, SENDERS, edges, torch_outputs, values
from tests.kernels import kinds, linear, product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.algebra.symmetric_kernel import symmetric_kernel
from tvm_equi.errors import ArgumentError, ArgumentTypeError, UnsupportedError
from tvm_equi.jax.operator import convolve, run
from tvm_equi.jax.topology import Topology
from tvm_equi.runtime.plans import derivative_plan

pytestmark = pytest.mark.deploy

KINDS = kinds()
MODES = ("uvw", "uuu")


def small(mode: str) -> str:
    """One path of a mode with weights."""
    out = {"uvw": 2, "uvu": 3, "uvv": 3, "uuu": 3}[mode]
    paths = (Instruction(0, 0, 0, mode, True, 0.7),)
    return tensor_product_kernel(((3, 1),), ((3, 1),), ((out, 2),), paths, weight_rows="row").plan()


def symmetric() -> str:
    return symmetric_kernel(((0, 1), (1, -1)), ((0, 1), (1, -1)), 2, 3).plan()


@pytest.mark.parametrize("name", [name for name in KINDS if "loop" not in name])
def test_equals_torch_in_every_bit(name: str) -> None:
    plan = KINDS[name].plan()
    counts = COUNTS | {"row": 300}
    inputs = values(plan, counts)
    if name.startswith("conv"):
        index = edges(300)
        wanted = torch_outputs(plan, inputs, index)
        topology = Topology(index, (SENDERS, RECEIVERS))
        found = convolve(plan, inputs, topology)
        traced = jax.jit(lambda arrays, edges: convolve(plan, arrays, edges))(inputs, topology)
    else:
        wanted = torch_outputs(plan, inputs)
        found, traced = run(plan, inputs), jax.jit(lambda arrays: run(plan, arrays))(inputs)
    for expected, eager, compiled in zip(wanted, found, traced, strict=True):
        np.testing.assert_array_equal(eager, expected)
        np.testing.assert_array_equal(compiled, expected)


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


def test_no_rows_give_zeros() -> None:
    plan = linear().plan()
    gradient = derivative_plan(plan, (0, 1), (0,))
    found = run(gradient, values(gradient, {"row": 0}))
    assert [out.shape for out in found] == [(0, 99), (660,)]
    assert not found[1].any()
    over_edges = convolution_kernel(product(u=4)).plan()
    counts = COUNTS | {"row": 0}
    topology = Topology(np.zeros((2, 0), np.int64), (SENDERS, RECEIVERS))
    (sums,) = convolve(over_edges, values(over_edges, counts), topology)
    np.testing.assert_array_equal(sums, np.zeros((RECEIVERS, 24)))


def test_float32_where_jax_has_no_wide_numbers() -> None:
    plan = convolution_kernel(product(u=4)).plan()
    inputs = values(plan)
    index = edges()
    wanted = torch_outputs(plan, inputs, index)
    with jax.enable_x64(False):
        arrays = [jnp.asarray(array, jnp.float32) for array in inputs]
        topology = Topology(jnp.asarray(index), (SENDERS, RECEIVERS))
        assert topology.arrays()[0].dtype == jnp.int32
        (found,) = jax.jit(lambda a, t: convolve(plan, a, t))(arrays, topology)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted[0], atol=1e-5)


def test_one_compilation_for_one_shape() -> None:
    plan, traced = small("uuu"), []

    def function(arrays: list[jax.Array]) -> jax.Array:
        traced.append(None)
        return run(plan, arrays)[0]

    compiled = jax.jit(function)
    for seed in range(3):
        compiled(values(plan, {"row": 4}, seed))
    compiled(values(plan, {"row": 5}))
    assert len(traced) == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: a[:2], ArgumentError, "inputs: expected 3 arrays, got 2"),
        (
            lambda a: [a[0][:, 1:], *a[1:]],
            ArgumentError,
            r"inputs\[0\]: expected shape \[4, 9\] \(\[rows, columns\]\), got \[4, 8\]",
        ),
        (
            lambda a: [a[0], a[1][:3], a[2]],
            ArgumentError,
            r"inputs\[1\]: expected shape \[4, 9\] \(\[rows, columns\]\), got \[3, 9\]",
        ),
        (
            lambda a: [a[0], a[1].astype("float32"), a[2]],
            ArgumentTypeError,
            r"inputs\[1\]: expected float64 like tvm_equi.jax.run: inputs\[0\], got float32",
        ),
        (
            lambda a: [a[0].astype("int64"), *a[1:]],
            ArgumentTypeError,
            r"inputs\[0\]: expected float32 or float64, got int64; cast it",
        ),
        (
            lambda a: [[1.0], *a[1:]],
            ArgumentTypeError,
            r"inputs\[0\]: expected an array, got list",
        ),
    ],
)
def test_inputs_that_do_not_fit(change: object, error: type[Exception], message: str) -> None:
    plan = small("uvu")
    with pytest.raises(error, match=message):
        run(plan, change(values(plan, {"row": 4})))


def test_kernels_and_topologies_that_do_not_fit() -> None:
    plan = convolution_kernel(product(u=4)).plan()
    with pytest.raises(ArgumentError, match="expected a kernel over rows, got a convolution"):
        run(plan, values(plan))
    with pytest.raises(ArgumentTypeError, match=r"topology: expected a tvm_equi.jax.Topology"):
        convolve(plan, values(plan), edges())
    few = Topology(edges(5), (SENDERS, RECEIVERS))
    with pytest.raises(ArgumentError, match=r"inputs\[1\]: expected shape \[5, 3\] \(\[rows, col"):
        convolve(plan, values(plan), few)


def test_another_platform_is_refused() -> None:
    plan = small("uvu")
    exported = jax.jit(lambda arrays: run(plan, arrays))
    with pytest.raises(UnsupportedError, match="expected arrays on the CPU, got a computation for"):
        exported.trace(values(plan, {"row": 4})).lower(lowering_platforms=("cuda",))
