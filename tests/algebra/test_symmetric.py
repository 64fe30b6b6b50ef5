"""Bases of symmetric polynomials: complete, independent, equivariant; projections onto them."""

from itertools import product
from math import comb

import numpy as np
import pytest
import torch
from e3nn import o3

from tvm_equi.algebra.symmetric import (
    Pair,
    Polynomial,
    basis,
    evaluate_polynomial,
    pairs,
    projection,
)
from tvm_equi.errors import ArgumentError
from tvm_equi.testing import turn

MACE = ((0, 1), (1, -1), (2, 1), (3, -1))
ODD = ((0, -1), (1, 1), (1, -1))
CASES = [(irreps, out, nu) for irreps in (MACE, ODD) for out in MACE[:3] for nu in (1, 2, 3, 4)]


def multiplicity(irreps: tuple, out: tuple, power: int) -> int:
    """How often an irrep of O(3) is in a symmetric power, from characters alone.

    The character of a symmetric power is the complete homogeneous polynomial of the eigenvalues
    exp(i m angle); weights of the torus are counted, and differences of neighbours taken.
    """
    weights = [(m, p) for degree, p in irreps for m in range(-degree, degree + 1)]
    counts: dict[tuple[int, int, int], int] = {(0, 0, 1): 1}  # (factors, weight, parity)
    for m, p in weights:
        grown: dict[tuple[int, int, int], int] = {}
        for (used, total, parity), count in counts.items():
            for more in range(power - used + 1):
                key = (used + more, total + more * m, parity * p**more)
                grown[key] = grown.get(key, 0) + count
        counts = grown
    return counts.get((power, out[0], out[1]), 0) - counts.get((power, out[0] + 1, out[1]), 0)


@pytest.mark.parametrize(("irreps", "out", "nu"), CASES)
def test_basis_has_as_many_polynomials_as_there_are(irreps: tuple, out: tuple, nu: int) -> None:
    assert len(basis(irreps, out, nu)) == multiplicity(irreps, out, nu)


def test_counts_of_mace() -> None:
    counts = [[len(basis(MACE, out, nu)) for nu in (1, 2, 3)] for out in MACE[:3]]
    assert counts == [[1, 4, 8], [1, 3, 12], [1, 5, 14]]


@pytest.mark.parametrize(("irreps", "out", "nu"), CASES)
def test_polynomials_are_equivariant(irreps: tuple, out: tuple, nu: int) -> None:
    full, quaternion = o3.Irreps([(1, ir) for ir in irreps]), torch.randn(4, dtype=torch.float64)
    x = torch.randn(3, full.dim, dtype=torch.float64)
    turned_x = turn(x, full, quaternion, inverted=True).numpy()
    for polynomial in basis(irreps, out, nu):
        value = torch.from_numpy(evaluate_polynomial(irreps, polynomial, out, x.numpy()))
        expected = turn(value, o3.Irreps([(1, out)]), quaternion, inverted=True)
        turned = evaluate_polynomial(irreps, polynomial, out, turned_x)
        np.testing.assert_allclose(turned, expected, atol=1e-10 * max(1.0, abs(value).max()))


def left_fold(irreps: tuple, out: tuple, nu: int) -> np.ndarray:
    """All coupling trees ((x x) x) ..., with e3nn's Wigner 3j: many more than are independent."""
    dims = [2 * degree + 1 for degree, _ in irreps]
    starts = np.cumsum([0, *dims])
    eye = np.eye(starts[-1])
    trees = [(ir, eye[starts[n] : starts[n + 1]]) for n, ir in enumerate(irreps)]
    for _ in range(nu - 1):
        grown = []
        for ((degree, p), tree), (n, (other, q)) in product(trees, enumerate(irreps)):
            for total in range(abs(degree - other), degree + other + 1):
                coupling = o3.wigner_3j(total, degree, other, dtype=torch.float64).numpy()
                leaf = eye[starts[n] : starts[n + 1]]
                grown.append(
                    ((total, p * q), np.einsum("kij,i...,jb->k...b", coupling, tree, leaf))
                )
        trees = grown
    return np.stack([tree for ir, tree in trees if ir == out], axis=-1)


@pytest.mark.parametrize("out", MACE[:3])
@pytest.mark.parametrize("nu", [1, 2, 3])
def test_projection_keeps_every_polynomial(out: tuple, nu: int) -> None:
    tensors = left_fold(MACE, out, nu)
    matrix = projection(MACE, out, nu, tensors)
    assert matrix.shape == (len(basis(MACE, out, nu)), tensors.shape[-1])
    x = np.random.default_rng(0).normal(size=(7, 16))
    expected = np.broadcast_to(tensors, (7, *tensors.shape))
    for _ in range(nu):
        expected = np.einsum("s...ik,si->s...k", expected, x)
    values = [evaluate_polynomial(MACE, found, out, x) for found in basis(MACE, out, nu)]
    np.testing.assert_allclose(np.stack(values, -1) @ matrix, expected, atol=1e-11)


def test_full_cg_of_mace_is_overcomplete() -> None:
    sizes = [sum(left_fold(MACE, out, nu).shape[-1] for nu in (1, 2, 3)) for out in MACE[:3]]
    assert sizes == [28, 58, 73]
    assert sum(len(basis(MACE, out, nu)) for out in MACE[:3] for nu in (1, 2, 3)) == 49


def test_projection_refuses_what_is_not_equivariant() -> None:
    tensors = np.random.default_rng(0).normal(size=(1, 16, 16, 2))
    with pytest.raises(ArgumentError, match="tensors: expected equivariant polynomials in e3nn's"):
        projection(MACE, (0, 1), 2, tensors)


def test_projection_refuses_a_wrong_shape() -> None:
    message = r"tensors: expected shape \[1, 16, 16, 'n'\], got \[1, 16, 15, 2\]"
    with pytest.raises(ArgumentError, match=message):
        projection(MACE, (0, 1), 2, np.zeros((1, 16, 15, 2)))


@pytest.mark.parametrize("nu", [0, 5])
def test_refuses_other_correlations(nu: int) -> None:
    with pytest.raises(ArgumentError, match=f"correlation: expected 1 to 4, got {nu}"):
        basis(MACE, (0, 1), nu)


def test_pairs_are_shared() -> None:
    found = [Polynomial((Pair(0, 1, (1, -1)), 1)), Polynomial((Pair(0, 1, (1, -1)),))]
    assert pairs(found) == (Pair(0, 1, (1, -1)),)


def test_no_polynomials() -> None:
    assert basis(((0, 1),), (0, -1), 3) == ()
    assert len(basis(((0, 1),) * 3, (0, 1), 4)) == comb(6, 4)
