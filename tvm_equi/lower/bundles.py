"""Steps of a kernel that may run together; no TVM in it.

In: a kernel. Out: bundles, in an order in which each finds what it reads: lowering reads every
operand of a bundle once for all its steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_equi.algebra.kernel import Kernel, Step


@dataclass(frozen=True, slots=True)
class Bundle:
    """Steps of one contraction that run together."""

    contraction: int
    steps: tuple[Step, ...]


def bundles(kernel: Kernel) -> list[Bundle]:
    """The kernel's steps: each joins the first bundle of its contraction that may run it."""
    groups: list[tuple[int, list[Step]]] = []
    complete: dict[str, int] = {}
    for step in kernel.steps:
        earliest = max((complete.get(name, -1) + 1 for name in step.sources), default=0)
        for position in range(earliest, len(groups)):
            if groups[position][0] == step.contraction:
                break
        else:
            position = len(groups)
            groups.append((step.contraction, []))
        groups[position][1].append(step)
        complete[step.target] = max(position, complete.get(step.target, -1))
    return [Bundle(contraction, tuple(steps)) for contraction, steps in groups]
