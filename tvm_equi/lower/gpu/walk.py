"""One launch that takes rows, or the edges of nodes, one after another; a thread per channel.

In: a launch and the buffers of its function. Out: TensorIR bound to blocks and threads. Which rows
a slot of threads takes is in `chunks.py`, what threads do together in `tile.py`, and the terms of a
row are in `terms.py`.

    block                       `slots` chunks; a chunk is some rows, or some segments of nodes
      for each segment          (one, unless a shared output is summed over all of the chunk)
        read the node's operands, zero its sums
        for each tile of rows
          combine tables; barrier
          for each row          the terms, in registers
          barrier; sum over lanes; barrier
        write the node's sums
      write the chunk's sums

Barriers stand where all threads of a block come by: every slot takes as many tiles as the longest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.gpu.chunks import Chunks
from tvm_equi.lower.gpu.launches import Walk, letters
from tvm_equi.lower.gpu.sums import Key, Registers, Scope, plan_sums
from tvm_equi.lower.gpu.terms import Terms
from tvm_equi.lower.gpu.tile import TileEmitter
from tvm_equi.lower.gpu.values import At, Letters, read, write
from tvm_equi.lower.vector import Expr

if TYPE_CHECKING:
    from tvm_equi.lower.gpu.lowering import GpuLowering


class WalkEmitter:
    """Emits one launch."""

    def __init__(self, lowering: GpuLowering, launch: Walk) -> None:
        """Plans sums, tiles and blocks."""
        self.lowering, self.launch = lowering, launch
        self.form = lowering.kernel.contractions[launch.contraction]
        self.memory, self.dtype = lowering.memory, lowering.memory.dtype
        self.sums = plan_sums(self.form, launch, self.memory.own)
        self.is_written = {key: lowering.is_written(key, launch) for key in self.sums}
        self.tiles = TileEmitter(lowering, launch, self.sums, self.is_written)
        self.shape = self.tiles.shape
        has_shared = any(s.scope == "all" for s in self.sums.values())
        self.chunks = Chunks(lowering, launch.by_node, has_shared, self.shape)

    def emit(self) -> None:
        """The launch."""
        shape, lowering = self.shape, self.lowering
        num_chunks = self.chunks.total
        blocks = T.ceildiv(num_chunks, shape.slots)
        with (
            T.thread_binding(0, blocks, thread="blockIdx.x") as block,
            T.thread_binding(0, shape.slots, thread="threadIdx.y") as slot,
            T.thread_binding(0, shape.lanes, thread="threadIdx.x") as lane,
            T.sblock(lowering.block_name(self.form.family)),
        ):
            T.reads()
            T.writes()
            self.slot, self.lane = slot, lane
            self.letters = Letters(self.launch.lane, lane + self.launch.start, self.launch.loop)
            self.registers = Registers(self.sums, self.dtype)
            self.tiles.allocate()
            self._emit_chunk(replace(self.chunks, block=block), num_chunks)

    def _emit_chunk(self, chunks: Chunks, num_chunks: Expr) -> None:
        chunk = T.bind(chunks.of(self.slot))
        is_chunk = chunk < num_chunks
        at = At(chunk=T.min(chunk, num_chunks - 1))
        self._start("all", at, is_chunk)
        if chunks.by_node and chunks.has_shared:
            count = T.bind(T.ceildiv(self.lowering.num_segments, num_chunks))
            with T.serial(0, count) as turn:
                self._emit_segment(replace(chunks, turn=turn, num_turns=count), at)
        else:
            self._emit_segment(chunks, at)
        self._finish("all", at, is_chunk)

    def _emit_segment(self, chunks: Chunks, at: At) -> None:
        """All rows of a segment."""
        lowering = self.lowering
        first, last = chunks.bounds(self.slot)
        is_node: Expr = tirx.const(True)
        if chunks.by_node:
            safe = T.min(chunks.segment(self.slot), lowering.num_segments - 1)
            node = T.bind(lowering.order["segment_nodes"][safe])
            part = T.bind(lowering.order["segment_parts"][safe])
            is_node = T.bind(tirx.all(chunks.has_segment(self.slot), node >= 0))
            at = replace(at, node=T.bind(T.max(node, 0)), part=part)
        self._start("node", at, is_node)
        tiles = self.tiles
        terms = Terms(
            self.form,
            self.launch,
            self.memory,
            self.sums,
            self.registers,
            None if tiles.plan is None else (tiles.plan, tiles.tables),
            self.is_written,
            exact=lowering.decisions.exact_constants,
        )
        self._read_node_inputs(terms, at)
        if not tiles.is_needed:
            with T.serial(0, last - first) as offset:
                self._emit_row(terms, chunks.row_at(T.bind(first + offset), at), 0)
        else:
            with T.serial(0, chunks.num_tiles(first, last)) as tile:
                start = T.bind(first + tile * self.shape.tile)
                thread = self.slot * self.shape.lanes + self.lane
                tiles.combine(chunks, tile, thread, self.letters)
                with T.serial(0, self.shape.tile) as q:
                    position = T.bind(start + q)
                    with T.If(position < last), T.Then():
                        self._emit_row(terms, chunks.row_at(position, at), q)
                tiles.sum_over_lanes(chunks, tile, thread)
        self._finish("node", at, is_node)

    def _emit_row(self, terms: Terms, at: At, q: Expr) -> None:
        """The terms of one row, and its sums in registers, written.

        Args:
            terms: of the launch.
            at: the row.
            q: its number in the tile.
        """
        self.registers.zero("row")
        terms.emit(at, self.letters, self.tiles.table_start(self.slot, q))
        for key, s in self.sums.items():
            if s.over_lanes:
                self.tiles.keep(key, self.registers.values(key), self.slot, q, self.lane)
            elif s.in_registers and s.scope == "row":
                self._write_sum(key, at)

    def _write_sum(self, key: Key, at: At) -> None:
        """Stores or adds a sum that registers hold."""
        s = self.sums[key]
        channel = self.letters.channel(self.form.paths[s.path], s.channels)
        values = self.registers.values(key)
        write(self.memory, *key, channel, at, values, add=self.is_written[key])

    def _start(self, scope: Scope, at: At, is_there: Expr) -> None:
        """Zeros the sums of a scope."""
        self.registers.zero(scope)
        for key, s in self.sums.items():
            if s.scope == scope and not s.in_registers and not self.is_written[key]:
                path = self.form.paths[s.path]
                with T.If(is_there), T.Then(), T.serial(0, path.extent(self.launch.loop)) as o:
                    channel = self.letters.at(o).channel(path, s.channels)
                    zeros = [tirx.FloatImm(self.dtype, 0.0)] * s.dim
                    write(self.memory, *key, channel, at, zeros)

    def _finish(self, scope: Scope, at: At, is_there: Expr) -> None:
        """Writes the sums of a scope."""
        keys = [key for key, s in self.sums.items() if s.scope == scope and s.in_registers]
        if keys:
            with T.If(is_there), T.Then():
                for key in keys:
                    self._write_sum(key, at)

    def _read_node_inputs(self, terms: Terms, at: At) -> None:
        """Keeps operands of the node in registers, as far as there is room."""
        room = self.lowering.decisions.node_inputs
        for item in self.launch.items:
            path = self.form.paths[item.path]
            for slot, name in enumerate(item.step.operands):
                operand, segment = self.memory.operands[name], path.segments[slot]
                is_own = self.launch.by_node and operand.rows == self.memory.own
                is_laned = letters(path, path.channels[slot]) == (self.launch.lane,)
                if slot == item.step.output or not is_own or not is_laned:
                    continue
                if (name, segment) in terms.node_values:
                    continue
                dim = operand.segments[segment].dim
                if dim <= room:
                    room -= dim
                    channel = self.letters.channel(path, path.channels[slot])
                    found = read(self.memory, name, segment, channel, at)
                    terms.node_values[name, segment] = found
