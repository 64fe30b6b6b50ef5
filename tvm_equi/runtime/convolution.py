"""The torch operator that runs a kernel over the edges of a graph.

`tvm_equi::convolve(Tensor[] inputs, Tensor[] topology, str plan) -> Tensor[]` is to convolutions
what `tvm_equi::run` is to plain kernels: it has a fake implementation, and its derivative is the
same operator on the derivative's plan. A derivative that adds to senders and to receivers runs in
two passes, one in each order of the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import torch

from tvm_equi.algebra.contraction import Rows
from tvm_equi.algebra.convolution import NODE_ROWS, NodeRows, pass_order, passes
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.deploy.runtime import use_threads
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.lower.arguments import copied_inputs, summed_outputs
from tvm_equi.runtime import devices, gpu
from tvm_equi.runtime.device_order import DeviceOrder
from tvm_equi.runtime.function import EagerFunction, KernelFunction, Runner, gradients
from tvm_equi.runtime.kernels import load_kernel
from tvm_equi.runtime.plans import resolve
from tvm_equi.runtime.pool import POOL
from tvm_equi.runtime.registration import register
from tvm_equi.runtime.topology import Order, Topology
from tvm_equi.runtime.torch_op import SERIAL_ELEMENTS, is_plain

Value = tuple[int, Rows]
"""(columns, rows) of an input or output."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a convolution takes and gives."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Pass:
    """One run over the edges, compiled.

    Args:
        function: to call.
        order: of the edges.
        outputs: numbers of those that it computes.
        copied: numbers of the inputs that it needs room for a copy of.
        summed: columns of each sum over nodes that tasks share.
    """

    function: Callable[..., None]
    order: NodeRows
    outputs: tuple[int, ...]
    copied: tuple[int, ...]
    summed: tuple[int, ...]


@lru_cache(maxsize=1024)
def signature(plan: str) -> Signature:
    """The signature of the convolution that a plan names."""
    kernel = resolve(plan)

    def facts(names: tuple[str, ...]) -> tuple[Value, ...]:
        return tuple((kernel.operand(name).dim, kernel.operand(name).rows) for name in names)

    return Signature(facts(kernel.inputs), facts(kernel.outputs))


def kernels(plan: str) -> list[Kernel]:
    """The kernels that a plan runs, which is what there is to compile for it."""
    return [part.kernel for part in passes(resolve(plan))]


@lru_cache(maxsize=1024)
def program(plan: str, dtype: torch.dtype) -> tuple[Pass, ...]:
    """The passes that a plan names, ready to be called."""
    return tuple(
        Pass(
            load_kernel(part.kernel, dtype),
            pass_order(part.kernel),
            part.outputs,
            tuple(part.kernel.inputs.index(name) for name in copied_inputs(part.kernel)),
            tuple(part.kernel.operand(name).dim for name in summed_outputs(part.kernel)),
        )
        for part in passes(resolve(plan))
    )


def convolve(plan: str, inputs: Sequence[torch.Tensor], topology: Topology) -> list[torch.Tensor]:
    """The outputs of a kernel over the edges of a graph.

    Args:
        plan: names the kernel.
        inputs: float32 or float64, on a GPU also float16 or bfloat16: [edges, columns],
            [senders, columns], [receivers, columns] or, for a shared operand, [columns].
        topology: the edges.

    Raises:
        ArgumentError: a wrong number of inputs, shape or device.
        ArgumentTypeError: a wrong dtype.
    """
    if not torch.compiler.is_compiling():
        again = partial(_again, topology=topology)
        if torch._C._are_functorch_transforms_active():
            runner = Runner(partial(_execute, topology=topology), again, False)
            return list(KernelFunction.apply(plan, runner, *inputs))  # type: ignore[no-untyped-call]
        is_direct = is_plain(inputs)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            execute = _execute if is_direct else _run_dispatched
            runner = Runner(partial(execute, topology=topology), again, False)
            return list(EagerFunction.apply(plan, runner, *inputs))  # type: ignore[no-untyped-call]
        if is_direct:
            return _execute(inputs, plan, topology=topology)
    return _run_dispatched(inputs, plan, topology=topology)


def _run_dispatched(
    inputs: Sequence[torch.Tensor], plan: str, *, topology: Topology
) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = torch.ops.tvm_equi.convolve(
        list(inputs), topology.tensors(), plan
    )
    return outputs


def _again(plan: str, inputs: Sequence[torch.Tensor], *, topology: Topology) -> list[torch.Tensor]:
    return convolve(plan, inputs, topology)


def _check(facts: Signature, inputs: Sequence[torch.Tensor], topology: Topology) -> None:
    """Refuses inputs that do not fit the kernel and the graph.

    Raises:
        ArgumentError: a wrong number of inputs or shape.
        ArgumentTypeError: dtypes differ.
    """
    where = "tvm_equi::convolve: inputs"
    if len(inputs) != len(facts.inputs):
        raise ArgumentError(f"{where}: expected {len(facts.inputs)} tensors, got {len(inputs)}")
    devices.check_devices(where, inputs)
    if topology.device != inputs[0].device:
        raise ArgumentError(
            f"{where}: expected tensors on {topology.device} like the topology, "
            f"got {inputs[0].device}"
        )
    for number, (tensor, (columns, rows)) in enumerate(zip(inputs, facts.inputs, strict=True)):
        if tensor.dtype != inputs[0].dtype:
            raise ArgumentTypeError(
                f"{where}[{number}]: expected {inputs[0].dtype} like inputs[0], got {tensor.dtype}"
            )
        wanted = _shape(columns, rows, topology)
        if tuple(tensor.shape) != wanted:
            raise ArgumentError(
                f"{where}[{number}]: expected shape {list(wanted)} ([{rows}s, columns]), "
                f"got {list(tensor.shape)}"
            )


def _shape(columns: int, rows: Rows, topology: Topology) -> tuple[int, ...]:
    """The shape of a value."""
    match rows:
        case "shared":
            return (columns,)
        case "row":
            return (topology.num_edges, columns)
        case _:
            return (topology.count(rows), columns)


def _execute(
    inputs: Sequence[torch.Tensor], plan: str, *, topology: Topology
) -> list[torch.Tensor]:
    facts, dtype = signature(plan), inputs[0].dtype
    _check(facts, inputs, topology)
    outputs: list[torch.Tensor] = [inputs[0]] * len(facts.outputs)
    if 0 in (topology.num_edges, topology.num_senders, topology.num_receivers):
        return [inputs[0].new_zeros(_shape(*value, topology)) for value in facts.outputs]
    if devices.is_on_gpu(inputs[0]):
        return _execute_on_gpu(inputs, plan, topology)
    given = [tensor.contiguous() for tensor in inputs]
    for part in program(plan, dtype):
        order = cast(Order, topology.order(part.order))
        num_tasks = order.tasks.shape[1] - 1
        results = []
        for number in part.outputs:
            columns, rows = facts.outputs[number]
            shape = (num_tasks, columns) if rows == "shared" else _shape(columns, rows, topology)
            results.append(POOL.empty(shape, dtype))
        copies = [POOL.empty(tuple(given[number].shape), dtype) for number in part.copied]
        sums = [torch.empty((num_tasks, columns), dtype=dtype) for columns in part.summed]
        elements = sum(tensor.numel() for tensor in (*given, *results))
        use_threads(1 if elements < SERIAL_ELEMENTS else torch.get_num_threads())
        part.function(*given, *results, *copies, *sums, *order)
        for number, result in zip(part.outputs, results, strict=True):
            is_shared = facts.outputs[number][1] == "shared"
            outputs[number] = result.sum(0) if is_shared else result
    return outputs


def _execute_on_gpu(
    inputs: Sequence[torch.Tensor], plan: str, topology: Topology
) -> list[torch.Tensor]:
    """The outputs, over at least one edge."""
    counts: dict[Rows, int] = {"row": topology.num_edges}
    counts |= {rows: topology.count(rows) for rows in NODE_ROWS}
    outputs: list[torch.Tensor] = [inputs[0]] * len(signature(plan).outputs)
    for part in passes(resolve(plan)):
        kernel = gpu.gpu_kernel(part.kernel, inputs[0].dtype, inputs[0].device)
        order = cast(DeviceOrder, topology.order(pass_order(part.kernel)))
        found = gpu.call(kernel, inputs, counts, order)
        for number, result in zip(part.outputs, found, strict=True):
            outputs[number] = result
    return outputs


def _convolve(
    inputs: list[torch.Tensor], topology: list[torch.Tensor], plan: str
) -> list[torch.Tensor]:
    return _execute(inputs, plan, topology=Topology.from_tensors(topology))


def _convolve_fake(
    inputs: list[torch.Tensor], topology: list[torch.Tensor], plan: str
) -> list[torch.Tensor]:
    facts, edges = signature(plan), Topology.from_tensors(topology)
    _check(facts, inputs, edges)
    return [inputs[0].new_empty(_shape(*value, edges)) for value in facts.outputs]


_LIBRARY = register(
    "convolve(Tensor[] inputs, Tensor[] topology, str plan) -> Tensor[]", _convolve, _convolve_fake
)


def _setup_context(
    ctx: Any, inputs: tuple[list[torch.Tensor], list[torch.Tensor], str], output: Any
) -> None:
    tensors, topology, ctx.plan = inputs
    ctx.set_materialize_grads(False)
    ctx.num_inputs = len(tensors)
    ctx.save_for_backward(*tensors, *topology)


def _backward(ctx: Any, grads: Sequence[torch.Tensor | None]) -> tuple[Any, list[None], None]:
    inputs, topology = ctx.saved_tensors[: ctx.num_inputs], ctx.saved_tensors[ctx.num_inputs :]
    again = partial(_again, topology=Topology.from_tensors(topology))
    needed = ctx.needs_input_grad[0]
    return gradients(ctx.plan, inputs, grads, needed, again), [None] * len(topology), None


torch.library.register_autograd(
    "tvm_equi::convolve", _backward, setup_context=_setup_context, lib=_LIBRARY
)
