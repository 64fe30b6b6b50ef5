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
        staged: (segment, flat buffer [rows * size]) of segments that the tile keeps in ir_mul layout of its own.
    """

    operand: Operand
    buffer: Any
    is_local: bool = False
    is_partial: bool = False
    staged: tuple[tuple[int, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class _Location:
    """Where a segment lies for one row: element (channel, component) is buffer[lead, start + ...]."""

    buffer: Any
    lead: tuple[Expr, ...]
    start: Expr
    mul: int
    dim: int
    is_interleaved: bool

    def address(self, channel: Expr, component: int) -> Expr:
        """The last index of an element."""
        if self.is_interleaved:
            return self.start + channel * self.dim + component
        return self.start + component * self.mul + channel


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

    def _locate(self, name: str, segment: int, r: Expr, *, in_place: bool = False) -> _Location:
        """Where a segment of the tile's row r lies; `in_place` means the argument, staged or not."""
        place = self.places[name]
        operand = place.operand
        mul, dim = operand.segments[segment].mul, operand.segments[segment].dim
        staged = dict(place.staged)
        if segment in staged and not in_place:
            return _Location(staged[segment], (), r * (mul * dim), mul, dim, is_interleaved=False)
        lead: tuple[Expr, ...] = ()
        start: Expr = operand.offsets[segment]
        if place.is_partial:
            lead = (self.chunk,)
        elif place.is_local:
            start = r * operand.dim + start
        elif operand.rows == "row":
            lead = (self.row + r,)
        is_interleaved = operand.layout == "mul_ir" and dim > 1
        return _Location(place.buffer, lead, start, mul, dim, is_interleaved)

    def scalar(self, name: str, segment: int, r: Expr, channel: Expr, component: int) -> Expr:
        """One element."""
        at = self._locate(name, segment, r)
        return at.buffer[(*at.lead, at.address(channel, component))]

    def store_scalar(
        self, name: str, segment: int, r: Expr, channel: Expr, component: int, value: Expr
    ) -> None:
        """Stores one element."""
        at = self._locate(name, segment, r)
        T.buffer_store(at.buffer, value, [*at.lead, at.address(channel, component)])

    def read(
        self, name: str, segment: int, r: Expr, block: Block, channels: Channels | None = None
    ) -> list[Expr]:
        """The block's lanes of every component of a segment, bound to variables."""
        return _read(self._locate(name, segment, r), block, channels or Channels())

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
        at, channels = self._locate(name, segment, r), channels or Channels()
        if add:
            old = _read(at, block, channels)
            values = [a + b for a, b in zip(old, values, strict=True)]
        _write(at, block, channels, values)

    def stage(self, name: str, segment: int, r: Expr, lanes: int, *, into_argument: bool) -> None:
        """Copies a staged segment from its argument, or back into it."""
        source = self._locate(name, segment, r, in_place=not into_argument)
        target = self._locate(name, segment, r, in_place=into_argument)

        def emit(block: Block) -> None:
            _write(target, block, Channels(), _read(source, block, Channels()))

        each_block(source.mul, lanes, emit)

    def adds(self, name: str, segment: int) -> bool:
        """Whether the next whole write of a segment must add to what is there."""
        return self.places[name].is_partial or (name, segment) in self._written

    def mark(self, name: str, segment: int) -> None:
        """Notes that a whole segment is written."""
        self._written.add((name, segment))

    def fill(self, name: str, segment: int, r: Expr, lanes: int) -> None:
        """Stores zeros to a whole segment, unless something is there already."""
        if self.adds(name, segment):
            return
        at = self._locate(name, segment, r)

        def emit(block: Block) -> None:
            zero = zeros(self.dtype, block.width)
            store(at.buffer, at.lead, at.start + block.base, zero, block.width, block.valid)

        each_block(at.mul * at.dim, lanes, emit)
        self.mark(name, segment)

    def unwritten(self, name: str) -> list[int]:
        """Non-empty segments of a value that nothing has written yet."""
        segments = self.operand(name).segments
        return [
            index
            for index, segment in enumerate(segments)
            if segment.size and not self.adds(name, index)
        ]


def _read(at: _Location, block: Block, channels: Channels) -> list[Expr]:
    first = channels.start + block.base * channels.stride
    if channels.stride == 1 and at.is_interleaved:
        start = at.address(first, 0)
        chunks = [
            T.bind(load(at.buffer, at.lead, start + q * block.width, block.width, valid))
            for q, valid in enumerate(_chunk_lengths(block, at.dim))
        ]
        return deinterleave(chunks, block.width)
    addresses = [at.address(first, i) for i in range(at.dim)]
    if channels.stride == 1:
        return [
            T.bind(load(at.buffer, at.lead, address, block.width, block.valid))
            for address in addresses
        ]
    step = channels.stride * (at.dim if at.is_interleaved else 1)
    return [T.bind(load_strided(at.buffer, at.lead, a, step, block)) for a in addresses]


def _write(at: _Location, block: Block, channels: Channels, values: Sequence[Expr]) -> None:
    values = [T.bind(value) for value in values]
    first = channels.start + block.base * channels.stride
    if channels.stride == 1 and at.is_interleaved:
        start = at.address(first, 0)
        chunks = interleave(values, block.width)
        for q, (chunk, valid) in enumerate(zip(chunks, _chunk_lengths(block, at.dim), strict=True)):
            store(at.buffer, at.lead, start + q * block.width, chunk, block.width, valid)
        return
    step = channels.stride * (at.dim if at.is_interleaved else 1)
    for i, value in enumerate(values):
        address = at.address(first, i)
        if channels.stride == 1:
            store(at.buffer, at.lead, address, value, block.width, block.valid)
        else:
            store_strided(at.buffer, at.lead, address, step, value, block)


def _chunk_lengths(block: Block, dim: int) -> list[int]:
    """Valid elements in each of the `dim` vectors that hold a block in mul_ir memory."""
    elements = block.valid * dim
    return [max(0, min(block.width, elements - q * block.width)) for q in range(dim)]
