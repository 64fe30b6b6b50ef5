"""Our three kernels, each alone: forward, backward, double backward.

In: e3nn's module and tensors for it. Out: calls of the runtime's operator on the kernels' plans,
which are what the passes are made of. They are timed beside copies of as many bytes, which gives
each kernel's share of its limit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from e3nn import o3

from bench.counts import KERNELS
from bench.passes import Tensors


def plan_of(module: o3.TensorProduct) -> str:
    """The plan of our kernel for an e3nn module with weights."""
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
    return tensor_product_kernel(in1, in2, out, instructions, weight_rows=rows).plan()


def kernel_calls(module: o3.TensorProduct, tensors: Tensors) -> dict[str, Callable[[], object]]:
    """A call of each of `KERNELS`; each has run once."""
    from tvm_equi.runtime.plans import derivative_plans
    from tvm_equi.runtime.torch_op import run

    values = [tensor.detach() for tensor in tensors]
    calls: dict[str, Callable[[], object]] = {}
    for kernel, plan, count in zip(
        KERNELS, derivative_plans(plan_of(module), 2), (3, 4, 7), strict=True
    ):
        calls[kernel] = partial(_run, run, plan, values[:count])
        calls[kernel]()
    return calls


def _run(run: Callable[..., object], plan: str, inputs: list[torch.Tensor]) -> object:
    return run(plan, inputs)
