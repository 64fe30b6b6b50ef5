"""Texts that name the kernels of a plan, which for a convolution may be several.

In: plans. Out: names, and the kernels that they name.
"""

from __future__ import annotations

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import ArgumentError
from tvm_equi.runtime.convolution import kernels
from tvm_equi.runtime.plans import resolve


def kernel_plans(plan: str) -> list[str]:
    """Texts that name the kernels of a plan: itself, or with "/" and a number for each of several.

    Args:
        plan: of a kernel, or of a convolution, which may run in several passes.
    """
    count = len(kernels(plan))
    return [plan] if count == 1 else [f"{plan}/{number}" for number in range(count)]


def planned_kernel(text: str) -> Kernel:
    """The kernel that a text of `kernel_plans` names.

    Args:
        text: a plan, and maybe "/" and a number.

    Raises:
        ArgumentError: the text is no plan, or the number that of no kernel.
    """
    plan, slash, number = text.partition("/")
    found = kernels(plan)
    if not slash:
        return resolve(plan)
    if not number.isdecimal() or int(number) >= len(found):
        raise ArgumentError(
            f"plan: expected the number of a kernel below {len(found)}, got {number!r}"
        )
    return found[int(number)]


def describe_plan(plan: str) -> str:
    """What a kernel is, in a few words.

    Args:
        plan: of the kernel.
    """
    kernel = planned_kernel(plan)
    order = ("value", "gradient", "second gradient")[min(2, plan.count(" "))]
    paths = sum(len(kernel.contractions[step.contraction].paths) for step in kernel.steps)
    return f"{order} kernel, {paths} paths"
