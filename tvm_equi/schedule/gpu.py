"""The GPU rule: decisions from a kernel's dtype and target, and the schedule that follows.

In: a kernel, a dtype and a target. Out: an IRModule whose launches are bound to blocks and threads.
The rule needs no tuning.
"""

from __future__ import annotations

from typing import Any

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.schedule.targets import GpuTarget

SUMS = {"float32": 88, "float64": 48}
"""Elements that a thread keeps for sums: of 255 registers of 4 bytes, two thirds are left for
operands, addresses and loads on their way."""

NODE_INPUTS = {"float32": 32, "float64": 16}
"""Elements of a node's operands that a thread keeps."""

REDUCE_ELEMENTS = {"float32": 5 << 10, "float64": 5 << 9}
"""Elements of shared memory for sums over lanes: 20 of the 48 KiB that a block has at least."""


def decide(kernel: Kernel, dtype: str, target: GpuTarget) -> GpuDecisions:
    """The rule's decisions for a kernel.

    Args:
        kernel: the program.
        dtype: "float32" or "float64".
        target: the GPU.
    """
    del kernel
    return GpuDecisions(
        sums=SUMS.get(dtype, SUMS["float32"]),
        node_inputs=NODE_INPUTS.get(dtype, NODE_INPUTS["float32"]),
        reduce_elements=REDUCE_ELEMENTS.get(dtype, REDUCE_ELEMENTS["float32"]),
        exact_constants=target.kind == "opencl",
    )


def schedule(kernel: Kernel, dtype: str, decisions: GpuDecisions) -> Any:
    """The IRModule of a kernel, scheduled.

    Args:
        kernel: the program.
        dtype: "float32" or "float64".
        decisions: of the rule, or of a record.
    """
    import tvm

    from tvm_equi.lower.gpu.lowering import lower_gpu
    from tvm_equi.lower.names import FUNCTION

    function = lower_gpu(kernel, dtype, decisions)
    return tvm.IRModule({FUNCTION: function})
