"""What the threads of a block do together for a tile of rows, in shared memory.

In: the operands and sums of a launch. Out: TensorIR that combines tables before the terms of the
rows, and adds up sums over lanes after them. Each thread takes what is another's too, so barriers
stand before and after.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Contraction
from tvm_equi.lower.gpu.chunks import Chunks
from tvm_equi.lower.gpu.launches import Walk
from tvm_equi.lower.gpu.scalars import barrier, num_bytes
from tvm_equi.lower.gpu.shape import shape
from tvm_equi.lower.gpu.sums import Key, Sum
from tvm_equi.lower.gpu.tables import TablePlan, emit_tables
from tvm_equi.lower.gpu.values import At, Letters, load, save
from tvm_equi.lower.roles import Roles
from tvm_equi.lower.vector import Expr

if TYPE_CHECKING:
    from tvm_equi.lower.gpu.lowering import GpuLowering


def table_plan(form: Contraction, launch: Walk, dtype: str) -> TablePlan | None:
    """Tables of the operands that are the same for all lanes, if there are any.

    Args:
        form: the contraction.
        launch: the launch.
        dtype: of sums.
    """
    roles: dict[int, Roles] = {}
    keys: dict[tuple[int, str], None] = {}
    if form.family != "couple":
        return None
    for item in launch.items:
        path = form.paths[item.path]
        found = roles.setdefault(item.path, Roles(form, path, wanted=launch.lane))
        if item.step.output != found.common and not found.common_has_lanes:
            keys[item.path, item.step.operands[found.common]] = None
    if not keys:
        return None
    path = form.paths[launch.items[0].path]
    loop = path.extent(launch.loop) if launch.loop else 1
    return TablePlan(form, roles, tuple(keys), loop, dtype)


class TileEmitter:
    """Shared memory of a launch, and the work on it.

    Args:
        lowering: of the function.
        launch: the launch.
        sums: of the launch.
        is_written: whether an earlier launch has stored to an output segment.
    """

    def __init__(
        self,
        lowering: GpuLowering,
        launch: Walk,
        sums: dict[Key, Sum],
        is_written: dict[Key, bool],
    ) -> None:
        """Plans tables, and the shape of blocks that leaves room for them."""
        self.lowering, self.memory = lowering, lowering.memory
        self.dtype, self.is_written = lowering.memory.dtype, is_written
        self.laned = {key: s for key, s in sums.items() if s.over_lanes}
        self.num_sums = sum(s.dim for s in self.laned.values())
        form = lowering.kernel.contractions[launch.contraction]
        plan = table_plan(form, launch, self.dtype)
        self.shape = shape(
            launch.lanes,
            plan.entries if plan else 0,
            self.num_sums,
            num_bytes(self.dtype),
            lowering.decisions,
        )
        self.plan = plan if self.shape.has_tables else None
        self.tables: Any = None
        self.partial: Any = None

    @property
    def is_needed(self) -> bool:
        """Whether there is anything in shared memory, and rows are taken in tiles."""
        return self.plan is not None or bool(self.laned)

    def allocate(self) -> None:
        """Shared memory for tables and sums over lanes."""
        rows = self.shape.slots * self.shape.tile
        if self.plan is not None:
            size = rows * self.plan.entries
            self.tables = T.alloc_buffer((size,), self.dtype, scope="shared")
        if self.laned:
            size = rows * self.num_sums * self.shape.sum_stride
            self.partial = T.alloc_buffer((size,), self.dtype, scope="shared")

    def table_start(self, slot: Expr, q: Expr) -> Expr:
        """Where the tables of a row lie."""
        if self.plan is None:
            return 0
        return T.bind((slot * self.shape.tile + q) * self.plan.entries)

    def keep(self, key: Key, values: list[Expr], slot: Expr, q: Expr, lane: Expr) -> None:
        """Hands over the part of a sum over lanes that is the thread's."""
        row = (slot * self.shape.tile + q) * self.num_sums + self._base(key)
        for k, value in enumerate(values):
            T.buffer_store(self.partial, value, [(row + k) * self.shape.sum_stride + lane])

    def _base(self, key: Key) -> int:
        """Where an output's sums start among those of a row."""
        before = list(self.laned)[: list(self.laned).index(key)]
        return sum(self.laned[other].dim for other in before)

    def combine(self, chunks: Chunks, tile: Expr, thread: Expr, letters: Letters) -> None:
        """The tables of the rows of a tile, shared out over the threads of the block.

        Args:
            chunks: of the block.
            tile: its number.
            thread: of the block, as an expression: it is bound where it is used.
            letters: of the thread.
        """
        if self.plan is None:
            return
        plan, exact = self.plan, self.lowering.decisions.exact_constants

        def emit(worker: Expr, number: Expr, at: At, num_workers: int) -> None:
            parts = plan.parts(num_workers)
            start = T.bind(number * plan.entries)
            for which, keys in enumerate(parts):
                is_mine = worker == which if len(parts) > 1 else tirx.const(True)
                with T.If(is_mine), T.Then():
                    emit_tables(
                        plan, keys, self.tables, start, self.memory, letters, at, exact=exact
                    )

        barrier()  # the tile before may still be read
        self._each_row(emit, chunks, tile, thread)
        barrier()

    def _each_row(
        self,
        emit: Callable[[Expr, Expr, At, int], None],
        chunks: Chunks,
        tile: Expr,
        thread: Expr,
    ) -> None:
        """Hands out the rows of all slots to the threads of the block.

        `emit(worker, number, at, num_workers)`: the row's place among those of the block, and which
        of the threads of the row this is.
        """
        shape = self.shape
        num_rows = shape.slots * shape.tile
        thread = T.bind(thread)
        workers = max(1, shape.threads // num_rows)
        rounds = -(-num_rows // shape.threads)
        with T.serial(0, rounds) if rounds > 1 else nullcontext(0) as round_:
            number = T.bind(thread % num_rows if rounds == 1 else thread + round_ * shape.threads)
            slot, position, last = self._place(chunks, tile, number)
            worker = T.bind(thread // num_rows) if rounds == 1 else 0
            is_row = position < last
            if rounds > 1:
                is_row = tirx.all(number < num_rows, is_row)
            with T.If(is_row), T.Then():
                node: Expr = 0
                if chunks.by_node:
                    owners = self.lowering.order["segment_nodes"]
                    node = T.max(owners[chunks.segment(slot)], 0)
                emit(worker, number, chunks.row_at(position, At(node=node)), workers)

    def _place(self, chunks: Chunks, tile: Expr, number: Expr) -> tuple[Expr, Expr, Expr]:
        """The slot and position of one of the block's rows, and where the slot's rows end."""
        slot = T.bind(number // self.shape.tile)
        first, last = chunks.bounds(slot)
        position = T.bind(first + tile * self.shape.tile + number % self.shape.tile)
        return slot, position, last

    def sum_over_lanes(self, chunks: Chunks, tile: Expr, thread: Expr) -> None:
        """Adds up lanes, in their order, one sum per thread.

        Args:
            chunks: of the block.
            tile: its number.
            thread: of the block, as an expression.
        """
        if not self.laned:
            return
        barrier()
        shape = self.shape
        total = shape.slots * shape.tile * self.num_sums
        thread = T.bind(thread)
        with T.serial(0, -(-total // shape.threads)) as round_:
            which = T.bind(thread + round_ * shape.threads)
            with T.If(which < total), T.Then():
                number = T.bind(which // self.num_sums)
                _, position, last = self._place(chunks, tile, number)
                with T.If(position < last), T.Then():
                    self._write_sum(chunks, which, position)
        barrier()

    def _write_sum(self, chunks: Chunks, which: Expr, position: Expr) -> None:
        """One sum over lanes."""
        result = T.alloc_buffer((1,), self.dtype, scope="local")
        T.buffer_store(result, tirx.FloatImm(self.dtype, 0.0), [0])
        with T.serial(0, self.shape.lanes) as lane:
            where = which * self.shape.sum_stride + lane
            T.buffer_store(result, result[0] + self.partial[where], [0])
        row = chunks.row_at(position, At()).row
        of_row = T.bind(which % self.num_sums)
        for key, s in self.laned.items():
            operand, base = self.memory.operands[key[0]], self._base(key)
            inside = tirx.all(of_row >= base, of_row < base + s.dim)
            with T.If(inside), T.Then():
                buffer = self.memory.buffers[key[0]]
                place = (row, operand.offsets[key[1]] + of_row - base)
                value = result[0]
                if self.is_written[key]:
                    value = load(buffer, place, self.dtype) + value
                save(buffer, place, value, self.dtype)
