"""Sorted edges in JAX: torch's to the last index, padding, and indices out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.jax.arrays import COUNTS, RECEIVERS, SENDERS, edges, values
from tests.kernels import product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.errors import ArgumentError, ArgumentTypeError, IndexRangeError
from tvm_equi.jax.operator import convolve
from tvm_equi.jax.topology import Topology
from tvm_equi.runtime.topology import Topology as TorchTopology

pytestmark = pytest.mark.deploy


@pytest.mark.parametrize(
    ("num", "nodes"), [(0, (3, 3)), (1, (1, 1)), (7, (4, 5)), (3000, (70, 3)), (20000, (500, 500))]
)
def test_equals_torch(num: int, nodes: tuple[int, int]) -> None:
    index = edges(num, nodes)
    wanted = TorchTopology(torch.tensor(index), nodes).tensors()
    known = Topology(index, nodes)
    traced = jax.jit(lambda index: Topology(index, nodes))(index)
    assert len(known.arrays()) == 10
    assert len(traced.arrays()) == 11  # which edges are ones, since nobody checked
    for expected, one, other in zip(wanted, known.arrays(), traced.arrays(), strict=False):
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(other, expected)


def test_facts() -> None:
    topology = Topology(jnp.array([[0, 1, 2], [1, 1, 0]]))
    assert repr(topology) == "Topology(3 edges, 3 senders, 3 receivers)"
    leaves, tree = jax.tree.flatten(topology)
    assert repr(jax.tree.unflatten(tree, leaves)) == repr(topology)
    assert repr(Topology(np.zeros((2, 0), np.int64))) == "Topology(0 edges, 0 senders, 0 receivers)"


@pytest.mark.parametrize("outside", [-1, 3, 99])
@pytest.mark.parametrize("row", [0, 1])
def test_edges_with_an_index_out_of_range_are_none(outside: int, row: int) -> None:
    plan = convolution_kernel(product(u=4)).plan()
    num = 700  # more than a task
    inputs = values(plan, COUNTS | {"row": num, "sender": 3})
    index = edges(num, (3, RECEIVERS))
    left_out = np.random.default_rng(1).random(num) < 0.3
    index[row, left_out] = outside
    kept = ~left_out

    def gradients(arrays: list[jax.Array], topology: Topology) -> list[jax.Array]:
        return jax.grad(lambda a: (convolve(plan, a, topology)[0] ** 2).sum())(arrays)

    padded = jax.jit(lambda a, i: gradients(a, Topology(i, (3, RECEIVERS))))(inputs, index)
    unchecked = gradients(inputs, Topology(index, (3, RECEIVERS), check_indices=False))
    few = [inputs[0], inputs[1][kept], inputs[2][kept]]
    wanted = gradients(few, Topology(index[:, kept], (3, RECEIVERS)))
    for found in (padded, unchecked):
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-11, atol=1e-11)
        for given, expected in zip(found[1:], wanted[1:], strict=True):
            np.testing.assert_allclose(given[kept], expected, rtol=1e-11, atol=1e-11)
            assert not given[left_out].any()


def test_no_edge_at_all_gives_zeros() -> None:
    plan = convolution_kernel(product(u=4)).plan()
    nothing = np.full((2, 9), 7)
    topology = Topology(nothing, (SENDERS, RECEIVERS), check_indices=False)
    (found,) = convolve(plan, values(plan), topology)
    np.testing.assert_array_equal(found, np.zeros((RECEIVERS, 24)))


@pytest.mark.parametrize(
    ("index", "nodes", "error", "message"),
    [
        ([[0], [1]], 2, ArgumentTypeError, "edge_index: expected an array, got list"),
        (np.zeros((2, 3)), 2, ArgumentTypeError, "expected int64 or int32, got float64"),
        (np.zeros((3, 2), int), 2, ArgumentError, r"expected shape \[2, edges\], got \[3, 2\]"),
        (np.zeros((2, 2), int), 2.0, ArgumentTypeError, "num_nodes: expected a number, or"),
        (np.zeros((2, 2), int), True, ArgumentTypeError, "num_nodes: expected a number, or"),
        (np.zeros((2, 2), int), -1, ArgumentError, "num_nodes: expected 0 or more, got -1"),
        (
            np.array([[0, 4], [1, 1]]),
            (3, 2),
            IndexRangeError,
            r"expected senders \(row 0\) from 0 to 2, got 0 to 4",
        ),
        (
            np.array([[0, 1], [-1, 1]]),
            (3, 2),
            IndexRangeError,
            r"expected receivers \(row 1\) from 0 to 1, got -1 to 1",
        ),
    ],
)
def test_edges_that_are_refused(
    index: object, nodes: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Topology(index, nodes)


def test_what_traced_indices_cannot_do() -> None:
    with pytest.raises(ArgumentError, match="num_nodes: expected a number where indices are trac"):
        jax.jit(Topology)(edges())
    with pytest.raises(ArgumentError, match="check_indices: expected known indices to check"):
        jax.jit(lambda index: Topology(index, 4, check_indices=True))(edges())
