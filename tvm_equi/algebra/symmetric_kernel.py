"""Kernels of symmetric contractions.

In: the irreps of one channel, the number of channels, and a correlation. Out: a kernel that
computes every pair of irreps of x once, and then the weighted polynomials of `algebra.symmetric`
from pairs and x: couplings channel by channel, as in products of mode uuu, so that derivatives and
schedules are those of tensor products. A polynomial without a second factor is coupled to a one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt

from tvm_equi.algebra.contraction import Contraction, Layout, Operand, Path, Rows, Segment
from tvm_equi.algebra.kernel import Kernel, Step
from tvm_equi.algebra.symmetric import Factor, Ir, Pair, Polynomial, basis, factor_ir, pairs


@lru_cache(maxsize=256)
def polynomials(
    irreps: tuple[Ir, ...], outputs: tuple[Ir, ...], correlation: int
) -> tuple[tuple[int, Polynomial], ...]:
    """Each polynomial of a contraction with the output that it adds to, in the order of weights.

    Args:
        irreps: of one channel of x.
        outputs: irreps of one channel of z.
        correlation: the highest degree.

    Returns:
        (output, polynomial): by output, then by degree from 1, then as `basis` orders them.
    """
    return tuple(
        (number, polynomial)
        for number, out in enumerate(outputs)
        for degree in range(1, correlation + 1)
        for polynomial in basis(irreps, out, degree)
    )


@lru_cache(maxsize=256)
def symmetric_kernel(
    irreps: tuple[Ir, ...],
    outputs: tuple[Ir, ...],
    correlation: int,
    mul: int,
    *,
    weight_rows: Rows = "row",
    layout: Layout = "mul_ir",
) -> Kernel:
    """The kernel z[u] = sum_p w[p, u] B_p(x[u]) over all polynomials B_p up to a degree.

    Args:
        irreps: of one channel of x.
        outputs: irreps of one channel of z.
        correlation: the highest degree.
        mul: channels of every irrep.
        weight_rows: "row" for weights per row, "shared" for one set.
        layout: of x and z.

    Returns:
        A kernel with inputs x [rows, dim], one [1], which is to hold 1, and w ([rows, n] or [n]):
        `mul` weights for each of `polynomials`; and the output z [rows, dim].
    """
    found = polynomials(irreps, outputs, correlation)
    needed = pairs([polynomial for _, polynomial in found])

    def operand(irs: Sequence[Ir], layout: Layout) -> Operand:
        return Operand(tuple(Segment(mul, 2 * degree + 1) for degree, _ in irs), layout)

    weights = Operand(tuple(Segment(mul, 1) for _ in found), "mul_ir", weight_rows)
    types = {
        "x": operand(irreps, layout),
        "one": Operand((Segment(1, 1),), "mul_ir", "shared"),
        "w": weights,
        "z": operand(outputs, layout),
        "t": operand([pair.ir for pair in needed], "ir_mul"),
    }
    forms: dict[tuple[str, ...], list[Path]] = {}
    for number, pair in enumerate(needed):
        path = Path((pair.left, pair.right, number), ("u",) * 3, (("u", mul),), 1.0)
        forms.setdefault(("x", "x", "t"), []).append(path)
    for number, (output, polynomial) in enumerate(found):
        names, path = _weighted(irreps, polynomial, needed, (number, output), mul)
        forms.setdefault(names, []).append(path)
    contractions: list[Contraction] = []
    steps: list[Step] = []
    for step_names, paths in forms.items():
        coupled = (0, 1, len(step_names) - 1)
        operands = tuple(types[name] for name in step_names)
        steps.append(Step(len(contractions), step_names, len(step_names) - 1))
        contractions.append(Contraction("couple", operands, coupled, tuple(paths)))
    outside = ("x", "one", "w", "z")
    return Kernel(
        tuple(contractions),
        outside[:3],
        outside[3:],
        tuple((name, types[name]) for name in outside),
        tuple(steps),
    )


def _weighted(
    irreps: tuple[Ir, ...],
    polynomial: Polynomial,
    needed: tuple[Pair, ...],
    ends: tuple[int, int],
    mul: int,
) -> tuple[tuple[str, ...], Path]:
    """The values that a polynomial is made of, and its path; `ends` are its segments of w and z."""
    names, segments = _operands(polynomial.factors, needed)
    extents: tuple[tuple[str, int], ...] = (("u", mul),)
    channels: tuple[str, ...] = ("u",) * 4
    scale = 1.0
    if names[1] == "one":
        extents, channels = (("u", mul), ("v", 1)), ("u", "v", "uv", "u")
        scale = sqrt(2 * factor_ir(irreps, polynomial.factors[0])[0] + 1)
    return (*names, "w", "z"), Path((*segments, *ends), channels, extents, scale)


def _operands(
    factors: tuple[Factor, ...], needed: tuple[Pair, ...]
) -> tuple[tuple[str, str], tuple[int, int]]:
    """Names and segments of the two values whose product a polynomial is."""
    found = [
        ("t", needed.index(factor)) if isinstance(factor, Pair) else ("x", factor)
        for factor in factors
    ]
    (first, left), (second, right) = [*found, ("one", 0)][:2]
    return (first, second), (left, right)
