"""The derivative rules of kernels as a `torch.autograd.Function`.

In: what `torch_op.run` takes. torch.library's own autograd supports no functorch transform for
operators on lists of tensors, and costs several times more for a small eager call; both go through
this function, while torch.compile and torch.export see the operator. The rules are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tvm_equi.runtime.plans import derivative_plan, signature

_Leaf = torch._C._functions.AccumulateGrad  # type: ignore[attr-defined]

Again = Callable[[str, Sequence[torch.Tensor]], list[torch.Tensor]]
"""Runs a kernel so that it can be differentiated: (plan, inputs) -> outputs."""


@dataclass(frozen=True, slots=True)
class Runner:
    """How a kernel is run.

    Args:
        execute: (inputs, plan) -> outputs, out of sight of autograd.
        again: the same in its sight, for derivatives.
        is_by_row: whether each row of the outputs depends on the same row of the inputs alone.
    """

    execute: Callable[[Sequence[torch.Tensor], str], list[torch.Tensor]]
    again: Again
    is_by_row: bool


class KernelFunction(torch.autograd.Function):
    """`KernelFunction.apply(plan, runner, *inputs)` gives the tuple of a kernel's outputs."""

    @staticmethod
    def forward(plan: str, runner: Runner, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs."""
        return tuple(runner.execute(inputs, plan))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps the inputs."""
        ctx.plan, ctx.again = inputs[0], inputs[1].again
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        """Gradients, by the same function on the derivative's plan."""
        needed = ctx.needs_input_grad[2:]
        return (None, None, *gradients(ctx.plan, ctx.saved_tensors, grads, needed, ctx.again))

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        plan: str,
        runner: Runner,
        *inputs: torch.Tensor,
    ) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
        """A batch of rows is more rows; batched shared operands are run one by one."""
        size = info.batch_size
        batched = [
            tensor.movedim(dim, 0) if dim is not None else tensor.expand(size, *tensor.shape)
            for tensor, dim in zip(inputs, in_dims[2:], strict=True)
        ]
        apply: Any = KernelFunction.apply
        if not runner.is_by_row or _has_batched_shared(plan, in_dims[2:]):
            runs = [apply(plan, runner, *(t[b] for t in batched)) for b in range(size)]
            stacked = tuple(torch.stack(column) for column in zip(*runs, strict=True))
            return stacked, (0,) * len(stacked)
        facts = signature(plan)
        flat = [
            tensor.reshape(-1, tensor.shape[-1]) if has_rows else original
            for tensor, original, (_, has_rows) in zip(batched, inputs, facts.inputs, strict=True)
        ]
        outputs: tuple[torch.Tensor, ...] = apply(plan, runner, *flat)
        return tuple(out.reshape(size, -1, out.shape[-1]) for out in outputs), (0,) * len(outputs)


class EagerFunction(torch.autograd.Function):
    """The same without functorch, whose form of `forward` costs a small call half as much again.

    Its backward leaves out gradients that nobody asked for: where forces are taken, those to
    weights. torch knows that while it runs backward, and `needs_input_grad` does not say it.
    """

    @staticmethod
    def forward(
        ctx: Any, plan: str, runner: Runner, *inputs: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """The outputs."""
        KernelFunction.setup_context(ctx, (plan, runner, *inputs), None)
        return tuple(runner.execute(inputs, plan))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        """Gradients, by the same function on the derivative's plan."""
        edges = zip(ctx.needs_input_grad[2:], ctx.next_functions, strict=True)
        needed = [wanted and _is_read(node) for wanted, (node, _) in edges]
        return (None, None, *gradients(ctx.plan, ctx.saved_tensors, grads, needed, ctx.again))


def _is_read(node: Any) -> bool:
    """Whether the backward pass that runs now goes on to a node."""
    if isinstance(node, _Leaf) and not isinstance(node.variable, torch.nn.Parameter):
        return True  # it is asked for, as a rule, and then the question costs an exception: 10 us
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # a leaf that `torch.autograd.grad` was asked for
        return True


def _has_batched_shared(plan: str, in_dims: Sequence[int | None]) -> bool:
    """Whether a batch has several sets of a shared input, or gives a shared output."""
    facts = signature(plan)
    batched = zip(in_dims, facts.inputs, strict=True)
    return any(dim is not None and not has_rows for dim, (_, has_rows) in batched) or not all(
        has_rows for _, has_rows in facts.outputs
    )


def gradients(
    plan: str, inputs: Any, grads: Any, needed: Any, again: Again
) -> list[torch.Tensor | None]:
    """The gradient to each input that needs one, None to the others."""
    wrt = tuple(number for number, wanted in enumerate(needed) if wanted)
    given = tuple(number for number, grad in enumerate(grads) if grad is not None)
    results: list[torch.Tensor | None] = [None] * len(inputs)
    if wrt and given:
        cotangents = [grads[number] for number in given]
        values = again(derivative_plan(plan, wrt, given), [*inputs, *cotangents])
        for number, value in zip(wrt, values, strict=True):
            results[number] = value
    return results
