"""The plans of spherical harmonics: each degree from lower ones.

In: degrees and a normalisation. Out: plans, in order: Y_l is the coupling of Y_m and Y_(l-m), m the
largest power of two below l, so that degrees up to 2m need one kernel after those up to m.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_equi.algebra.harmonics import factor, half, needed_degrees
from tvm_equi.algebra.products import Instruction, tensor_product_kernel


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel of the recursion: each target from a source and the partner.

    Args:
        plan: of the kernel.
        sources: degrees of the first input's harmonics, side by side.
        partner: degree of the second input.
        targets: degrees that it computes.
    """

    plan: str
    sources: tuple[int, ...]
    partner: int
    targets: tuple[int, ...]


def harmonics_steps(wanted: set[int], normalization: str) -> list[Step]:
    """The kernels that lead from Y_1 to the wanted degrees.

    Args:
        wanted: degrees.
        normalization: one of `NORMALIZATIONS`.
    """
    needed = needed_degrees(wanted)
    steps = []
    for partner in sorted({half(degree) for degree in needed}):
        targets = tuple(sorted(degree for degree in needed if half(degree) == partner))
        sources = tuple(degree - partner for degree in targets)
        instructions = tuple(
            Instruction(number, 0, number, "uuu", False, factor(partner, degree, normalization))
            for number, degree in enumerate(targets)
        )
        kernel = tensor_product_kernel(
            tuple((1, degree) for degree in sources),
            ((1, partner),),
            tuple((1, degree) for degree in targets),
            instructions,
            weight_rows="none",
        )
        steps.append(Step(kernel.plan(), sources, partner, targets))
    return steps
