"""Symmetric contractions: every invariant polynomial of one degree, as products of two.

In: the irreps of one channel, a degree (correlation) up to 4 and the irreps of the output. Out: a
basis of the equivariant polynomials of that degree, each a short chain of Clebsch-Gordan products,
and the matrix that takes weights over any other spanning set, such as the generalised
Clebsch-Gordan tensors of MACE, to weights over this one. The basis is exact: polynomials in equal
legs are symmetric, so coupling trees depend on one another, and of 159 trees with degrees up to 3
and outputs 0e+1o+2e, 49 are independent.

A polynomial of degree 1 is x, of degree 2 a pair (x x), of degree 3 a pair with x, of degree 4 a
pair with a pair. Pairs are shared by all polynomials that need them.

Source:
    Batatia et al., MACE, NeurIPS 2022, eq. 10; Drautz, Atomic cluster expansion, Phys. Rev. B 99
    (2019); that symmetric powers make coupling trees dependent: Goff et al., Permutation-adapted
    complete and independent basis for atomic cluster expansion descriptors (2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.errors import ArgumentError

Array = NDArray[np.float64]
Ir = tuple[int, int]
"""(degree l, parity)."""

MAX_CORRELATION = 4

SAMPLES_SEED = 20221
INDEPENDENT = 1e-6
"""Part of a polynomial's norm that those before it must leave over. Dependent ones leave 1e-14,
the others more than 1e-3."""

VANISHING = 1e-9
"""Root mean square of a polynomial that is zero but for rounding."""

ROUNDING = 1e-5
"""Of coefficients that are given, relatively: models keep them in float32, too."""


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """The product of two of x's irreps, coupled to a third.

    Args:
        left: an irrep of x, by number.
        right: another, or the same.
        ir: of the product.
    """

    left: int
    right: int
    ir: Ir


Factor = Pair | int
"""A pair, or one of x's irreps by number."""


@dataclass(frozen=True, slots=True)
class Polynomial:
    """A product of one or two factors, coupled to an irrep of the output.

    Args:
        factors: one irrep of x; a pair; a pair and an irrep of x; or two pairs.
    """

    factors: tuple[Factor, ...]


def basis(irreps: tuple[Ir, ...], out: Ir, correlation: int) -> tuple[Polynomial, ...]:
    """Independent polynomials of one degree that span all equivariant ones.

    Args:
        irreps: of one channel of x.
        out: of the polynomials.
        correlation: their degree, 1 to 4.

    Raises:
        ArgumentError: another degree.

    Example:
        >>> [len(basis(((0, 1), (1, -1), (2, 1), (3, -1)), (0, 1), nu)) for nu in (1, 2, 3)]
        [1, 4, 8]
    """
    if not 1 <= correlation <= MAX_CORRELATION:
        raise ArgumentError(
            f"symmetric contraction: correlation: expected 1 to {MAX_CORRELATION}, "
            f"got {correlation}"
        )
    return _basis(irreps, out, correlation)


@lru_cache(maxsize=256)
def _basis(irreps: tuple[Ir, ...], out: Ir, correlation: int) -> tuple[Polynomial, ...]:
    candidates = sorted(
        _candidates(irreps, out, correlation), key=lambda found: _num_nonzeros(irreps, found, out)
    )
    x = _samples(irreps, 4 * len(candidates) + 16)
    chosen: list[Polynomial] = []
    directions: list[Array] = []
    for candidate in candidates:
        column = evaluate_polynomial(irreps, candidate, out, x).ravel()
        norm = float(np.linalg.norm(column))
        if norm < VANISHING * column.size**0.5:  # such as (a x b) . b
            continue
        column = column / norm
        for _ in range(2):  # twice is enough: Kahan's rule for Gram-Schmidt
            for direction in directions:
                column = column - (direction @ column) * direction
        left_over = float(np.linalg.norm(column))
        if left_over > INDEPENDENT:
            directions.append(column / left_over)
            chosen.append(candidate)
    return tuple(chosen)


def projection(
    irreps: tuple[Ir, ...], out: Ir, correlation: int, tensors: Array
) -> NDArray[np.float64]:
    """The matrix from weights over some polynomials to weights over `basis`.

    Args:
        irreps: of one channel of x.
        out: of the polynomials.
        correlation: their degree.
        tensors: float64 [2l + 1 of the output, dim, ..., dim, n], with `correlation` axes over the
            components of x: the coefficients of n equivariant polynomials, symmetric or not.

    Returns:
        float64 [len(basis), n]: column k has polynomial k as a sum of those of the basis.

    Raises:
        ArgumentError: the shape does not fit, or a polynomial is not equivariant in e3nn's basis.
    """
    dim = sum(2 * degree + 1 for degree, _ in irreps)
    wanted = (2 * out[0] + 1, *[dim] * correlation)
    if tensors.shape[:-1] != wanted:
        raise ArgumentError(
            f"symmetric contraction: tensors: expected shape {[*wanted, 'n']}, "
            f"got {list(tensors.shape)}"
        )
    found = basis(irreps, out, correlation)
    x = _samples(irreps, 2 * len(found) // wanted[0] + 8)
    columns = [evaluate_polynomial(irreps, polynomial, out, x).ravel() for polynomial in found]
    left = np.stack(columns, axis=1) if columns else np.zeros((len(x) * wanted[0], 0))
    right = np.concatenate([_evaluate_tensors(tensors, point) for point in x])
    matrix: Array = np.linalg.lstsq(left, right, rcond=None)[0].astype(np.float64)
    error = np.abs(left @ matrix - right).max(initial=0.0)
    if error > ROUNDING * max(1.0, np.abs(right).max(initial=0.0)):
        raise ArgumentError(
            "symmetric contraction: tensors: expected equivariant polynomials in e3nn's basis, got "
            f"some that differ by {error:.1e} from all of them"
        )
    return matrix


def evaluate_polynomial(
    irreps: Sequence[Ir], polynomial: Polynomial, out: Ir, x: Array
) -> NDArray[np.float64]:
    """The values of a polynomial.

    Args:
        irreps: of one channel of x.
        polynomial: to evaluate.
        out: its irrep.
        x: [..., dim].

    Returns:
        [..., 2l + 1].
    """
    values = [_evaluate_factor(irreps, factor, x) for factor in polynomial.factors]
    if len(values) == 1:
        return values[0]
    left, right = (factor_ir(irreps, factor) for factor in polynomial.factors)
    return _couple(values[0], values[1], (left, right, out))


def factor_ir(irreps: Sequence[Ir], factor: Factor) -> Ir:
    """The irrep of a factor."""
    return factor.ir if isinstance(factor, Pair) else irreps[factor]


def pairs(polynomials: Sequence[Polynomial]) -> tuple[Pair, ...]:
    """The pairs that some polynomials are made of, each once."""
    found = {f for polynomial in polynomials for f in polynomial.factors if isinstance(f, Pair)}
    return tuple(sorted(found))


def _evaluate_factor(irreps: Sequence[Ir], factor: Factor, x: Array) -> Array:
    if not isinstance(factor, Pair):
        start = sum(2 * degree + 1 for degree, _ in irreps[:factor])
        return x[..., start : start + 2 * irreps[factor][0] + 1]
    left, right = (_evaluate_factor(irreps, number, x) for number in (factor.left, factor.right))
    return _couple(left, right, (irreps[factor.left], irreps[factor.right], factor.ir))


def _couple(left: Array, right: Array, irs: tuple[Ir, Ir, Ir]) -> Array:
    """The Clebsch-Gordan product, with e3nn's Wigner 3j."""
    (l1, _), (l2, _), (l3, _) = irs
    value: Array = np.einsum("...i,...j,ijk->...k", left, right, wigner_3j(l1, l2, l3))
    return value


def _evaluate_tensors(tensors: Array, point: Array) -> Array:
    """[2l + 1, n]: the polynomials of some tensors at one point."""
    while tensors.ndim > 2:
        tensors = np.tensordot(tensors, point, axes=(tensors.ndim - 2, 0))
    return tensors


def _products(left: Ir, right: Ir) -> Iterator[Ir]:
    """The irreps of a product of two."""
    for degree in range(abs(left[0] - right[0]), left[0] + right[0] + 1):
        yield degree, left[1] * right[1]


def _pairs(irreps: Sequence[Ir]) -> list[Pair]:
    """All pairs but those that vanish: an irrep with itself couples to even degrees alone."""
    return [
        Pair(a, b, ir)
        for a, b in combinations_with_replacement(range(len(irreps)), 2)
        for ir in _products(irreps[a], irreps[b])
        if a != b or ir[0] % 2 == 0
    ]


def _candidates(irreps: Sequence[Ir], out: Ir, correlation: int) -> Iterator[Polynomial]:
    """Polynomials that span all of a degree."""
    if correlation == 1:
        yield from (Polynomial((n,)) for n, ir in enumerate(irreps) if ir == out)
        return
    found = _pairs(irreps)
    if correlation == 2:
        yield from (Polynomial((pair,)) for pair in found if pair.ir == out)
    elif correlation == 3:
        for pair in found:
            for number, ir in enumerate(irreps):
                if out in _products(pair.ir, ir):
                    yield Polynomial((pair, number))
    else:
        for first, second in combinations_with_replacement(found, 2):
            if out in _products(first.ir, second.ir):
                yield Polynomial((first, second))


def _num_nonzeros(irreps: Sequence[Ir], polynomial: Polynomial, out: Ir) -> int:
    """Work of a polynomial, as nonzeros of its coupling tensors."""
    triples = [
        (irreps[factor.left], irreps[factor.right], factor.ir)
        for factor in polynomial.factors
        if isinstance(factor, Pair)
    ]
    if len(polynomial.factors) == 2:
        left, right = (factor_ir(irreps, factor) for factor in polynomial.factors)
        triples.append((left, right, out))
    return sum(int(np.count_nonzero(wigner_3j(a[0], b[0], c[0]))) for a, b, c in triples)


def _samples(irreps: Sequence[Ir], num: int) -> Array:
    """Points that tell polynomials apart, always the same."""
    dim = sum(2 * degree + 1 for degree, _ in irreps)
    return np.random.default_rng(SAMPLES_SEED).normal(size=(num, dim))
