"""Where the values of a kernel live while a tile of rows is computed.

In: operand types and the buffers made for them. Out: blocks of lanes read from, and written or
added to, a segment, whatever its layout and memory. The first write of a segment in a tile stores,
later ones add; `finish` stores zeros where nothing was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Operand
from tvm_equi.lower.location import Channels, Location, read_at, write_at
from tvm_equi.lower.vector import Block, Expr, each_block, load, prefetch, store, zeros

LINE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Memory of one value.

    Args:
        operand: its type.
        buffer: the TensorIR buffer; flat [rows * dim] where `is_local`, else [rows, dim], or [dim]
            if shared.
        is_local: a temporary, whose rows are those of the tile.
        is_partial: a shared output: one row of partial sums for each chunk of rows, only ever
            added to.
        staged: (segment, flat buffer [rows * size]) of segments that the tile keeps in ir_mul
            layout of its own.
        is_sum: sums of the node whose edges are computed: one row, only ever added to.
        rows_last: the number of rows of the tile, for a temporary whose rows lie side by side,
            [dim * rows]; else 0.
        is_large: if given, whether an output is stored past the cache.
    """

    operand: Operand
    buffer: Any
    is_local: bool = False
    is_partial: bool = False
    is_sum: bool = False
    staged: tuple[tuple[int, Any], ...] = ()
    rows_last: int = 0
    is_large: Expr | None = None


class Storage:
    """Access to the values of a kernel for one tile of rows.

    Args:
        places: memory by value name.
        row: index of the first row of the tile.
        chunk: index of the chunk of rows that the tile belongs to.
        dtype: of all elements.
        ahead: how many rows ahead of their use operands are fetched into the cache; 0 for none.
    """

    def __init__(
        self, places: dict[str, Place], row: Expr, chunk: Expr, dtype: str, ahead: int = 0
    ) -> None:
        """Starts a tile in which nothing is written yet."""
        self.places, self.ahead = places, ahead
        self.row = row
        self.chunk = chunk
        self.dtype = dtype
        self._written: set[tuple[str, int]] = set()

    def rows_in_lanes(self) -> RowLanes:
        """The same tile, written state included, with rows in lanes."""
        view = RowLanes(self.places, self.row, self.chunk, self.dtype)
        view._written = self._written
        return view

    def operand(self, name: str) -> Operand:
        """The type of a value."""
        return self.places[name].operand

    def lead(self, rows: str, r: Expr) -> tuple[Expr, ...]:
        """The leading indices of row r of an argument."""
        return (self.row + r,) if rows == "row" else ()

    def locate(self, name: str, segment: int, r: Expr, *, in_place: bool = False) -> Location:
        """Where a segment of row r lies; `in_place` asks for the argument though it is staged."""
        place = self.places[name]
        operand = place.operand
        mul, dim = operand.segments[segment].mul, operand.segments[segment].dim
        staged = dict(place.staged)
        if segment in staged and not in_place:
            return Location(staged[segment], (), r * (mul * dim), mul, dim, 1, mul)
        offset: Expr = operand.offsets[segment]
        strides = (dim, 1) if operand.layout == "mul_ir" else (1, mul)
        if place.is_partial:
            return Location(place.buffer, (self.chunk,), offset, mul, dim, *strides)
        if place.rows_last:
            rows = place.rows_last
            strides = (strides[0] * rows, strides[1] * rows)
            return Location(place.buffer, (), offset * rows + r, mul, dim, *strides)
        if place.is_sum:
            return Location(place.buffer, (), offset, mul, dim, *strides)
        if place.is_local:
            return Location(place.buffer, (), r * operand.dim + offset, mul, dim, *strides)
        lead = self.lead(operand.rows, r)
        return Location(place.buffer, lead, offset, mul, dim, *strides, place.is_large)

    def scalar(self, name: str, segment: int, r: Expr, channel: Expr, component: int) -> Expr:
        """One element."""
        at = self.locate(name, segment, r)
        return at.buffer[(*at.lead, at.address(channel, component))]

    def store_scalar(
        self, name: str, segment: int, r: Expr, channel: Expr, component: int, value: Expr
    ) -> None:
        """Stores one element."""
        at = self.locate(name, segment, r)
        T.buffer_store(at.buffer, value, [*at.lead, at.address(channel, component)])

    def read(
        self, name: str, segment: int, r: Expr, block: Block, channels: Channels | None = None
    ) -> list[Expr]:
        """The block's lanes of every component of a segment, bound to variables."""
        return read_at(self.locate(name, segment, r), block, channels or Channels())

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
        at, channels = self.locate(name, segment, r), channels or Channels()
        if add:
            old = read_at(at, block, channels)
            values = [a + b for a, b in zip(old, values, strict=True)]
            at = replace(at, is_large=None)  # what was just read is in the cache
        write_at(at, block, channels, values)

    def upcoming(self, place: Place, r: Expr) -> Expr:
        """The row of an argument that is fetched while row r is computed."""
        return T.min(self.row + r + self.ahead, place.buffer.shape[0] - 1)

    def fetch(self, names: Sequence[str], r: Expr, part: Expr, num_parts: int) -> None:
        """Fetches a part of the rows of a later row into the cache.

        Parts of a row follow one another, so that the hardware sees few streams and joins in: it
        keeps more lines on their way than software can ask for.

        Args:
            names: arguments; those with fewer lines than parts are left out.
            r: row that is computed.
            part: number of the part.
            num_parts: of a row.
        """
        line = LINE_BYTES * 8 // int(self.dtype.removeprefix("float"))
        for name in names:
            place = self.places[name]
            lines = -(-place.operand.dim // line)
            for number in range(share := -(-lines // num_parts) if lines >= num_parts else 0):
                address = (part * share + number) * line
                prefetch(place.buffer, (self.upcoming(place, r), address))

    def running(self, name: str, segment: int) -> list[Expr] | None:
        """The sums so far of a segment that is kept in registers; None for any other."""
        del name, segment
        return None

    def stage(self, name: str, segment: int, r: Expr, lanes: int, *, into_argument: bool) -> None:
        """Copies a staged segment from its argument, or back into it."""
        source = self.locate(name, segment, r, in_place=not into_argument)
        target = self.locate(name, segment, r, in_place=into_argument)

        def emit(block: Block) -> None:
            write_at(target, block, Channels(), read_at(source, block, Channels()))

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
        at = self.locate(name, segment, r)
        self.mark(name, segment)
        if self.places[name].rows_last:
            for channel in range(at.mul):
                for i in range(at.dim):
                    zero = zeros(self.dtype, 1)
                    T.buffer_store(at.buffer, zero, [*at.lead, at.address(channel, i)])
            return

        def emit(block: Block) -> None:
            zero = zeros(self.dtype, block.width)
            store(at.buffer, at.lead, at.start + block.base, zero, block.width, block.valid)

        each_block(at.mul * at.dim, lanes, emit)

    def unwritten(self, name: str) -> list[int]:
        """Non-empty segments of a value that nothing has written yet."""
        segments = self.operand(name).segments
        return [
            index
            for index, segment in enumerate(segments)
            if segment.size and not self.adds(name, index)
        ]


class RowLanes(Storage):
    """The same values with the rows of a tile in lanes, for segments of one channel.

    Where irreps have a single channel, the lanes of a vector hold that many rows instead: a
    block's base is the first of its rows, relative to the tile.
    """

    def read(
        self, name: str, segment: int, r: Expr, block: Block, channels: Channels | None = None
    ) -> list[Expr]:
        """Every component of a segment of one channel, for the block's rows."""
        del channels
        return [
            T.bind(self._load(name, segment, r, block, i))
            for i in range(self.operand(name).segments[segment].dim)
        ]

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
        """Stores, or adds, every component of a segment of one channel, for the block's rows."""
        if add:
            old = self.read(name, segment, r, block)
            values = [a + b for a, b in zip(old, values, strict=True)]
        for i, value in enumerate(values):
            bound = T.bind(value)
            if self.places[name].rows_last:
                at = self.locate(name, segment, r + block.base)
                store(at.buffer, at.lead, at.address(0, i), bound, block.width, block.valid)
                continue
            for lane in range(block.valid):
                at = self.locate(name, segment, r + block.base + lane)
                scalar = bound if block.width == 1 else T.Shuffle([bound], [lane])
                T.buffer_store(at.buffer, scalar, [*at.lead, at.address(0, i)])

    def _load(self, name: str, segment: int, r: Expr, block: Block, component: int) -> Expr:
        if self.places[name].rows_last:
            at = self.locate(name, segment, r + block.base)
            return load(at.buffer, at.lead, at.address(0, component), block.width, block.valid)
        lanes = []
        for lane in range(block.valid):
            at = self.locate(name, segment, r + block.base + lane)
            lanes.append(at.buffer[(*at.lead, at.address(0, component))])
        lanes += [zeros(self.dtype, 1)] * (block.width - block.valid)
        return lanes[0] if block.width == 1 else T.Shuffle(lanes, list(range(block.width)))
