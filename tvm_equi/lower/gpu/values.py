"""Where the operands of a launch lie for one row or edge, and scalars read from and written there.

In: matched buffers and the row, edge or node at hand. Out: TensorIR of one thread. A thread stands
for one value of the lane letter; what it writes, no other thread of the launch writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import PAIRS, Operand, Path
from tvm_equi.lower.vector import Expr


@dataclass(frozen=True, slots=True)
class Memory:
    """The buffers of a function.

    Args:
        operands: the type of each value, as it lies in its buffer.
        buffers: by the value's name: [rows, dim], [dim] if shared, [chunks, dim] if a shared
            output.
        partial: names of the shared outputs.
        parts: the sums of the parts of nodes, by output: [parts, dim].
        own: the kind of nodes by which edges are taken.
        dtype: of sums.
    """

    operands: dict[str, Operand]
    buffers: dict[str, Any]
    partial: frozenset[str]
    parts: dict[str, Any]
    own: str
    dtype: str


@dataclass(frozen=True, slots=True)
class At:
    """A row, edge or node at hand: the leading index of every kind of operand.

    Args:
        row: number of the row or edge.
        node: by which the edge is taken.
        other: the node at its other end.
        chunk: of partial sums.
        part: of the node; negative if it has one part only, or is none.
    """

    row: Expr = 0
    node: Expr = 0
    other: Expr = 0
    chunk: Expr = 0
    part: Expr = 0


@dataclass(frozen=True, slots=True)
class Letters:
    """Values of channel letters: of the lane letter and of the loop letter."""

    lane: str
    lane_value: Expr
    loop: str
    loop_value: Expr = 0

    def at(self, loop_value: Expr) -> Letters:
        """The same at another value of the loop letter."""
        return replace(self, loop_value=loop_value)

    def value(self, letter: str) -> Expr:
        """The value of a letter; 0 for one that has no other."""
        if letter == self.lane:
            return self.lane_value
        return self.loop_value if letter == self.loop else 0

    def channel(self, path: Path, channels: str) -> Expr:
        """The channel that a pattern stands for."""
        if channels == PAIRS:
            u, v, n = self.value("u"), self.value("v"), path.extent("u")
            return u * n - u * (u + 1) // 2 + (v - u - 1)
        result: Expr = 0
        for letter in channels:
            result = result * path.extent(letter) + self.value(letter)
        return result


def lead(memory: Memory, name: str, at: At) -> tuple[Expr, ...]:
    """The leading indices of a value."""
    if name in memory.partial:
        return (at.chunk,)
    match memory.operands[name].rows:
        case "shared":
            return ()
        case "row":
            return (at.row,)
        case rows:
            return (at.node if rows == memory.own else at.other,)


def column(operand: Operand, segment: int, channel: Expr, component: int) -> Expr:
    """The last index of an element."""
    mul, dim = operand.segments[segment].mul, operand.segments[segment].dim
    offset = operand.offsets[segment]
    if operand.layout == "mul_ir":
        return offset + channel * dim + component
    return offset + component * mul + channel


def read(memory: Memory, name: str, segment: int, channel: Expr, at: At) -> list[Expr]:
    """Every component of a channel, bound to variables."""
    operand, buffer = memory.operands[name], memory.buffers[name]
    first = lead(memory, name, at)
    return [
        T.bind(load(buffer, (*first, column(operand, segment, channel, k)), memory.dtype))
        for k in range(operand.segments[segment].dim)
    ]


def write(
    memory: Memory,
    name: str,
    segment: int,
    channel: Expr,
    at: At,
    values: Sequence[Expr],
    *,
    add: bool = False,
) -> None:
    """Stores, or adds, every component of a channel; of a node that has parts, to its part."""
    operand, dtype = memory.operands[name], memory.dtype

    def write_to(buffer: Any, first: tuple[Expr, ...]) -> None:
        for k, value in enumerate(values):
            index = (*first, column(operand, segment, channel, k))
            save(buffer, index, load(buffer, index, dtype) + value if add else value, dtype)

    first = lead(memory, name, at)
    if name not in memory.parts:
        write_to(memory.buffers[name], first)
        return
    with T.If(at.part < 0):
        with T.Then():
            write_to(memory.buffers[name], first)
        with T.Else():
            write_to(memory.parts[name], (at.part,))


def load(buffer: Any, index: tuple[Expr, ...], dtype: str) -> Expr:
    """An element, in the dtype of sums."""
    return buffer[index] if buffer.dtype == dtype else T.cast(buffer[index], dtype)


def save(buffer: Any, index: tuple[Expr, ...], value: Expr, dtype: str) -> None:
    """Stores an element that has the dtype of sums."""
    stored = value if buffer.dtype == dtype else T.cast(value, buffer.dtype)
    T.buffer_store(buffer, stored, list(index))
