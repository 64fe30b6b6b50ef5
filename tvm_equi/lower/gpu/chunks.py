"""Which rows, or edges of which nodes, each slot of a block takes.

In: a launch, the shape of its blocks, and the number of the block. Out: TensorIR of row numbers.

    slot        of a block: threads that work on the same row
    chunk       what a slot takes: rows, or segments of nodes
    turn        number of the segment in its chunk, where a chunk has several
    position    number of a row; of an edge, its number in the order of the nodes
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.gpu.shape import Shape
from tvm_equi.lower.gpu.values import At
from tvm_equi.lower.vector import Expr

if TYPE_CHECKING:
    from tvm_equi.lower.gpu.lowering import GpuLowering


@dataclass(frozen=True)
class Chunks:
    """The chunks of a launch.

    Args:
        lowering: of the function.
        by_node: whether edges are taken node by node.
        has_shared: whether a shared output is summed over all of a chunk, so that the caller
            chooses the number of chunks.
        shape: of the blocks.
        block: the number of the block.
        turn: the segment at hand, of those of the chunk.
        num_turns: segments of a chunk.
    """

    lowering: GpuLowering
    by_node: bool
    has_shared: bool
    shape: Shape
    block: Expr = 0
    turn: Expr = 0
    num_turns: Expr = 1

    @property
    def total(self) -> Expr:
        """Chunks of the launch."""
        if self.has_shared:
            return self.lowering.num_chunks
        if self.by_node:
            return self.lowering.num_segments
        return T.ceildiv(self.lowering.num_rows, self.shape.tile)

    def of(self, slot: Expr) -> Expr:
        """The chunk of a slot."""
        return T.cast(self.block, "int64") * self.shape.slots + slot

    def segment(self, slot: Expr) -> Expr:
        """The segment of a node that a slot is at."""
        return self.of(slot) * self.num_turns + self.turn

    def has_segment(self, slot: Expr) -> Expr:
        """Whether there is that segment, and it is in the slot's chunk."""
        is_chunk = self.of(slot) < self.total
        return tirx.all(self.segment(slot) < self.lowering.num_segments, is_chunk)

    def bounds(self, slot: Expr) -> tuple[Expr, Expr]:
        """The first position of a slot's rows and the one past the last; equal if there is none."""
        lowering = self.lowering
        if not self.by_node:
            size: Expr = self.shape.tile
            if self.has_shared:
                size = T.ceildiv(lowering.num_rows, lowering.num_chunks)
            first = T.min(self.of(slot) * size, lowering.num_rows)
            return T.bind(first), T.bind(T.min(first + size, lowering.num_rows))
        safe = T.min(self.segment(slot), lowering.num_segments - 1)
        starts = lowering.order["segment_starts"]
        first = T.bind(starts[safe])
        return first, T.bind(T.Select(self.has_segment(slot), starts[safe + 1], first))

    def num_tiles(self, first: Expr, last: Expr) -> Expr:
        """Tiles of the longest slot of the block, given the bounds of the thread's own."""
        tile, slots = self.shape.tile, self.shape.slots
        if not self.by_node:
            if not self.has_shared:
                return 1
            size = T.ceildiv(self.lowering.num_rows, self.lowering.num_chunks)
            return T.ceildiv(size, tile)
        if slots == 1:
            return T.ceildiv(last - first, tile)
        longest = T.alloc_buffer((1,), "int64", scope="local")
        T.buffer_store(longest, tirx.IntImm("int64", 0), [0])
        with T.serial(0, slots) as slot:
            low, high = self.bounds(slot)
            T.buffer_store(longest, T.max(longest[0], high - low), [0])
        return T.ceildiv(T.bind(longest[0]), tile)

    def row_at(self, position: Expr, at: At) -> At:
        """The row or edge at a position.

        Args:
            position: of it.
            at: the node and the chunk.
        """
        if not self.by_node:
            return replace(at, row=position)
        order = self.lowering.order
        row, other = T.bind(order["edges"][position]), T.bind(order["others"][position])
        return replace(at, row=row, other=other)
