"""Real Wigner 3j tensors in e3nn's basis.

In: three degrees. Out: a float64 array, zero exactly where the symbol is zero, each other entry
right to the last bits and computed here from integers (e3nn is not used). Components run over
m = -l..l, as in e3nn.
Refused: degrees that are no integers, are negative, or break the triangle inequality.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import comb, sqrt
from operator import index

import numpy as np
from numpy.typing import NDArray

from tvm_equi.errors import ArgumentError, ArgumentTypeError


def wigner_3j(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """The invariant tensor of three real irreps of SO(3), of unit norm.

    Args:
        l1: degree of the first index.
        l2: degree of the second index.
        l3: degree of the third index.

    Returns:
        float64 [2 l1 + 1, 2 l2 + 1, 2 l3 + 1], read-only and cached; basis and sign are those of
        `e3nn.o3.wigner_3j`.

    Raises:
        ArgumentError: a degree is negative, or the three break the triangle inequality.
        ArgumentTypeError: a degree is not an integer.

    Source:
        Racah's single sum for the Clebsch-Gordan coefficient (Varshalovich, Moskalev, Khersonskii,
        Quantum Theory of Angular Momentum, 1988, section 8.2.1), each ratio of factorials written
        as binomials, with the phases of Condon and Shortley. The change to real harmonics: e3nn
        0.6, o3/_wigner.py, `change_basis_real_to_complex`.

    Example:
        >>> wigner_3j(1, 1, 0)[:, :, 0].round(4)
        array([[0.5774, 0.    , 0.    ],
               [0.    , 0.5774, 0.    ],
               [0.    , 0.    , 0.5774]])
    """
    degrees = {"l1": l1, "l2": l2, "l3": l3}
    for name, degree in degrees.items():
        try:
            degrees[name] = index(degree)
        except TypeError as error:
            raise ArgumentTypeError(
                f"wigner_3j: {name}: expected an integer degree, got {degree!r}"
            ) from error
        if degrees[name] < 0:
            raise ArgumentError(f"wigner_3j: {name}: expected a degree >= 0, got {degree}")
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ArgumentError(
            f"wigner_3j: l3: expected |l1 - l2| <= l3 <= l1 + l2, got l1={l1}, l2={l2}, l3={l3}"
        )
    return _wigner_3j(*degrees.values())


@cache
def _wigner_3j(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """The tensor of degrees that are known to be valid.

    The sums below are exact: an entry of the result collects at most the two terms (m1, m2) and
    (-m1, -m2), whose magnitudes are equal to the last bit, so it is 0 or twice one term.
    """
    terms = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            terms[l1 + m1, l2 + m2, l3 + m1 + m2] = _clebsch_gordan(l1, l2, l3, m1, m2)
    units = [_real_to_complex(degree) for degree in (l1, l2, l3)]
    units[2] = units[2].conj()
    summed = np.einsum("abc,ai,bj,ck->ijk", terms, *units, optimize=True).real
    orders = np.ix_(*(np.arange(-degree, degree + 1) for degree in (l1, l2, l3)))
    num_nonzero = sum((order != 0).astype(np.float64) for order in orders)
    tensor: NDArray[np.float64] = summed * np.power(0.5, num_nonzero / 2)
    tensor += 0.0  # no negative zeros
    tensor.setflags(write=False)
    return tensor


def _clebsch_gordan(l1: int, l2: int, l3: int, m1: int, m2: int) -> float:
    """<l1 m1 l2 m2 | l3 m1+m2> / sqrt(2 l3 + 1), the root of an exact fraction."""
    m3 = m1 + m2
    a, b, c = l1 + l2 - l3, l1 - l2 + l3, l2 + l3 - l1
    total = sum(
        (-1) ** k * comb(a, k) * comb(b, l1 - m1 - k) * comb(c, l2 + m2 - k)
        for k in range(max(0, l1 - m1 - b, l2 + m2 - c), min(a, l1 - m1, l2 + m2) + 1)
    )
    square = Fraction(
        total * total * comb(2 * l1, a) * comb(2 * l2, a),
        comb(l1 + l2 + l3 + 1, a)
        * comb(2 * l1, l1 - m1)
        * comb(2 * l2, l2 - m2)
        * comb(2 * l3, l3 - m3)
        * (2 * l3 + 1),
    )
    return sqrt(square) if total > 0 else -sqrt(square)


def _real_to_complex(degree: int) -> NDArray[np.complex128]:
    """Complex harmonics (rows) from real ones, times sqrt(2) wherever m is not zero."""
    change = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=np.complex128)
    change[degree, degree] = 1
    for m in range(1, degree + 1):
        sign = (-1) ** m
        change[degree - m, degree + m] = 1
        change[degree - m, degree - m] = -1j
        change[degree + m, degree + m] = sign
        change[degree + m, degree - m] = 1j * sign
    # The phase makes every coefficient real.
    return change * (1, -1j, -1, 1j)[degree % 4]
