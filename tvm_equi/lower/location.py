"""Where a segment of a row lies in memory, and blocks of lanes read from it or written to it.

In: a buffer, strides and a block of lanes. Out: TensorIR that loads or stores every component of
the block, transposed in registers where components lie between channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Operand
from tvm_equi.lower.streaming import can_stream, stream
from tvm_equi.lower.vector import (
    Block,
    Expr,
    deinterleave,
    interleave,
    load,
    load_strided,
    store,
    store_strided,
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a segment lies for one row: element (channel, component) is buffer[lead, address].

    Args:
        buffer: the TensorIR buffer.
        lead: all its indices but the last.
        start: address of the first element.
        mul: channels.
        dim: components.
        channel_stride: between channels.
        component_stride: between components.
        is_large: if given, whether to store past the cache (`lower/streaming.py`).
    """

    buffer: Any
    lead: tuple[Expr, ...]
    start: Expr
    mul: int
    dim: int
    channel_stride: int
    component_stride: int
    is_large: Expr | None = None

    @property
    def is_interleaved(self) -> bool:
        """Whether the components of a channel lie side by side."""
        return self.dim > 1 and self.component_stride == 1 and self.channel_stride == self.dim

    def address(self, channel: Expr, component: int) -> Expr:
        """The last index of an element."""
        return self.start + channel * self.channel_stride + component * self.component_stride


@dataclass(frozen=True, slots=True)
class Channels:
    """Lanes of a channel axis inside a segment: channel = start + lane * stride."""

    start: Expr = 0
    stride: int = 1


def read_at(at: Location, block: Block, channels: Channels) -> list[Expr]:
    """The block's lanes of every component at a location, bound to variables."""
    first = channels.start + block.base * channels.stride
    if channels.stride == 1 and at.is_interleaved:
        start = at.address(first, 0)
        chunks = [
            T.bind(load(at.buffer, at.lead, start + q * block.width, block.width, valid))
            for q, valid in enumerate(_chunk_lengths(block, at.dim))
        ]
        return deinterleave(chunks, block.width)
    step = channels.stride * at.channel_stride
    return [
        T.bind(load_strided(at.buffer, at.lead, at.address(first, i), step, block))
        for i in range(at.dim)
    ]


def write_at(at: Location, block: Block, channels: Channels, values: Sequence[Expr]) -> None:
    """Stores the block's lanes of every component at a location."""
    values = [T.bind(value) for value in values]
    first = channels.start + block.base * channels.stride
    if channels.stride == 1 and at.is_interleaved:
        start = at.address(first, 0)
        chunks = interleave(values, block.width)
        for q, (chunk, valid) in enumerate(zip(chunks, _chunk_lengths(block, at.dim), strict=True)):
            _store(at, start + q * block.width, 1, chunk, replace(block, valid=valid))
        return
    step = channels.stride * at.channel_stride
    for i, value in enumerate(values):
        _store(at, at.address(first, i), step, value, block)


def _store(at: Location, address: Expr, step: int, value: Expr, block: Block) -> None:
    """Stores lanes `step` apart, past the cache where the location asks for it and that can be."""
    is_whole = step == 1 and block.valid >= block.width
    if at.is_large is None or not is_whole or not can_stream(at.buffer, address, block.width):
        store_strided(at.buffer, at.lead, address, step, value, block)
        return
    with T.If(at.is_large):
        with T.Then():
            stream(at.buffer, at.lead, address, value, block.width)
        with T.Else():
            store(at.buffer, at.lead, address, value, block.width, block.valid)


def _chunk_lengths(block: Block, dim: int) -> list[int]:
    """Valid elements in each of the `dim` vectors that hold a block in mul_ir memory."""
    elements = block.valid * dim
    return [max(0, min(block.width, elements - q * block.width)) for q in range(dim)]


def move(target: Location, source: Location, block: Block, *, add: bool = False) -> None:
    """Copies, or adds, the block's lanes of every component from one location to another."""
    values = read_at(source, block, Channels())
    if add:
        old = read_at(target, block, Channels())
        values = [a + b for a, b in zip(old, values, strict=True)]
    write_at(target, block, Channels(), values)


def in_lanes(operand: Operand) -> Operand:
    """The operand in ir_mul layout."""
    return replace(operand, layout="ir_mul")


def row_location(operand: Operand, segment: int, buffer: Any, row: Expr) -> Location:
    """Where a segment of a row of a matrix lies."""
    mul, dim = operand.segments[segment].mul, operand.segments[segment].dim
    strides = (dim, 1) if operand.layout == "mul_ir" else (1, mul)
    return Location(buffer, (row,), operand.offsets[segment], mul, dim, *strides)
