"""Launches that compute nothing: copies, zeros, and sums of the parts of nodes.

In: the buffers of a function. Out: TensorIR bound to blocks and threads, one thread per channel or
element.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.gpu.arguments import copy_name, parts_name
from tvm_equi.lower.gpu.values import column, save
from tvm_equi.lower.location import in_lanes
from tvm_equi.lower.vector import Expr

if TYPE_CHECKING:
    from tvm_equi.lower.gpu.lowering import GpuLowering

THREADS = 256
"""Of a block."""


@contextmanager
def _each(lowering: GpuLowering, name: str, count: Expr) -> Iterator[Expr]:
    """A launch with one thread for each of `count` numbers."""
    with (
        T.thread_binding(0, T.ceildiv(count, THREADS), thread="blockIdx.x") as block,
        T.thread_binding(0, THREADS, thread="threadIdx.x") as thread,
        T.sblock(lowering.block_name(name)),
    ):
        T.reads()
        T.writes()
        number = T.bind(T.cast(block, "int64") * THREADS + thread)
        with T.If(number < count), T.Then():
            yield number


def emit_copy(lowering: GpuLowering, name: str) -> None:
    """Copies an input on nodes to ir_mul layout, so that lanes over channels find neighbours."""
    operand = lowering.kernel.operand(name)
    source, target = lowering.arguments[name], lowering.arguments[copy_name(name)]
    widest = max(segment.mul for segment in operand.segments)
    with _each(lowering, "copy", source.shape[0] * widest) as number:
        row, channel = T.bind(number // widest), T.bind(T.cast(number % widest, "int32"))
        for index, segment in enumerate(operand.segments):
            with T.If(channel < segment.mul), T.Then():
                for k in range(segment.dim):
                    value = source[row, column(operand, index, channel, k)]
                    T.buffer_store(
                        target, value, [row, column(in_lanes(operand), index, channel, k)]
                    )


def emit_zeros(lowering: GpuLowering, name: str, segment: int) -> None:
    """Stores zeros to a segment of an output that no path reaches."""
    operand, buffer = lowering.kernel.operand(name), lowering.arguments[name]
    size, offset = operand.segments[segment].size, operand.offsets[segment]
    with _each(lowering, "zeros", buffer.shape[0] * size) as number:
        index = [number // size, offset + number % size]
        T.buffer_store(buffer, tirx.FloatImm(buffer.dtype, 0.0), index)


def emit_parts(lowering: GpuLowering, name: str, first: int, size: int) -> None:
    """Adds up the parts of nodes that have several, in their order, for some columns."""
    parts, output = lowering.arguments[parts_name(name)], lowering.arguments[name]
    nodes, ends = lowering.order["part_nodes"], lowering.order["part_ends"]
    with _each(lowering, "parts", lowering.num_parts * size) as number:
        part, where = T.bind(number // size), T.bind(first + number % size)
        end = T.bind(ends[part])
        with T.If(end > part), T.Then():
            result = T.alloc_buffer((1,), parts.dtype, scope="local")
            T.buffer_store(result, parts[part, where], [0])
            with T.serial(0, end - part - 1) as rest:
                T.buffer_store(result, result[0] + parts[part + 1 + rest, where], [0])
            save(output, (nodes[part], where), result[0], parts.dtype)
