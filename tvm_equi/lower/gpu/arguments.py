"""What a kernel's function for a GPU takes beside inputs and outputs; no TVM in it.

In: a kernel. Out: names. Those who lower a kernel and those who call it agree here:
    inputs, outputs,
    memory for each temporary: [rows, dim],
    a copy in ir_mul layout for each of `copied_inputs`: [nodes, dim],
    and, for a kernel over edges,
    sums of the parts of nodes for each of `summed_outputs`: [parts, dim],
    the arrays `ORDER` of the order in which edges are taken (`runtime/device_order.py`).
Shared outputs are partial sums, [chunks, dim].
"""

from __future__ import annotations

from tvm_equi.algebra.convolution import is_convolution
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.arguments import copied_inputs, summed_outputs

ORDER = (
    "edges",
    "others",
    "segment_nodes",
    "segment_starts",
    "segment_parts",
    "part_nodes",
    "part_ends",
)
"""Names of the arrays of an order, all int64. A *segment* is a run of edges of one node; a node
with many edges has several, its *parts*, whose sums are added up at the end."""

__all__ = ["ORDER", "argument_names", "copied_inputs", "copy_name", "parts_name", "summed_outputs"]


def copy_name(name: str) -> str:
    """The name of an input's copy."""
    return f"{name}_copy"


def parts_name(name: str) -> str:
    """The name of the sums of an output's parts."""
    return f"{name}_parts"


def argument_names(kernel: Kernel) -> tuple[str, ...]:
    """The names of all arguments, in order.

    Args:
        kernel: the program.
    """
    names = (*kernel.inputs, *kernel.outputs, *kernel.temporaries)
    if not is_convolution(kernel):
        return names
    copies = tuple(copy_name(name) for name in copied_inputs(kernel))
    parts = tuple(parts_name(name) for name in summed_outputs(kernel))
    return (*names, *copies, *parts, *ORDER)
