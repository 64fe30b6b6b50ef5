"""Where the values of a kernel live while a tile of rows is computed, and how channels are addressed there.

In: operand types and the buffers made for them. Out: blocks of lanes read from, and written or added to, a segment,
whatever its layout and memory. The first write of a segment in a tile stores, later ones add; `finish` stores zeros
where nothing was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Operand
from tvm_equi.lower.vector import (
    Block,
    Expr,
    deinterleave,
    each_block,
    interleave,
    load,
    load_strided,
    store,
    store_strided,
    zeros,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Memory of one value.

    Args:
        operand: its type.
        buffer: the TensorIR buffer; flat [rows * dim] where `is_local`, else [rows, dim], or [dim] if shared.
        is_local: a temporary, whose rows are those of the tile.
        is_partial: a shared output: one row of partial sums for each chunk of rows, only ever added to.
    """

    operand: Operand
    buffer: Any
    is_local: bool = False
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Channels:
    """Lanes of a channel axis inside a segment: channel = start + lane * stride."""

    start: Expr = 0
    stride: int = 1


class Storage:
    """Access to the values of a kernel for one tile of rows.

    Args:
        places: memory by value name.
        row: index of the first row of the tile.
        chunk: index of the chunk of rows that the tile belongs to.
        dtype: of all elements.
    """

    def __init__(self, places: dict[str, Place], row: Expr, chunk: Expr, dtype: str) -> None:
        """Starts a tile in which nothing is written yet."""
        self.places = places
        self.row = row
        self.chunk = chunk
        self.dtype = dtype
        self._written: set[tuple[str, int]] = set()

    def operand(self, name: str) -> Operand:
        """The type of a value."""
        return self.places[name].operand

    def _lead(self, name: str, r: Expr) -> tuple[Sequence[Expr], Expr]:
        """Leading indices of the tile's row r, and what is added to addresses."""
        place = self.places[name]
        if place.is_partial:
            return (self.chunk,), 0
        if place.is_local:
            return (), r * place.operand.dim
        return ((), 0) if place.operand.rows == "shared" else ((self.row + r,), 0)

    def _address(self, name: str, segment: int, channel: Expr, component: int) -> Expr:
        operand = self.operand(name)
        offset, seg = operand.offsets[segment], operand.segments[segment]
        if operand.layout == "mul_ir":
            return offset + channel * seg.dim + component
        return offset + component * seg.mul + channel

    def scalar(self, name: str, segment: int, r: Expr, channel: Expr, component: int) -> Expr:
        """One element."""
        lead, shift = self._lead(name, r)
        address = self._address(name, segment, channel, component)
        return self.places[name].buffer[(*lead, shift + address)]

    def store_scalar(
        self, name: str, segment: int, r: Expr, channel: Expr, component: int, value: Expr
    ) -> None:
        """Stores one element."""
        lead, shift = self._lead(name, r)
        address = self._address(name, segment, channel, component)
        T.buffer_store(self.places[name].buffer, value, [*lead, shift + address])

    def read(
        self, name: str, segment: int, r: Expr, block: Block, channels: Channels | None = None
    ) -> list[Expr]:
        """The block's lanes of every component of a segment, bound to variables."""
        channels = channels or Channels()
        operand, buffer = self.operand(name), self.places[name].buffer
        dim, interleaved = self._shape(operand, segment)
        lead, shift = self._lead(name, r)
        first = channels.start + block.base * channels.stride
        if channels.stride == 1 and interleaved:
            start = shift + self._address(name, segment, first, 0)
            chunks = [
                T.bind(load(buffer, lead, start + q * block.width, block.width, valid))
                for q, valid in enumerate(_chunk_lengths(block, dim))
            ]
            return deinterleave(chunks, block.width)
        addresses = [shift + self._address(name, segment, first, i) for i in range(dim)]
        if channels.stride == 1 and not interleaved:
            return [T.bind(load(buffer, lead, a, block.width, block.valid)) for a in addresses]
        step = channels.stride * (operand.segments[segment].dim if interleaved else 1)
        return [T.bind(load_strided(buffer, lead, a, step, block)) for a in addresses]

    def write(
        self,
        name: str,
        segment: int,
        r: Expr,
        block: Block,
        values: Sequence[Expr],
        *,
        add: bool,
        channels: Channels | None = None,
    ) -> None:
        """Stores, or adds, the block's lanes of every component of a segment."""
        channels = channels or Channels()
        operand, buffer = self.operand(name), self.places[name].buffer
        dim, interleaved = self._shape(operand, segment)
        if add:
            old = self.read(name, segment, r, block, channels)
            values = [a + b for a, b in zip(old, values, strict=True)]
        values = [T.bind(value) for value in values]
        lead, shift = self._lead(name, r)
        first = channels.start + block.base * channels.stride
        if channels.stride == 1 and interleaved:
            start = shift + self._address(name, segment, first, 0)
            chunks = interleave(values, block.width)
            for q, (chunk, valid) in enumerate(
                zip(chunks, _chunk_lengths(block, dim), strict=True)
            ):
                store(buffer, lead, start + q * block.width, chunk, block.width, valid)
            return
        step = channels.stride * (operand.segments[segment].dim if interleaved else 1)
        for i, value in enumerate(values):
            address = shift + self._address(name, segment, first, i)
            if channels.stride == 1 and not interleaved:
                store(buffer, lead, address, value, block.width, block.valid)
            else:
                store_strided(buffer, lead, address, step, value, block)

    @staticmethod
    def _shape(operand: Operand, segment: int) -> tuple[int, bool]:
        """Components of a segment, and whether they lie between its channels."""
        dim = operand.segments[segment].dim
        return dim, operand.layout == "mul_ir" and dim > 1

    def adds(self, name: str, segment: int) -> bool:
        """Whether the next whole write of a segment must add to what is there."""
        return self.places[name].is_partial or (name, segment) in self._written

    def mark(self, name: str, segment: int) -> None:
        """Notes that a whole segment is written."""
        self._written.add((name, segment))

    def fill(self, name: str, segment: int, r: Expr, lanes: int) -> None:
        """Stores zeros to a whole segment, unless something is there already."""
        place = self.places[name]
        if self.adds(name, segment):
            return
        lead, shift = self._lead(name, r)
        start = shift + place.operand.offsets[segment]
        size = place.operand.segments[segment].size

        def emit(block: Block) -> None:
            zero = zeros(self.dtype, block.width)
            store(place.buffer, lead, start + block.base, zero, block.width, block.valid)

        each_block(size, lanes, emit)
        self.mark(name, segment)

    def unwritten(self, name: str) -> list[int]:
        """Non-empty segments of a value that nothing has written yet."""
        segments = self.operand(name).segments
        return [
            index
            for index, segment in enumerate(segments)
            if segment.size and not self.adds(name, index)
        ]


def _chunk_lengths(block: Block, dim: int) -> list[int]:
    """Valid elements in each of the `dim` vectors that hold a block in mul_ir memory."""
    elements = block.valid * dim
    return [max(0, min(block.width, elements - q * block.width)) for q in range(dim)]
