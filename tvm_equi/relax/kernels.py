"""A kernel's call in Relax: what it takes beside the inputs of its plan, and its function.

In: a plan and the operator that names it. Out: the kernels that it runs, and for each a PrimFunc
that takes inputs first, then outputs and scratch, as `relax.call_tir` wants: the scheduled kernel
itself, or a call of its compiled library by name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Rows
from tvm_equi.algebra.convolution import NODE_ROWS, NodeRows, pass_order, passes
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import build, tuned
from tvm_equi.errors import ScheduleError
from tvm_equi.lower.arguments import copied_inputs, summed_outputs
from tvm_equi.lower.decisions import Decisions
from tvm_equi.relax.indices import OPAQUE, SCHEDULED, body, finished, function, match
from tvm_equi.runtime.plans import resolve
from tvm_equi.runtime.topology import Order
from tvm_equi.schedule import cpu, space
from tvm_equi.schedule.targets import cpu_target

Form = Literal["call_tir", "packed"]
"""How a module holds kernels: as TensorIR, or as calls of libraries by name."""

FORMS = get_args(Form)

NAME_PREFIX = "tvm_equi.kernel."
"""Start of the names of kernels in tvm_ffi's registry."""


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One function that a plan runs.

    Args:
        kernel: the program.
        order: in which edges are taken; "" for a kernel on rows.
        outputs: numbers of the plan's outputs that it computes.
        copied: numbers of the inputs that it needs room for a copy of.
        summed: columns of each sum over nodes that tasks share.
    """

    kernel: Kernel
    order: NodeRows | Literal[""]
    outputs: tuple[int, ...]
    copied: tuple[int, ...]
    summed: tuple[int, ...]


def calls_of(plan: str, *, over_edges: bool) -> list[KernelCall]:
    """The functions that a plan runs.

    Args:
        plan: names the kernel.
        over_edges: whether the plan is one of `convolve`.
    """
    kernel = resolve(plan)
    if not over_edges:
        return [KernelCall(kernel, "", tuple(range(len(kernel.outputs))), (), ())]
    return [
        KernelCall(
            part.kernel,
            pass_order(part.kernel),
            part.outputs,
            tuple(part.kernel.inputs.index(name) for name in copied_inputs(part.kernel)),
            tuple(part.kernel.operand(name).dim for name in summed_outputs(part.kernel)),
        )
        for part in passes(kernel)
    ]


def library_name(library: bytes) -> str:
    """The name by which a program calls a kernel's library.

    Args:
        library: its bytes.
    """
    return NAME_PREFIX + hashlib.sha256(library).hexdigest()[:32]


def kernel_library(kernel: Kernel, dtype: str, target: str) -> Path:
    """The path of a kernel's library, from the cache or compiled now.

    Args:
        kernel: the program.
        dtype: of its values.
        target: its name.
    """
    return build(kernel, dtype, target).library


def kernel_function(call: KernelCall, dtype: str, target: str, form: Form) -> Any:
    """The function of a kernel: (inputs, order, outputs, copies, sums).

    Args:
        call: of the kernel.
        dtype: of its values.
        target: "host" or an x86-64 level.
        form: how the module holds it.
    """
    if form == "packed":
        name = library_name(kernel_library(call.kernel, dtype, target).read_bytes())
        return _packed(call, dtype, name)
    (scheduled,) = _scheduled(call.kernel, dtype, target).functions.values()
    num_inputs, num_last = len(call.kernel.inputs), len(Order._fields) if call.order else 0
    params = list(scheduled.params)
    first, middle, last = (
        params[:num_inputs],
        params[num_inputs : len(params) - num_last],
        params[len(params) - num_last :],
    )
    reordered = tirx.PrimFunc(
        [*first, *last, *middle],
        scheduled.body,
        scheduled.ret_type,
        scheduled.attrs,
    )
    return (
        reordered.without_attr("global_symbol")
        .with_attr("op_pattern", OPAQUE)
        .with_attr(SCHEDULED, True)
    )


def _scheduled(kernel: Kernel, dtype: str, target: str) -> Any:
    """The scheduled TensorIR of a kernel, by the first record that fits, or by rule."""
    resolved = cpu_target(target)
    for record in tuned(kernel, dtype, target):
        try:
            decisions = space.apply_point(kernel, dtype, resolved, record.point)
        except ScheduleError:  # a record of older decisions
            continue
        if isinstance(decisions, Decisions):
            return cpu.schedule(kernel, dtype, decisions)
    return cpu.schedule(kernel, dtype, cpu.decide(kernel, dtype, resolved))


def _packed(call: KernelCall, dtype: str, name: str) -> Any:
    """A function that calls a library of the registry, with the arguments in its order."""
    kernel = call.kernel
    with function("kernel") as builder:
        arguments = _Arguments(kernel, dtype)
        inputs = [arguments.value(name) for name in kernel.inputs]
        order = [arguments.order(field) for field in Order._fields] if call.order else []
        outputs = [arguments.value(name) for name in kernel.outputs]
        copies = [arguments.value(kernel.inputs[number], "copy") for number in call.copied]
        sums = [arguments.partial(f"sums_{number}", dim) for number, dim in enumerate(call.summed)]
        with body():
            T.evaluate(tirx.call_packed(name, *inputs, *outputs, *copies, *sums, *order))
    return finished(builder)


class _Arguments:
    """Matches the arguments of a kernel."""

    def __init__(self, kernel: Kernel, dtype: str) -> None:
        self.kernel, self.dtype = kernel, dtype
        names: tuple[Rows, ...] = ("row", *NODE_ROWS)
        self.counts: dict[Rows, Any] = {rows: tirx.Var(f"num_{rows}s", "int64") for rows in names}
        self.parts = tirx.Var("num_parts", "int64")

    def value(self, name: str, suffix: str = "") -> Any:
        """An input, an output or a copy."""
        operand = self.kernel.operand(name)
        if operand.rows != "shared":
            shape: tuple[Any, ...] = (self.counts[operand.rows], operand.dim)
        else:
            is_partial = name in self.kernel.outputs
            shape = (self.parts, operand.dim) if is_partial else (operand.dim,)
        return match(T.arg(f"{name}{suffix}", T.handle()), shape, self.dtype)

    def partial(self, name: str, dim: int) -> Any:
        """Sums that tasks share."""
        return match(T.arg(name, T.handle()), (self.parts, dim), self.dtype)

    def order(self, field: str) -> Any:
        """One of the tensors of an order."""
        sizes = {"pointers": "num_pointers", "tasks": "num_bounds"}
        size = tirx.Var(sizes[field], "int64") if field in sizes else self.counts["row"]
        shape = (2, size) if field == "tasks" else (size,)
        return match(T.arg(field, T.handle()), shape, "int64")
