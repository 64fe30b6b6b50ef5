"""Orders of contraction: counts of the literature, brute force, and opt_einsum's path finders."""

import itertools

import numpy as np
import opt_einsum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_equi.errors import GraphError
from tvm_equi.graph.network import (
    ContractionOrder,
    Network,
    Tensor,
    contraction_order,
    opt_einsum_order,
)


def chain(num: int) -> Network:
    """A product of matrices."""
    letters = "abcdefghijklmnopq"[: num + 1]
    tensors = tuple(Tensor(f"M{n}", letters[n : n + 2]) for n in range(num))
    extents = tuple((letter, 2 + n * n % 7) for n, letter in enumerate(letters))
    return Network(tensors, letters[0] + letters[-1], extents)


def chain_cost(sizes: list[int]) -> int:
    """The textbook's dynamic program for products of matrices."""
    num = len(sizes) - 1
    best = {(i, i): 0 for i in range(num)}
    for width in range(1, num):
        for i in range(num - width):
            j = i + width
            best[i, j] = min(
                best[i, k] + best[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
                for k in range(i, j)
            )
    return best[0, num - 1]


@pytest.mark.parametrize("num", [2, 3, 6, 8])
def test_matrix_chain(num: int) -> None:
    network = chain(num)
    sizes = [extent for _, extent in network.extents]
    assert contraction_order(network).multiply_adds == chain_cost(sizes)


def test_larger_networks_go_to_opt_einsum() -> None:
    network = chain(14)
    order = contraction_order(network)
    assert order == opt_einsum_order(network)
    assert order.multiply_adds >= chain_cost([extent for _, extent in network.extents])
    assert len(order.steps) == 13


def run(order: ContractionOrder, network: Network, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Contracts step by step."""
    values = {frozenset([t.name]): (t.indices, arrays[t.name]) for t in network.tensors}
    for step in order.steps:
        (a, left), (b, right) = values[frozenset(step.left)], values[frozenset(step.right)]
        result = np.einsum(f"{a},{b}->{step.indices}", left, right)
        values[frozenset((*step.left, *step.right))] = (step.indices, result)
    letters, result = values[frozenset(t.name for t in network.tensors)]
    return np.einsum(f"{letters}->{network.output}", result)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Two to five tensors over a few letters, with a pattern."""
    letters = "abcdef"
    extents = {letter: draw(st.integers(1, 4)) for letter in letters}
    count = draw(st.integers(2, 5))
    tensors = tuple(
        Tensor(f"T{n}", "".join(draw(st.permutations(letters))[: draw(st.integers(1, 4))]))
        for n in range(count)
    )
    used = sorted({letter for tensor in tensors for letter in tensor.indices})
    output = "".join(draw(st.sets(st.sampled_from(used), max_size=3)))
    axes = [range(extents[letter]) for letter in tensors[0].indices]
    everything = list(itertools.product(*axes))
    points = draw(st.sets(st.sampled_from(everything), min_size=1))
    pattern = ("T0", tensors[0].indices, tuple(sorted(points)))
    return Network(tensors, output, tuple(extents.items()), pattern)


@given(networks(), st.integers(0, 100))
def test_every_order_gives_the_same_numbers(network: Network, seed: int) -> None:
    rng = np.random.default_rng(seed)
    extents = dict(network.extents)
    arrays = {
        t.name: rng.normal(size=[extents[letter] for letter in t.indices]) for t in network.tensors
    }
    mask = np.zeros(arrays["T0"].shape)
    mask[tuple(np.array(network.pattern[2]).T)] = 1
    arrays["T0"] = arrays["T0"] * mask
    equation = ",".join(t.indices for t in network.tensors) + "->" + network.output
    wanted = np.einsum(equation, *arrays.values())
    best = contraction_order(network)
    for order in (best, contraction_order(network, sparse=False), opt_einsum_order(network)):
        np.testing.assert_allclose(run(order, network, arrays), wanted, atol=1e-9)
        assert best.multiply_adds <= order.multiply_adds or order.steps != best.steps
    assert best.multiply_adds <= opt_einsum_order(network).multiply_adds
    dense = contraction_order(network, sparse=False)
    assert best.multiply_adds <= dense.multiply_adds
    found = opt_einsum_order(network, optimize="optimal", sparse=False)
    assert dense.multiply_adds <= found.multiply_adds


def test_counts_of_a_sparse_step_by_hand() -> None:
    points = ((0, 0), (1, 1), (2, 2))
    network = Network(
        (Tensor("D", "ij"), Tensor("x", "ui")),
        "uj",
        (("i", 3), ("j", 3), ("u", 5)),
        ("D", "ij", points),
    )
    (step,) = contraction_order(network).steps
    assert (step.multiply_adds, step.result_bytes) == (15, 60)
    assert contraction_order(network, sparse=False).multiply_adds == 45
    assert str(contraction_order(network)).splitlines()[0] == "(D x): 15 multiply-adds"


def test_one_hot_counts_one_point() -> None:
    network = Network(
        (Tensor("S", "es"), Tensor("Y", "ej")),
        "sj",
        (("e", 10), ("s", 4), ("j", 3)),
        one_hot=("S", "s", "e"),
    )
    assert contraction_order(network).multiply_adds == 30
    assert contraction_order(network, sparse=False).multiply_adds == 120


def test_view() -> None:
    graph = chain(3).graph
    assert graph.degree("index b") == 2
    assert graph.nodes["index b"] == {"kind": "index", "extent": 3}
    assert sorted(graph.neighbors("output")) == ["index a", "index d"]


def test_refuses_letters_without_extent() -> None:
    with pytest.raises(GraphError, match="network: A: expected an extent of 'b', got none"):
        Network((Tensor("A", "ab"),), "a", (("a", 2),))


def test_opt_einsum_is_what_it_was() -> None:
    assert opt_einsum.contract_path("ab,bc->ac", (2, 3), (3, 4), shapes=True)[0] == [(0, 1)]
