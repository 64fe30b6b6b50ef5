"""The torch operator that runs any kernel: `tvm_equi::run(Tensor[] inputs, str plan) -> Tensor[]`.

In: a plan and the kernel's inputs. Out: its outputs. The operator has a fake implementation
(shapes follow from the plan), and its derivative is the same operator on the derivative's plan, so
that derivatives of any order, torch.compile and torch.export work. Kernels are compiled, or taken
from the cache, at their first call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import build
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.runtime.function import EagerFunction, KernelFunction, Runner, gradients
from tvm_equi.runtime.library import load_function, use_threads
from tvm_equi.runtime.plans import Signature, resolve, signature
from tvm_equi.runtime.pool import POOL

_PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)

_functorch: Callable[..., tuple[torch.Tensor, ...]] = KernelFunction.apply
_eager: Callable[..., tuple[torch.Tensor, ...]] = EagerFunction.apply

DTYPES = {torch.float32: "float32", torch.float64: "float64"}

SERIAL_ELEMENTS = 1 << 15
"""Calls that touch fewer elements run on one thread: waking others costs several microseconds."""

ROWS_PER_CHUNK = 128
MAX_CHUNKS = 64
"""Sums over rows are split into chunks of at least this many rows, and at most this many chunks: a
function of the number of rows alone, so that a result does not depend on the number of threads."""


@dataclass(frozen=True, slots=True)
class Program:
    """A kernel, compiled and loaded for one dtype."""

    signature: Signature
    function: Callable[..., None]


_installed: dict[tuple[str, str], Path] = {}


def install(kernel: Kernel, dtype: str, library: Path) -> None:
    """Makes calls of a kernel use a library compiled earlier, for instance from an artifact."""
    _installed[kernel.key(), dtype] = library


@lru_cache(maxsize=1024)
def program(plan: str, dtype: torch.dtype) -> Program:
    """The kernel that a plan names, ready to be called.

    Raises:
        ArgumentTypeError: the dtype is not supported.
    """
    return Program(signature(plan), load_kernel(resolve(plan), dtype))


def load_kernel(kernel: Kernel, dtype: torch.dtype) -> Callable[..., None]:
    """The function of a kernel: installed, from the cache, or compiled now.

    Raises:
        ArgumentTypeError: the dtype is not supported.
    """
    if dtype not in DTYPES:
        raise ArgumentTypeError(
            f"tvm_equi: inputs: expected float32 or float64, got {dtype}; cast them"
        )
    library = _installed.get((kernel.key(), DTYPES[dtype]))
    if library is None:
        library = build(kernel, DTYPES[dtype]).library
    return load_function(library)


def run(plan: str, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs of a kernel.

    Args:
        plan: names the kernel.
        inputs: float32 or float64, [rows, columns] or, for a shared operand, [columns].

    Raises:
        ArgumentError: a wrong number of inputs, shape or device.
        ArgumentTypeError: a wrong dtype.
    """
    if not torch.compiler.is_compiling():
        if torch._C._are_functorch_transforms_active():
            return list(_functorch(plan, _DISPATCHED, *inputs))
        if is_plain(inputs):
            if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
                return list(_eager(plan, _DIRECT, *inputs))
            return _run_cpu(inputs, plan)
    outputs: list[torch.Tensor] = torch.ops.tvm_equi.run(list(inputs), plan)
    return outputs


def is_plain(inputs: Sequence[torch.Tensor]) -> bool:
    """Whether nothing watches the dispatcher, so that a call may go round it and save its time."""
    return torch._C._len_torch_dispatch_stack() == 0 and all(
        type(tensor) in _PLAIN_TYPES and tensor.device.type == "cpu" for tensor in inputs
    )


def _num_rows(facts: Signature, inputs: Sequence[torch.Tensor]) -> Any:
    """The number of rows, after every check that needs no values."""
    if len(inputs) != len(facts.inputs):
        raise ArgumentError(
            f"tvm_equi::run: inputs: expected {len(facts.inputs)} tensors, got {len(inputs)}"
        )
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


_LIBRARY = torch.library.Library("tvm_equi", "DEF")
_LIBRARY.define("run(Tensor[] inputs, str plan) -> Tensor[]")


def _num_chunks(rows: int) -> int:
    """A power of two, so that chunks share out evenly over threads."""
    return min(MAX_CHUNKS, 1 << max(0, (rows // ROWS_PER_CHUNK).bit_length() - 1))


def _run_cpu(inputs: Sequence[torch.Tensor], plan: str) -> list[torch.Tensor]:
    dtype = inputs[0].dtype
    loaded = program(plan, dtype)
    facts = loaded.signature
    rows = _num_rows(facts, inputs)
    chunks = _num_chunks(rows)
    outputs = [
        POOL.empty((rows if has_rows else chunks, columns), dtype)
        for columns, has_rows in facts.outputs
    ]
    if rows == 0:
        return [
            out if has_rows else out.new_zeros(columns)
            for out, (columns, has_rows) in zip(outputs, facts.outputs, strict=True)
        ]
    is_small = rows * facts.row_elements < SERIAL_ELEMENTS
    use_threads(1 if is_small else torch.get_num_threads())
    loaded.function(*[tensor.contiguous() for tensor in inputs], *outputs)
    return [
        out if has_rows else out.sum(0)
        for out, (_, has_rows) in zip(outputs, facts.outputs, strict=True)
    ]


_LIBRARY.impl("run", _run_cpu, "CPU")


def _run_dispatched(inputs: Sequence[torch.Tensor], plan: str) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = torch.ops.tvm_equi.run(list(inputs), plan)
    return outputs


_DIRECT = Runner(_run_cpu, run, True)
_DISPATCHED = Runner(_run_dispatched, run, True)


def _run_fake(inputs: list[torch.Tensor], plan: str) -> list[torch.Tensor]:
    facts = signature(plan)
    rows = _num_rows(facts, inputs)
    return [
        inputs[0].new_empty((rows, columns) if has_rows else (columns,))
        for columns, has_rows in facts.outputs
    ]


torch.library.register_fake("tvm_equi::run", _run_fake, lib=_LIBRARY)


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
