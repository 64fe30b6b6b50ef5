"""What a plan comes down to, for those who run it without this package's algebra.

In: a plan. Out: a `PlanEntry` of a model file: shapes, and the kernels that the operator calls. The
torch operator in C++, JAX and programs call kernels by it.
"""

from __future__ import annotations

from functools import lru_cache

from tvm_equi.algebra.convolution import is_convolution, pass_order, passes
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.deploy.manifest import Operand, PassEntry, PlanEntry
from tvm_equi.lower.arguments import copied_inputs, summed_outputs
from tvm_equi.runtime.plans import resolve


@lru_cache(maxsize=1024)
def plan_record(plan: str) -> PlanEntry:
    """What a runtime must know of a plan.

    Args:
        plan: of a kernel, or of a convolution, which may run in several passes.

    Raises:
        ArgumentError: the text is no plan.
    """
    kernel = resolve(plan)
    if is_convolution(kernel):
        operator = "convolve"
        parts = tuple(
            PassEntry(
                part.kernel.key(),
                pass_order(part.kernel),
                part.outputs,
                tuple(part.kernel.inputs.index(name) for name in copied_inputs(part.kernel)),
                tuple(part.kernel.operand(name).dim for name in summed_outputs(part.kernel)),
            )
            for part in passes(kernel)
        )
    else:
        operator = "run"
        parts = (PassEntry(kernel.key(), "", tuple(range(len(kernel.outputs))), (), ()),)
    inputs, outputs = _operands(kernel, kernel.inputs), _operands(kernel, kernel.outputs)
    return PlanEntry(plan, operator, inputs, outputs, parts)


def _operands(kernel: Kernel, names: tuple[str, ...]) -> tuple[Operand, ...]:
    """(columns, rows) of some of a kernel's operands."""
    return tuple((kernel.operand(name).dim, kernel.operand(name).rows) for name in names)
