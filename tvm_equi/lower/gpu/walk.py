"""One launch that takes rows, or the edges of nodes, one after another; a thread per channel.

In: a launch and the buffers of its function. Out: TensorIR bound to blocks and threads.

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

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.gpu.launches import Walk, letters
from tvm_equi.lower.gpu.scalars import barrier, num_bytes
from tvm_equi.lower.gpu.shape import shape
from tvm_equi.lower.gpu.sums import Key, Registers, Scope, plan_sums
from tvm_equi.lower.gpu.tables import TablePlan, emit_tables
from tvm_equi.lower.gpu.terms import Terms
from tvm_equi.lower.gpu.values import At, Letters, load, read, save, write
from tvm_equi.lower.roles import Roles
from tvm_equi.lower.vector import Expr

if TYPE_CHECKING:
    from tvm_equi.lower.gpu.lowering import GpuLowering


class WalkEmitter:
    """Emits one launch."""

    def __init__(self, lowering: GpuLowering, launch: Walk) -> None:
        """Plans tables, sums and blocks."""
        self.lowering, self.launch = lowering, launch
        self.form = lowering.kernel.contractions[launch.contraction]
        self.memory, self.dtype = lowering.memory, lowering.memory.dtype
        self.sums = plan_sums(self.form, launch, self.memory.own)
        self.laned = {key: s for key, s in self.sums.items() if s.over_lanes}
        self.num_sums = sum(s.dim for s in self.laned.values())
        plan = self._table_plan()
        self.shape = shape(
            launch.lanes,
            plan.entries if plan else 0,
            self.num_sums,
            num_bytes(self.dtype),
            lowering.decisions,
        )
        self.plan = plan if self.shape.has_tables else None
        self.is_written = {key: lowering.is_written(key, launch) for key in self.sums}
        self.has_shared = any(s.scope == "all" for s in self.sums.values())
        self.is_tiled = self.plan is not None or bool(self.laned)

    def _table_plan(self) -> TablePlan | None:
        """Tables of the operands that are the same for all lanes."""
        roles: dict[int, Roles] = {}
        keys: dict[tuple[int, str], None] = {}
        if self.form.family != "couple":
            return None
        for item in self.launch.items:
            path = self.form.paths[item.path]
            found = roles.setdefault(item.path, Roles(self.form, path, wanted=self.launch.lane))
            if item.step.output != found.common and not found.common_has_lanes:
                keys[item.path, item.step.operands[found.common]] = None
        if not keys:
            return None
        path = self.form.paths[self.launch.items[0].path]
        loop = path.extent(self.launch.loop) if self.launch.loop else 1
        return TablePlan(self.form, roles, tuple(keys), loop, self.dtype)

    def emit(self) -> None:
        """The launch."""
        shape, lowering = self.shape, self.lowering
        num_chunks = self._num_chunks()
        blocks = T.ceildiv(num_chunks, shape.slots)
        with (
            T.thread_binding(0, blocks, thread="blockIdx.x") as block,
            T.thread_binding(0, shape.slots, thread="threadIdx.y") as slot,
            T.thread_binding(0, shape.lanes, thread="threadIdx.x") as lane,
            T.sblock(lowering.block_name(self.form.family)),
        ):
            T.reads()
            T.writes()
            self.block, self.slot, self.lane = block, slot, lane
            self.letters = Letters(self.launch.lane, lane + self.launch.start, self.launch.loop)
            self.registers = Registers(self.sums, self.dtype)
            self._allocate_shared()
            self._emit_chunk(num_chunks)

    def _num_chunks(self) -> Expr:
        if self.has_shared:
            return self.lowering.num_chunks
        if self.launch.by_node:
            return self.lowering.num_segments
        return T.ceildiv(self.lowering.num_rows, self.shape.tile)

    def _allocate_shared(self) -> None:
        """Shared memory for tables and sums over lanes."""
        rows = self.shape.slots * self.shape.tile
        self.tables: Any = None
        self.partial: Any = None
        if self.plan is not None:
            size = rows * self.plan.entries
            self.tables = T.alloc_buffer((size,), self.dtype, scope="shared")
        if self.laned:
            size = rows * self.num_sums * self.shape.sum_stride
            self.partial = T.alloc_buffer((size,), self.dtype, scope="shared")

    def _emit_chunk(self, num_chunks: Expr) -> None:
        chunk = T.bind(self._chunk_of(self.slot))
        is_chunk = chunk < num_chunks
        self.at = At(chunk=T.min(chunk, num_chunks - 1))
        self._start("all", is_chunk)
        if self.launch.by_node and self.has_shared:
            count = T.bind(T.ceildiv(self.lowering.num_segments, num_chunks))
            with T.serial(0, count) as index:
                self._emit_segment(index, count)
        else:
            self._emit_segment(0, 1)
        self._finish("all", is_chunk)

    def _chunk_of(self, slot: Expr) -> Expr:
        """The chunk of a slot."""
        return T.cast(self.block, "int64") * self.shape.slots + slot

    def _segment_of(self, slot: Expr, index: Expr, count: Expr) -> Expr:
        """The segment of a node that a slot is at."""
        return self._chunk_of(slot) * count + index

    def _bounds(self, slot: Expr, index: Expr, count: Expr) -> tuple[Expr, Expr]:
        """The first and last position of a slot's rows; equal where it has none."""
        lowering = self.lowering
        if not self.launch.by_node:
            size: Expr = self.shape.tile
            if self.has_shared:
                size = T.ceildiv(lowering.num_rows, lowering.num_chunks)
            first = T.min(self._chunk_of(slot) * size, lowering.num_rows)
            return T.bind(first), T.bind(T.min(first + size, lowering.num_rows))
        segment = self._segment_of(slot, index, count)
        safe = T.min(segment, lowering.num_segments - 1)
        starts = lowering.order["segment_starts"]
        first = T.bind(starts[safe])
        is_there = tirx.all(segment < lowering.num_segments, self._is_own(slot))
        return first, T.bind(T.Select(is_there, starts[safe + 1], first))

    def _is_own(self, slot: Expr) -> Expr:
        """Whether the slot's chunk is one."""
        return self._chunk_of(slot) < self._num_chunks()

    def _emit_segment(self, index: Expr, count: Expr) -> None:
        """All rows of a segment."""
        lowering = self.lowering
        first, last = self._bounds(self.slot, index, count)
        is_node: Expr = tirx.const(True)
        if self.launch.by_node:
            segment = self._segment_of(self.slot, index, count)
            safe = T.min(segment, lowering.num_segments - 1)
            node = T.bind(lowering.order["segment_nodes"][safe])
            part = T.bind(lowering.order["segment_parts"][safe])
            is_node = T.bind(
                tirx.all(segment < lowering.num_segments, self._is_own(self.slot), node >= 0)
            )
            self.at = replace(self.at, node=T.bind(T.max(node, 0)), part=part)
        self._start("node", is_node)
        terms = Terms(
            self.form,
            self.launch,
            self.memory,
            self.sums,
            self.registers,
            None if self.plan is None else (self.plan, self.tables),
            self.is_written,
            exact=lowering.decisions.exact_constants,
        )
        self._read_node_inputs(terms)
        if not self.is_tiled:
            with T.serial(0, last - first) as offset:
                self._emit_row(terms, T.bind(first + offset), 0)
        else:
            with T.serial(0, self._num_tiles(first, last, index, count)) as tile:
                start = T.bind(first + tile * self.shape.tile)
                self._emit_tile(terms, tile, start, last, index, count)
        self._finish("node", is_node)

    def _num_tiles(self, first: Expr, last: Expr, index: Expr, count: Expr) -> Expr:
        """Tiles of the longest slot of the block."""
        tile, slots = self.shape.tile, self.shape.slots
        if not self.launch.by_node:
            if not self.has_shared:
                return 1
            size = T.ceildiv(self.lowering.num_rows, self.lowering.num_chunks)
            return T.ceildiv(size, tile)
        if slots == 1:
            return T.ceildiv(last - first, tile)
        longest = T.alloc_buffer((1,), "int64", scope="local")
        T.buffer_store(longest, tirx.IntImm("int64", 0), [0])
        with T.serial(0, slots) as slot:
            low, high = self._bounds(slot, index, count)
            T.buffer_store(longest, T.max(longest[0], high - low), [0])
        return T.ceildiv(T.bind(longest[0]), tile)

    def _emit_tile(
        self, terms: Terms, tile: Expr, start: Expr, last: Expr, index: Expr, count: Expr
    ) -> None:
        """Tables, terms and sums over lanes of one tile."""
        if self.plan is not None:
            barrier()  # the tile before may still be read
            self._each_row(lambda *row: self._combine(self.plan, *row), tile, index, count)
            barrier()
        with T.serial(0, self.shape.tile) as q:
            position = T.bind(start + q)
            with T.If(position < last), T.Then():
                self._emit_row(terms, position, q)
        if self.laned:
            barrier()
            self._sum_over_lanes(tile, index, count)
            barrier()

    def _row_at(self, position: Expr, node: Expr) -> At:
        """The row or edge at a position."""
        if not self.launch.by_node:
            return replace(self.at, row=position)
        order = self.lowering.order
        row, other = T.bind(order["edges"][position]), T.bind(order["others"][position])
        return replace(self.at, row=row, other=other, node=node)

    def _emit_row(self, terms: Terms, position: Expr, q: Expr) -> None:
        """The terms of one row, and its sums in registers, written."""
        at = self._row_at(position, self.at.node)
        self.registers.zero("row")
        table_start: Expr = 0
        if self.plan is not None:
            table_start = T.bind((self.slot * self.shape.tile + q) * self.plan.entries)
        terms.emit(at, self.letters, table_start)
        base = 0
        for key, s in self.sums.items():
            if s.over_lanes:
                row = (self.slot * self.shape.tile + q) * self.num_sums + base
                for k, value in enumerate(self.registers.values(key)):
                    where = (row + k) * self.shape.sum_stride + self.lane
                    T.buffer_store(self.partial, value, [where])
                base += s.dim
            elif s.in_registers and s.scope == "row":
                self._write_sum(key, at)

    def _write_sum(self, key: Key, at: At) -> None:
        """Stores or adds a sum that registers hold."""
        s = self.sums[key]
        channel = self.letters.channel(self.form.paths[s.path], s.channels)
        values = self.registers.values(key)
        write(self.memory, *key, channel, at, values, add=self.is_written[key])

    def _start(self, scope: Scope, is_there: Expr) -> None:
        """Zeros the sums of a scope."""
        self.registers.zero(scope)
        for key, s in self.sums.items():
            if s.scope == scope and not s.in_registers and not self.is_written[key]:
                path = self.form.paths[s.path]
                with T.If(is_there), T.Then(), T.serial(0, path.extent(self.launch.loop)) as o:
                    channel = self.letters.at(o).channel(path, s.channels)
                    zeros = [tirx.FloatImm(self.dtype, 0.0)] * s.dim
                    write(self.memory, *key, channel, self.at, zeros)

    def _finish(self, scope: Scope, is_there: Expr) -> None:
        """Writes the sums of a scope."""
        keys = [key for key, s in self.sums.items() if s.scope == scope and s.in_registers]
        if keys:
            with T.If(is_there), T.Then():
                for key in keys:
                    self._write_sum(key, self.at)

    def _read_node_inputs(self, terms: Terms) -> None:
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
                    found = read(self.memory, name, segment, channel, self.at)
                    terms.node_values[name, segment] = found

    def _each_row(
        self, emit: Callable[[Expr, Expr, At, Expr], None], tile: Expr, index: Expr, count: Expr
    ) -> None:
        """Hands out the rows of all slots to the threads of the block.

        `emit(worker, number, at, num_workers)`: the row's place among those of the block, and which
        of the threads of the row this is.
        """
        shape = self.shape
        num_rows = shape.slots * shape.tile
        thread = T.bind(self.slot * shape.lanes + self.lane)
        workers = max(1, shape.threads // num_rows)
        rounds = -(-num_rows // shape.threads)
        with T.serial(0, rounds) if rounds > 1 else nullcontext(0) as round_:
            number = T.bind(thread % num_rows if rounds == 1 else thread + round_ * shape.threads)
            slot = T.bind(number // shape.tile)
            first, last = self._bounds(slot, index, count)
            position = T.bind(first + tile * shape.tile + number % shape.tile)
            worker = T.bind(thread // num_rows) if rounds == 1 else 0
            is_row = position < last
            if rounds > 1:
                is_row = tirx.all(number < num_rows, is_row)
            with T.If(is_row), T.Then():
                node = 0
                if self.launch.by_node:
                    segment = self._segment_of(slot, index, count)
                    node = T.max(self.lowering.order["segment_nodes"][segment], 0)
                emit(worker, number, self._row_at(position, node), workers)

    def _combine(
        self, plan: TablePlan | None, worker: Expr, number: Expr, at: At, workers: int
    ) -> None:
        """The tables of one row, shared out over its threads."""
        if plan is None:
            return
        parts = plan.parts(workers)
        start = T.bind(number * plan.entries)
        exact = self.lowering.decisions.exact_constants
        for which, keys in enumerate(parts):
            is_mine = worker == which if len(parts) > 1 else tirx.const(True)
            with T.If(is_mine), T.Then():
                emit_tables(
                    plan, keys, self.tables, start, self.memory, self.letters, at, exact=exact
                )

    def _sum_over_lanes(self, tile: Expr, index: Expr, count: Expr) -> None:
        """Adds up lanes, in their order, one sum per thread."""
        shape = self.shape
        total = shape.slots * shape.tile * self.num_sums
        thread = T.bind(self.slot * shape.lanes + self.lane)
        with T.serial(0, -(-total // shape.threads)) as round_:
            which = T.bind(thread + round_ * shape.threads)
            with T.If(which < total), T.Then():
                number = T.bind(which // self.num_sums)
                slot = T.bind(number // shape.tile)
                first, last = self._bounds(slot, index, count)
                position = T.bind(first + tile * shape.tile + number % shape.tile)
                with T.If(position < last), T.Then():
                    self._write_lane_sum(which, position)

    def _write_lane_sum(self, which: Expr, position: Expr) -> None:
        """One sum over lanes."""
        result = T.alloc_buffer((1,), self.dtype, scope="local")
        T.buffer_store(result, tirx.FloatImm(self.dtype, 0.0), [0])
        with T.serial(0, self.shape.lanes) as lane:
            where = which * self.shape.sum_stride + lane
            T.buffer_store(result, result[0] + self.partial[where], [0])
        at = self._row_at(position, 0)
        of_row = T.bind(which % self.num_sums)
        base = 0
        for key, s in self.laned.items():
            operand = self.memory.operands[key[0]]
            inside = tirx.all(of_row >= base, of_row < base + s.dim)
            with T.If(inside), T.Then():
                buffer = self.memory.buffers[key[0]]
                place = (at.row, operand.offsets[key[1]] + of_row - base)
                value = result[0]
                if self.is_written[key]:
                    value = load(buffer, place, self.dtype) + value
                save(buffer, place, value, self.dtype)
            base += s.dim
