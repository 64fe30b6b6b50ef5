"""Plans: texts that name kernels, derivatives included.

In: the plan of a kernel, which is all there is to know of it, followed by one word per derivative.
Out: kernels. A plan is what the torch operator carries, so a graph that holds one can run in any
process.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import ArgumentError


@lru_cache(maxsize=4096)
def derivative_plan(plan: str, wrt: tuple[int, ...], of: tuple[int, ...]) -> str:
    """The plan of a vector-Jacobian product; see `tvm_equi.algebra.derivative.vjp`."""
    return f"{plan} {','.join(map(str, wrt))}:{','.join(map(str, of))}"


@lru_cache(maxsize=1024)
def resolve(plan: str) -> Kernel:
    """The kernel that a plan names.

    Raises:
        ArgumentError: the text is no plan.
    """
    root, _, word = plan.rpartition(" ")
    if not root:
        return Kernel.from_plan(plan)
    try:
        wrt, of = (tuple(int(n) for n in part.split(",")) for part in word.split(":"))
    except ValueError as error:
        raise ArgumentError(f"plan: expected a derivative such as '0,1:0', got {word!r}") from error
    return vjp(resolve(root), wrt, of)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a kernel takes and gives: (columns, whether it has rows) of each value."""

    inputs: tuple[tuple[int, bool], ...]
    outputs: tuple[tuple[int, bool], ...]
    row_elements: int


@lru_cache(maxsize=1024)
def signature(plan: str) -> Signature:
    """The signature of the kernel that a plan names."""
    kernel = resolve(plan)

    def facts(names: tuple[str, ...]) -> tuple[tuple[int, bool], ...]:
        return tuple((kernel.operand(n).dim, kernel.operand(n).rows == "row") for n in names)

    inputs, outputs = facts(kernel.inputs), facts(kernel.outputs)
    return Signature(inputs, outputs, sum(dim for dim, has_rows in inputs + outputs if has_rows))


def derivative_plans(plan: str, order: int) -> list[str]:
    """The plan and those of its derivatives with respect to everything, up to an order.

    Args:
        plan: of a kernel.
        order: 0 for the plan alone, 1 for training on values, 2 for training on forces.
    """
    plans = [plan]
    for _ in range(order):
        kernel = resolve(plans[-1])
        everything = tuple(range(len(kernel.inputs)))
        plans.append(derivative_plan(plans[-1], everything, tuple(range(len(kernel.outputs)))))
    return plans
