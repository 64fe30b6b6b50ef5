"""The derivative rules of kernels as a `torch.autograd.Function`.

In: what `torch_op.run` takes. torch.library's own autograd supports no functorch transform for
operators on lists of tensors, and costs several times more for a small eager call; both go through
this function, while torch.compile and torch.export see the operator. The rules are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tvm_equi.runtime.plans import derivative_plan, signature

Execute = Callable[[list[torch.Tensor], str], list[torch.Tensor]]
"""Runs a kernel: (inputs, plan) -> outputs."""


class KernelFunction(torch.autograd.Function):
    """`KernelFunction.apply(plan, execute, *inputs)` gives the tuple of a kernel's outputs."""

    @staticmethod
    def forward(plan: str, execute: Execute, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs, by `execute`."""
        return tuple(execute(list(inputs), plan))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps the inputs."""
        ctx.plan = inputs[0]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        """Gradients, by the same function on the derivative's plan."""
        needed = ctx.needs_input_grad[2:]
        return (None, None, *gradients(ctx.plan, ctx.saved_tensors, grads, needed))

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        plan: str,
        execute: Execute,
        *inputs: torch.Tensor,
    ) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
        """A batch of rows is more rows; batched shared operands are run one by one."""
        size, facts = info.batch_size, signature(plan)
        batched = [
            tensor.movedim(dim, 0) if dim is not None else tensor.expand(size, *tensor.shape)
            for tensor, dim in zip(inputs, in_dims[2:], strict=True)
        ]
        shared_batched = any(
            dim is not None and not has_rows
            for dim, (_, has_rows) in zip(in_dims[2:], facts.inputs, strict=True)
        )
        if shared_batched or not all(has_rows for _, has_rows in facts.outputs):
            apply: Any = KernelFunction.apply
            runs = [apply(plan, execute, *(t[b] for t in batched)) for b in range(size)]
            return tuple(torch.stack(column) for column in zip(*runs, strict=True)), (0,) * len(
                facts.outputs
            )
        flat = [
            tensor.reshape(-1, tensor.shape[-1]) if has_rows else original
            for tensor, original, (_, has_rows) in zip(batched, inputs, facts.inputs, strict=True)
        ]
        outputs: tuple[torch.Tensor, ...] = KernelFunction.apply(plan, execute, *flat)  # type: ignore[no-untyped-call]
        return tuple(out.reshape(size, -1, out.shape[-1]) for out in outputs), (0,) * len(outputs)


class EagerFunction(torch.autograd.Function):
    """The same without functorch, whose form of `forward` costs a small call half as much again."""

    @staticmethod
    def forward(
        ctx: Any, plan: str, execute: Execute, *inputs: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """The outputs, by `execute`."""
        KernelFunction.setup_context(ctx, (plan, execute, *inputs), None)
        return tuple(execute(list(inputs), plan))

    backward = KernelFunction.backward


def gradients(plan: str, inputs: Any, grads: Any, needed: Any) -> list[torch.Tensor | None]:
    """The gradient to each input that needs one, None to the others."""
    from tvm_equi.runtime.torch_op import run

    wrt = tuple(number for number, wanted in enumerate(needed) if wanted)
    given = tuple(number for number, grad in enumerate(grads) if grad is not None)
    results: list[torch.Tensor | None] = [None] * len(inputs)
    if wrt and given:
        cotangents = [grads[number] for number in given]
        values = run(derivative_plan(plan, wrt, given), [*inputs, *cotangents])
        for number, value in zip(wrt, values, strict=True):
            results[number] = value
    return results
