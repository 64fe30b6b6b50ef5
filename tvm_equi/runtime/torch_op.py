"""The torch operator that runs any kernel: `tvm_equi::run(Tensor[] inputs, str plan) -> Tensor[]`.

In: a plan and the kernel's inputs. Out: its outputs. The operator has a fake implementation
(shapes follow from the plan), and its derivative is the same operator on the derivative's plan, so
that derivatives of any order, torch.compile and torch.export work. Kernels are compiled, or taken
from the cache, at their first call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from tvm_equi.deploy.runtime import use_threads
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.runtime import devices, gpu
from tvm_equi.runtime.function import EagerFunction, KernelFunction, Runner, gradients
from tvm_equi.runtime.kernels import load_kernel
from tvm_equi.runtime.plans import Signature, resolve, signature
from tvm_equi.runtime.pool import POOL
from tvm_equi.runtime.registration import register

_PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)

_functorch: Callable[..., tuple[torch.Tensor, ...]] = KernelFunction.apply
_eager: Callable[..., tuple[torch.Tensor, ...]] = EagerFunction.apply

SERIAL_ELEMENTS = 1 << 15
"""Calls that touch fewer elements run on one thread: waking others costs several microseconds."""

ROWS_PER_CHUNK = 128
MAX_CHUNKS = 64
"""Sums over rows are split into chunks of at least this many rows, and at most this many chunks: a
function of the number of rows alone, so that a result does not depend on the number of threads."""


@lru_cache(maxsize=1024)
def program(plan: str, dtype: torch.dtype) -> Callable[..., None]:
    """The function of the kernel that a plan names, for this CPU.

    Raises:
        ArgumentTypeError: the dtype is not supported.
    """
    return load_kernel(resolve(plan), dtype)


def run(plan: str, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs of a kernel.

    Args:
        plan: names the kernel.
        inputs: float32 or float64, on a GPU also float16 or bfloat16: [rows, columns] or, for a
            shared operand, [columns].

    Raises:
        ArgumentError: a wrong number of inputs, shape or device.
        ArgumentTypeError: a wrong dtype.
    """
    if not torch.compiler.is_compiling():
        if torch._C._are_functorch_transforms_active():
            return list(_functorch(plan, _DISPATCHED, *inputs))
        is_direct = is_plain(inputs)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            return list(_eager(plan, _DIRECT if is_direct else _DISPATCHED, *inputs))
        if is_direct:
            return _execute(inputs, plan)
    outputs: list[torch.Tensor] = torch.ops.tvm_equi.run(list(inputs), plan)
    return outputs


def is_plain(inputs: Sequence[torch.Tensor]) -> bool:
    """Whether nothing watches the dispatcher, so that a call may go round it and save its time."""
    return torch._C._len_torch_dispatch_stack() == 0 and all(
        type(tensor) in _PLAIN_TYPES and tensor.device.type in devices.DEVICE_TYPES
        for tensor in inputs
    )


def _num_rows(facts: Signature, inputs: Sequence[torch.Tensor]) -> Any:
    """The number of rows, after every check that needs no values."""
    if len(inputs) != len(facts.inputs):
        raise ArgumentError(
            f"tvm_equi::run: inputs: expected {len(facts.inputs)} tensors, got {len(inputs)}"
        )
    devices.check_devices("tvm_equi::run: inputs", inputs)
    rows: Any = None
    first = inputs[0]
    for number, (tensor, (columns, has_rows)) in enumerate(zip(inputs, facts.inputs, strict=True)):
        if tensor.dtype != first.dtype:
            raise ArgumentTypeError(
                f"tvm_equi::run: inputs[{number}]: expected {first.dtype} like inputs[0], "
                f"got {tensor.dtype}"
            )
        shape = tensor.shape
        if len(shape) != 1 + has_rows or shape[-1] != columns:
            wanted = f"[rows, {columns}]" if has_rows else f"[{columns}]"
            raise ArgumentError(
                f"tvm_equi::run: inputs[{number}]: expected shape {wanted}, got {list(shape)}"
            )
        if has_rows:
            if rows is None:
                rows = shape[0]
            elif shape[0] != rows:
                raise ArgumentError(
                    f"tvm_equi::run: inputs[{number}]: expected {rows} rows like the others, "
                    f"got {shape[0]}"
                )
    return rows


def _num_chunks(rows: int) -> int:
    """A power of two, so that chunks share out evenly over threads."""
    return min(MAX_CHUNKS, 1 << max(0, (rows // ROWS_PER_CHUNK).bit_length() - 1))


def _execute(inputs: Sequence[torch.Tensor], plan: str) -> list[torch.Tensor]:
    first = inputs[0]
    facts = signature(plan)
    rows = _num_rows(facts, inputs)
    if rows == 0:
        return [
            first.new_zeros((0, columns) if has_rows else (columns,))
            for columns, has_rows in facts.outputs
        ]
    if devices.is_on_gpu(first):
        kernel = gpu.gpu_kernel(resolve(plan), first.dtype, first.device)
        return gpu.call(kernel, inputs, {"row": rows})
    return _run_cpu(program(plan, first.dtype), facts, inputs, rows)


def _run_cpu(
    function: Callable[..., None], facts: Signature, inputs: Sequence[torch.Tensor], rows: int
) -> list[torch.Tensor]:
    """The outputs, on the CPU, of at least one row."""
    dtype = inputs[0].dtype
    chunks = _num_chunks(rows)
    outputs = [
        POOL.empty((rows if has_rows else chunks, columns), dtype)
        for columns, has_rows in facts.outputs
    ]
    is_small = rows * facts.row_elements < SERIAL_ELEMENTS
    use_threads(1 if is_small else torch.get_num_threads())
    function(*[tensor.contiguous() for tensor in inputs], *outputs)
    return [
        out if has_rows else out.sum(0)
        for out, (_, has_rows) in zip(outputs, facts.outputs, strict=True)
    ]


def _run_dispatched(inputs: Sequence[torch.Tensor], plan: str) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = torch.ops.tvm_equi.run(list(inputs), plan)
    return outputs


_DIRECT = Runner(_execute, run, True)
_DISPATCHED = Runner(_run_dispatched, run, True)


def _run_fake(inputs: list[torch.Tensor], plan: str) -> list[torch.Tensor]:
    facts = signature(plan)
    rows = _num_rows(facts, inputs)
    return [
        inputs[0].new_empty((rows, columns) if has_rows else (columns,))
        for columns, has_rows in facts.outputs
    ]


_LIBRARY = register("run(Tensor[] inputs, str plan) -> Tensor[]", _execute, _run_fake)


def _setup_context(ctx: Any, inputs: tuple[list[torch.Tensor], str], output: Any) -> None:
    tensors, ctx.plan = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grads: Sequence[torch.Tensor | None]) -> tuple[Any, None]:
    needed = ctx.needs_input_grad[0]
    return gradients(ctx.plan, ctx.saved_tensors, grads, needed, run), None


torch.library.register_autograd(
    "tvm_equi::run", _backward, setup_context=_setup_context, lib=_LIBRARY
)
