"""What a convolution's function takes beside the kernel's inputs and outputs; no TVM in it.

In: a kernel. Out: names. Those who lower a kernel and those who call it agree here:
    inputs, outputs,
    a copy in ir_mul layout for each of `copied_inputs`: [nodes, dim],
    sums of nodes that tasks share for each of `summed_outputs`: [tasks, dim],
    edges, nodes, others, pointers, tasks of the order (`runtime/topology.py`).
Shared outputs are partial sums, [tasks, dim].
"""

from __future__ import annotations

from tvm_equi.algebra.contraction import Operand
from tvm_equi.algebra.convolution import NODE_ROWS, pass_order
from tvm_equi.algebra.kernel import Kernel


def is_interleaved(operand: Operand) -> bool:
    """Whether lanes over channels find components side by side in memory."""
    return operand.layout == "mul_ir" and any(s.mul > 1 and s.dim > 1 for s in operand.segments)


def copied_inputs(kernel: Kernel) -> tuple[str, ...]:
    """Inputs on nodes that are transposed once per node: edges then read them as they are."""
    used = {name for step in kernel.steps for name in step.sources}
    return tuple(
        name
        for name in kernel.inputs
        if name in used
        and kernel.operand(name).rows in NODE_ROWS
        and is_interleaved(kernel.operand(name))
    )


def summed_outputs(kernel: Kernel) -> tuple[str, ...]:
    """Outputs on the nodes by which edges are taken."""
    order = pass_order(kernel)
    return tuple(name for name in kernel.outputs if kernel.operand(name).rows == order)
