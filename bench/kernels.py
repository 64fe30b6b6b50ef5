"""Our three kernels, each alone: forward, backward, double backward.

In: e3nn's module and tensors for it, and a graph for the convolution's. Out: calls of the runtime's
operators on the kernels' plans, which are what the passes are made of. They are timed beside copies
of as many bytes, which gives each kernel's share of its limit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from e3nn import o3

from bench.counts import KERNELS
from bench.graphs import Graph
from bench.passes import Tensors

if TYPE_CHECKING:
    from tvm_equi.algebra.kernel import Kernel


def kernel_of(module: o3.TensorProduct) -> Kernel:
    """Our kernel for an e3nn module with weights."""
    from tvm_equi.algebra.products import Instruction, tensor_product_kernel

    in1, in2, out = (
        tuple((mul, ir.l) for mul, ir in irreps)
        for irreps in (module.irreps_in1, module.irreps_in2, module.irreps_out)
    )
    instructions = tuple(
        Instruction(
            ins.i_in1,
            ins.i_in2,
            ins.i_out,
            ins.connection_mode,
            ins.has_weight,
            float(ins.path_weight),
        )
        for ins in module.instructions
    )
    rows = "shared" if module.shared_weights else "row"
    return tensor_product_kernel(in1, in2, out, instructions, weight_rows=rows)


def plan_of(module: o3.TensorProduct) -> str:
    """The plan of our kernel for an e3nn module with weights."""
    return kernel_of(module).plan()


def kernel_calls(module: o3.TensorProduct, tensors: Tensors) -> dict[str, Callable[[], object]]:
    """A call of each of `KERNELS`; each has run once."""
    from tvm_equi.runtime.torch_op import run

    return _calls(plan_of(module), tensors, run)


def convolution_calls(
    module: o3.TensorProduct, tensors: Tensors, graph: Graph
) -> dict[str, Callable[[], object]]:
    """A call of each of `KERNELS` over a graph; each has run once.

    Args:
        module: e3nn's, with weights per edge.
        tensors: x on nodes, y and w on edges.
        graph: the edges.
    """
    from tvm_equi.algebra.convolution import convolution_kernel
    from tvm_equi.runtime.convolution import convolve
    from tvm_equi.runtime.topology import Topology

    topology = Topology(graph.edge_index, graph.num_nodes)
    plan = convolution_kernel(kernel_of(module)).plan()
    return _calls(plan, tensors, partial(convolve, topology=topology))


def _calls(
    plan: str, tensors: Tensors, run: Callable[..., object]
) -> dict[str, Callable[[], object]]:
    """Calls of a kernel and of its derivatives."""
    from tvm_equi.runtime.plans import derivative_plans

    values = [tensor.detach() for tensor in tensors.flat]
    calls: dict[str, Callable[[], object]] = {}
    for kernel, each, count in zip(KERNELS, derivative_plans(plan, 2), (3, 4, 7), strict=True):
        calls[kernel] = partial(run, each, values[:count])
        calls[kernel]()
    return calls
