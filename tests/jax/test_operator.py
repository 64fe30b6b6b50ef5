"""Kernels in JAX: values of torch to the last bit, shapes, and errors that name the input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.jax.arrays import COUNTS, RECEIVERS, SENDERS, edges, torch_outputs, values
from tests.kernels import kinds, linear, product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.jax.operator import convolve, run
from tvm_equi.jax.topology import Topology
from tvm_equi.runtime.plans import derivative_plan

pytestmark = pytest.mark.deploy

KINDS = kinds()


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
    plan, traced = product(u=3).plan(), []

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
            r"inputs\[1\]: expected shape \[4, 3\] \(\[rows, columns\]\), got \[3, 3\]",
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
    plan = product(u=3).plan()
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
