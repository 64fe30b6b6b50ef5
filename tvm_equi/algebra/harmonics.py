"""Spherical harmonics by Clebsch-Gordan couplings of lower degrees.

In: degrees and a normalisation. Out: the recursion's steps and factors, and one kernel from vectors
to all wanted degrees, for `algebra.convolution.substitute`: harmonics of edges then never go to
memory. Y_l comes from Y_m and Y_(l-m), m the largest power of two below l.
"""

from __future__ import annotations

from functools import lru_cache
from math import pi, sqrt

from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.algebra.contraction import Contraction, Operand, Path, Segment
from tvm_equi.algebra.kernel import Kernel, Step

NORMALIZATIONS = ("component", "integral", "norm")


def scale(normalization: str, degree: int) -> float:
    """What multiplies harmonics of square norm 2l+1.

    Args:
        normalization: one of `NORMALIZATIONS`.
        degree: l.

    Source:
        e3nn 0.6, o3/_spherical_harmonics.py, `SphericalHarmonics.forward`.
    """
    scales = {"component": 1.0, "integral": 1 / sqrt(4 * pi), "norm": 1 / sqrt(2 * degree + 1)}
    return scales[normalization]


def half(degree: int) -> int:
    """The largest power of two below a degree of at least 2."""
    return 1 << ((degree - 1).bit_length() - 1)


def factor(partner: int, degree: int, normalization: str) -> float:
    """The factor of the 3j symbol that gives Y_degree from Y_(degree - partner) and Y_partner.

    At the pole of the basis only the component m = 0 differs from zero, and it is sqrt(2l+1): this
    fixes the factor.

    Args:
        partner: degree of the second operand.
        degree: of the result.
        normalization: of all three.
    """
    other = degree - partner
    coupling = wigner_3j(other, partner, degree)[other, partner, degree]
    pole = sqrt((2 * degree + 1) / ((2 * other + 1) * (2 * partner + 1)))
    scales = scale(normalization, degree) / (
        scale(normalization, other) * scale(normalization, partner)
    )
    return float(scales * pole / coupling)


def needed_degrees(wanted: set[int]) -> set[int]:
    """The degrees above 1 that the recursion to the wanted ones passes through."""
    needed: set[int] = set()
    frontier = {degree for degree in wanted if degree > 1}
    while frontier:
        needed |= frontier
        halves = {part for degree in frontier for part in (half(degree), degree - half(degree))}
        frontier = {part for part in halves if part > 1} - needed
    return needed


@lru_cache(maxsize=512)
def harmonics_kernel(harmonics: Operand, normalization: str) -> Kernel:
    """The kernel of all harmonics of a vector.

    Args:
        harmonics: the type of the result: one channel of each degree, in any order.
        normalization: one of `NORMALIZATIONS`.

    Returns:
        A kernel with inputs one [rows, 1], which holds ones (a kernel is linear in each input, and
        Y_0 is constant), and v [rows, 3], and the output y. For a unit vector v the harmonics are
        e3nn's; for others they are multiplied by |v|^l.
    """
    degrees = [(segment.dim - 1) // 2 for segment in harmonics.segments]
    one, vector = Operand((Segment(1, 1),)), Operand((Segment(1, 3),))
    types = {"one": one, "v": vector}
    forms: list[Contraction] = []
    steps: list[Step] = []

    def couple(left: str, right: str, target: str, paths: list[tuple[int, float]]) -> None:
        operands = (types[left], types[right], types[target])
        form = tuple(
            Path((0, 0, segment), ("u", "u", "u"), (("u", 1),), value) for segment, value in paths
        )
        steps.append(Step(len(forms), (left, right, target), 2))
        forms.append(Contraction("couple", operands, (0, 1, 2), form))

    # In "norm" normalisation of the parts, Y_1 of a unit vector is the vector.
    needed = needed_degrees(set(degrees))
    sources = {half(d) for d in needed} | {d - half(d) for d in needed}
    names = {1: "v"} | {degree: f"y{degree}" for degree in sources if degree > 1}
    types["y"] = harmonics
    for degree in sorted(names):
        if degree > 1:
            types[names[degree]] = Operand((Segment(1, 2 * degree + 1),))
            partner = half(degree)
            value = factor(partner, degree, "norm")
            couple(names[degree - partner], names[partner], names[degree], [(0, value)])
    for degree in sorted(set(degrees)):
        final = scale(normalization, degree) / scale("norm", degree)
        segments = [number for number, other in enumerate(degrees) if other == degree]
        if degree == 0:
            couple("one", "one", "y", [(number, final) for number in segments])
        elif degree == 1:
            couple("one", "v", "y", [(number, final * sqrt(3)) for number in segments])
        else:
            partner = half(degree)
            value = final * factor(partner, degree, "norm")
            pairs = [(number, value) for number in segments]
            couple(names[degree - partner], names[partner], "y", pairs)
    return Kernel(
        tuple(forms),
        ("one", "v"),
        ("y",),
        tuple((name, types[name]) for name in ("one", "v", "y")),
        tuple(steps),
    )
