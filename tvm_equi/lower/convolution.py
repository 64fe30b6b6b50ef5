"""Kernel over the edges of a graph -> TensorIR: gather, contraction and sum in one function.

In: a kernel with operands on senders or receivers, a dtype and the decisions of a schedule. Out: a
`PrimFunc` with the arguments that `lower/arguments.py` lists. Edges are taken in the order of the
nodes that the kernel adds to, in tasks, and within a task in tiles. A node's sums are kept in the
cache while its edges pass and written once: values per edge never exist, nothing is atomic, and
each sum has one order whatever the number of threads. A node that several tasks share is summed
from their parts at the end, in the order of the tasks.

A tile runs in phases. Values of edges alone (products with a shared matrix, couplings of single
channels) are computed for all its edges; what belongs to a node, for each node's run of edges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Operand
from tvm_equi.algebra.convolution import NODE_ROWS, pass_order
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import ScheduleError
from tvm_equi.lower.arguments import copied_inputs, summed_outputs
from tvm_equi.lower.couple import Couple
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.edge_couple import EdgeCouple
from tvm_equi.lower.edge_storage import Edges, EdgeStorage
from tvm_equi.lower.mix import Mix
from tvm_equi.lower.names import COPY_BLOCK, FUNCTION, ROWS_BLOCK
from tvm_equi.lower.primfunc import (
    Bundle,
    alignment,
    bundles,
    fill_zeros,
    fits_row_lanes,
    whole,
)
from tvm_equi.lower.select import emit_select
from tvm_equi.lower.storage import Channels, Location, Place, Storage, read_at, write_at
from tvm_equi.lower.vector import Block, Expr, each_block, zeros


@dataclass(frozen=True, slots=True)
class Phase:
    """Bundles that run one after another for a tile.

    Args:
        by_node: whether they run for each node's edges, and not for the tile as a whole.
        bundles: their numbers.
    """

    by_node: bool
    bundles: tuple[int, ...]


def runs_by_tile(kernel: Kernel, bundle: Bundle) -> bool:
    """Whether a bundle is computed for all edges of a tile at once."""
    form = kernel.contractions[bundle.contraction]
    is_shared_mix = form.family == "mix" and form.operands[1].rows == "shared"
    return is_shared_mix or fits_row_lanes(form)


def phases(kernel: Kernel, groups: list[Bundle]) -> list[Phase]:
    """The bundles in few phases, each after those whose results it reads.

    Raises:
        ScheduleError: what is computed for a tile as a whole would add to nodes.
    """
    writers: dict[str, set[int]] = {}
    for number, bundle in enumerate(groups):
        for step in bundle.steps:
            writers.setdefault(step.target, set()).add(number)
    needs = [
        {n for step in bundle.steps for name in step.sources for n in writers.get(name, ())}
        for bundle in groups
    ]
    found: list[Phase] = []
    done: set[int] = set()
    by_node = False
    while len(done) < len(groups):
        chosen: list[int] = []
        for number, bundle in enumerate(groups):
            is_ready = needs[number] <= done | set(chosen) and number not in done
            if is_ready and runs_by_tile(kernel, bundle) != by_node:
                chosen.append(number)
        if chosen:
            found.append(Phase(by_node, tuple(chosen)))
        done |= set(chosen)
        by_node = not by_node
    for name in summed_outputs(kernel):
        if any(
            writers.get(name, set()) & set(phase.bundles) for phase in found if not phase.by_node
        ):
            raise ScheduleError(
                f"convolution: {name}: expected steps of edges to add to it, got a matrix that all "
                "edges share; split the kernel with algebra.convolution.stages"
            )
    return found


def lower_convolution(kernel: Kernel, dtype: str, decisions: Decisions) -> Any:
    """The PrimFunc of a convolution, or of a derivative that adds to nodes of one kind.

    Args:
        kernel: the program.
        dtype: "float32" or "float64", of every argument but indices.
        decisions: from a schedule.

    Raises:
        ScheduleError: the kernel has values on nodes that only a split kernel can compute.
    """
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name(FUNCTION)
        T.func_attr({"tirx.noalias": True, "global_symbol": FUNCTION})
        _Lowering(kernel, dtype, decisions).emit()
    return builder.get()


class _Lowering:
    """Emits the body of one function."""

    def __init__(self, kernel: Kernel, dtype: str, decisions: Decisions) -> None:
        """Matches the arguments."""
        self.kernel, self.dtype, self.decisions = kernel, dtype, decisions
        self.tile, self.lanes = decisions.row_tile, decisions.lanes
        self.bundles = bundles(kernel)
        self.phases = phases(kernel, self.bundles)
        self.sums = summed_outputs(kernel)
        self.counts = {rows: tirx.Var(f"num_{rows}s", "int64") for rows in ("row", *NODE_ROWS)}
        self.num_parts, num_bounds = (tirx.Var(n, "int64") for n in ("num_parts", "num_bounds"))
        self.num_tasks = num_bounds - 1
        self.arguments = {
            name: self._match(name, kernel.operand(name))
            for name in (*kernel.inputs, *kernel.outputs)
        }
        self.copies = {
            name: self._match(f"{name}_copy", kernel.operand(name))
            for name in copied_inputs(kernel)
        }
        self.shared_sums = {
            name: T.match_buffer(
                T.arg(f"{name}_sums", T.handle()),
                (self.num_parts, kernel.operand(name).dim),
                dtype,
                align=alignment(dtype),
            )
            for name in self.sums
        }
        self.order = self._match_order(num_bounds)
        self.mixes = {
            number: Mix(kernel.contractions[b.contraction], list(b.steps), self.lanes)
            for number, b in enumerate(self.bundles)
            if kernel.contractions[b.contraction].family == "mix"
        }

    def _match(self, name: str, operand: Operand) -> Any:
        """The buffer of an argument."""
        shape: tuple[Expr, ...] = (self.counts.get(operand.rows, 0), operand.dim)
        if operand.rows == "shared":
            is_partial = name in self.kernel.outputs
            shape = (self.num_parts, operand.dim) if is_partial else (operand.dim,)
        return T.match_buffer(
            T.arg(name, T.handle()), shape, self.dtype, align=alignment(self.dtype)
        )

    def _match_order(self, num_bounds: Expr) -> Edges:
        """The buffers of the order of the edges."""
        num_edges, num_pointers = self.counts["row"], tirx.Var("num_pointers", "int64")
        shapes: dict[str, tuple[Expr, ...]] = {
            name: (num_edges,) for name in ("edges", "nodes", "others")
        }
        shapes |= {"pointers": (num_pointers,), "tasks": (2, num_bounds)}
        buffers = {
            name: T.match_buffer(T.arg(name, T.handle()), shape, "int64", align=8)
            for name, shape in shapes.items()
        }
        return Edges(pass_order(self.kernel), **buffers, num_edges=num_edges)

    def emit(self) -> None:
        """Copies inputs on nodes, runs the tasks, adds up what they share."""
        for name in self.copies:
            self._copy_input(name)
        for mix in self.mixes.values():
            if mix.is_shared:
                mix.transpose(self.arguments, self.dtype)
        with T.serial(0, self.num_tasks) as index, T.sblock(ROWS_BLOCK):
            task = T.axis.spatial(self.num_tasks, index)
            T.reads(*(whole(self.arguments[name]) for name in self.kernel.inputs))
            T.writes(*(whole(self.arguments[name]) for name in self.kernel.outputs))
            self._emit_task(task)
        for name in self.sums:
            self._add_shared_sums(name)

    def _copy_input(self, name: str) -> None:
        """Transposes an input on nodes."""
        operand = self.kernel.operand(name)
        count = self.counts[operand.rows]
        with T.serial(0, count) as index, T.sblock(f"{COPY_BLOCK}_{name}"):
            row = T.axis.spatial(count, index)
            T.reads(whole(self.arguments[name]))
            T.writes(whole(self.copies[name]))
            self._transpose(operand, (self.arguments[name], row), (self.copies[name], row), False)

    def _transpose(
        self, operand: Operand, source: tuple[Any, Expr], target: tuple[Any, Expr], is_sum: bool
    ) -> None:
        """Copies a row from mul_ir to ir_mul, or a sum back, adding to what is there."""
        for segment in range(len(operand.segments)):
            theirs = row_location(operand, segment, *(target if is_sum else source))
            ours = row_location(in_lanes(operand), segment, *(source if is_sum else target))

            def emit(block: Block, theirs: Location = theirs, ours: Location = ours) -> None:
                if is_sum:
                    move(theirs, ours, block, add=True)
                else:
                    move(ours, theirs, block)

            if operand.segments[segment].size:
                each_block(operand.segments[segment].mul, self.lanes, emit)

    def _emit_task(self, task: Expr) -> None:
        """The tiles of one task."""
        order = self.order
        first, last = T.bind(order.tasks[0, task]), T.bind(order.tasks[0, task + 1])
        for name in self.kernel.outputs:
            operand = self.kernel.operand(name)
            if operand.rows == "shared":
                fill_zeros(self.arguments[name], (task,), operand.dim, self.lanes, self.dtype)
        places = self._places()
        # A second phase that adds to a node has sums of its own: a node may span tiles.
        self.later_sums: dict[tuple[int, str], Place] = {}
        known: set[str] = set()
        for number, phase in enumerate(self.phases):
            for name in self.sums_of(phase) if phase.by_node else ():
                if name in known:
                    self.later_sums[number, name] = self._sum_place(self.kernel.operand(name))
                known.add(name)
        self.couples = {
            number: EdgeCouple(
                self.kernel.contractions[bundle.contraction],
                list(bundle.steps),
                Storage(places, 0, task, self.dtype),
                self.decisions,
            )
            for phase in self.phases
            for number in phase.bundles
            if phase.by_node
            and self.kernel.contractions[(bundle := self.bundles[number]).contraction].family
            == "couple"
        }
        self._zero_lonely_nodes(task)
        with T.serial(0, T.ceildiv(last - first, self.tile)) as index:
            start = T.bind(first + index * self.tile)
            count = T.bind(T.min(last - start, self.tile))
            storage = EdgeStorage(
                places, start, count, task, self.dtype, order, self.decisions.run_edges
            )
            _Tile(self, storage, first, last).emit()

    def _places(self) -> dict[str, Place]:
        """Memory of all values for one tile."""
        places = {}
        local = self.local_arguments()
        for name in (*self.kernel.inputs, *self.kernel.outputs, *self.kernel.temporaries):
            operand = self.kernel.operand(name)
            if name in self.sums:
                places[name] = self._sum_place(operand)
            elif name in self.copies:
                places[name] = Place(in_lanes(operand), self.copies[name])
            elif name in local or name in self.kernel.temporaries:
                is_single = all(segment.mul <= 1 for segment in operand.segments)
                rows_last = self.tile if is_single else 0
                buffer = self._allocate(self.tile * operand.dim)
                places[name] = Place(operand, buffer, is_local=True, rows_last=rows_last)
            else:
                is_partial = operand.rows == "shared" and name in self.kernel.outputs
                places[name] = Place(operand, self.arguments[name], is_partial=is_partial)
        return places

    def _sum_place(self, operand: Operand) -> Place:
        """Memory of the sums of a node."""
        buffer = self._allocate(operand.dim)
        return Place(in_lanes(operand), buffer, is_local=True, is_sum=True)

    def sums_of(self, phase: Phase) -> list[str]:
        """The outputs on nodes that a phase adds to."""
        targets = {step.target for n in phase.bundles for step in self.bundles[n].steps}
        return [name for name in self.sums if name in targets]

    def _allocate(self, size: int) -> Any:
        return T.alloc_buffer((max(1, size),), self.dtype, scope="global")

    def local_arguments(self) -> tuple[str, ...]:
        """Arguments on edges that a tile keeps a copy of: edges in lanes, or rows of a matrix."""
        of_tiles = {
            name
            for bundle in self.bundles
            if runs_by_tile(self.kernel, bundle)
            for step in bundle.steps
            for name in step.operands
        }
        used = {name for step in self.kernel.steps for name in step.operands}
        return tuple(
            name
            for name in (*self.kernel.inputs, *self.kernel.outputs)
            if (operand := self.kernel.operand(name)).rows == "row"
            and name in used
            and (name in of_tiles or all(segment.mul <= 1 for segment in operand.segments))
        )

    def _zero_lonely_nodes(self, task: Expr) -> None:
        """Stores zeros for the task's nodes without edges, and where no step adds anything."""
        order = self.order
        written = {step.target for step in self.kernel.steps}
        first, last = order.tasks[1, task], order.tasks[1, task + 1]
        with T.serial(0, last - first) as index:
            node = T.bind(first + index)
            is_lonely = order.pointers[node] == order.pointers[node + 1]
            for name in self.sums:
                with T.If(is_lonely if name in written else tirx.const(True)), T.Then():
                    dim = self.kernel.operand(name).dim
                    fill_zeros(self.arguments[name], (node,), dim, self.lanes, self.dtype)

    def _add_shared_sums(self, name: str) -> None:
        """Adds the parts of nodes that several tasks share, task by task."""
        order, operand = self.order, self.kernel.operand(name)
        if name not in {step.target for step in self.kernel.steps}:
            return
        with T.serial(0, self.num_tasks) as task:
            first, last = T.bind(order.tasks[0, task]), T.bind(order.tasks[0, task + 1])
            node = T.bind(order.tasks[1, task])
            begins_inside = tirx.all(last > first, order.pointers[node] > first)
            with T.If(begins_inside), T.Then():
                source, target = (self.shared_sums[name], task), (self.arguments[name], node - 1)
                self._transpose(operand, source, target, is_sum=True)

    def write_sums(self, name: str, place: Place, node: Expr, *, add: bool) -> None:
        """Stores, or adds, the sums of a node."""
        operand = self.kernel.operand(name)
        for segment in range(len(operand.segments)):
            theirs = row_location(operand, segment, self.arguments[name], node)
            ours = replace(row_location(in_lanes(operand), segment, place.buffer, 0), lead=())

            def emit(block: Block, theirs: Location = theirs, ours: Location = ours) -> None:
                move(theirs, ours, block, add=add)

            if operand.segments[segment].size:
                each_block(operand.segments[segment].mul, self.lanes, emit)


class _Tile:
    """Emits one tile of edges."""

    def __init__(self, lowering: _Lowering, storage: EdgeStorage, first: Expr, last: Expr) -> None:
        """Binds the tile to its function and task, which has edges [first, last)."""
        self.lowering, self.storage, self.first, self.last = lowering, storage, first, last
        self.kernel, self.order = lowering.kernel, lowering.order

    def emit(self) -> None:
        """Copies in, phases, copies out."""
        lowering, storage = self.lowering, self.storage
        local = lowering.local_arguments()
        self._copy([name for name in local if name in self.kernel.inputs], into_tile=True)
        for couple in lowering.couples.values():
            couple.bind(storage)
        pending = {
            step.target: number
            for phase in lowering.phases
            for number in phase.bundles
            for step in lowering.bundles[number].steps
        }
        for phase in lowering.phases:
            if phase.by_node:
                for number in phase.bundles:
                    if number in lowering.couples:
                        lowering.couples[number].emit_tables()
                self._emit_nodes(phase)
            else:
                for number in phase.bundles:
                    self._emit_by_tile(number)
            done = [name for name, number in pending.items() if number in phase.bundles]
            self._fill(done)
        self._fill([name for name in self.kernel.outputs if name not in pending])
        self._copy([name for name in local if name in self.kernel.outputs], into_tile=False)

    def _copy(self, names: list[str], *, into_tile: bool) -> None:
        """Copies arguments on edges to the tile, where the last edge fills it up, or back."""
        if not names:
            return
        storage = self.storage
        with T.serial(0, self.lowering.tile if into_tile else storage.count) as r:
            lead = storage.lead("row", r)
            for name in names:
                place, argument = storage.places[name], self.lowering.arguments[name]
                if place.rows_last:
                    with T.serial(0, place.operand.dim) as column:
                        at = column * place.rows_last + r
                        if into_tile:
                            T.buffer_store(place.buffer, argument[(*lead, column)], [at])
                        else:
                            T.buffer_store(argument, place.buffer[at], [*lead, column])
                    continue
                theirs = Location(argument, lead, 0, place.operand.dim, 1, 1, 1)
                ours = replace(theirs, buffer=place.buffer, lead=(), start=r * place.operand.dim)
                source, target = (theirs, ours) if into_tile else (ours, theirs)

                def emit(
                    block: Block, source: Location = source, target: Location = target
                ) -> None:
                    move(target, source, block)

                each_block(place.operand.dim, self.lowering.lanes, emit)

    def _emit_by_tile(self, number: int) -> None:
        """One bundle for all edges of the tile."""
        bundle, lanes = self.lowering.bundles[number], self.lowering.lanes
        form = self.kernel.contractions[bundle.contraction]
        if number in self.lowering.mixes:
            self.lowering.mixes[number].emit_tile(self.storage, self.lowering.tile)
            return
        rows = self.storage.rows_in_lanes()
        Couple(form, list(bundle.steps), rows, lanes, self.lowering.tile).emit(0)

    def _emit_nodes(self, phase: Phase) -> None:
        """Bundles for the edges of each node in the tile."""
        order, start, count = self.order, self.storage.row, self.storage.count
        self._zero_rest(phase)
        names = self.lowering.sums_of(phase)
        number_of_phase = self.lowering.phases.index(phase)
        for name in names:
            later = self.lowering.later_sums.get((number_of_phase, name))
            if later is not None:
                self.storage.places[name] = later
        low, high = order.nodes[start], order.nodes[start + count - 1]
        low = T.bind(low)
        with T.serial(0, high - low + 1) as index:
            node = T.bind(low + index)
            begin, end = T.bind(order.pointers[node]), T.bind(order.pointers[node + 1])
            first = T.bind(T.max(begin - start, 0))
            last = T.bind(T.min(end - start, count))
            is_start = tirx.any(begin >= start, start == self.first)
            with T.If(is_start), T.Then():
                for name in names:
                    place = self.storage.places[name]
                    dim, lanes = place.operand.dim, self.lowering.lanes
                    fill_zeros(place.buffer, (), dim, lanes, self.storage.dtype)
            for number in phase.bundles:
                self._emit_run(number, first, last)
            is_end = tirx.any(end <= start + count, start + count == self.last)
            with T.If(is_end), T.Then():
                for name in names:
                    is_later = (number_of_phase, name) in self.lowering.later_sums
                    self._write_node(name, node, begin, add=is_later)

    def _write_node(self, name: str, node: Expr, begin: Expr, *, add: bool) -> None:
        """Stores a node's sums, apart where an earlier task has begun the node."""
        place, lowering = self.storage.places[name], self.lowering
        with T.If(begin >= self.first):
            with T.Then():
                lowering.write_sums(name, place, node, add=add)
            with T.Else():
                dim = place.operand.dim
                source = Location(place.buffer, (), 0, dim, 1, 1, 1)
                shared = lowering.shared_sums[name]
                target = replace(source, buffer=shared, lead=(self.storage.chunk,))

                def emit(block: Block) -> None:
                    move(target, source, block, add=add)

                each_block(dim, lowering.lanes, emit)

    def _emit_run(self, number: int, first: Expr, last: Expr) -> None:
        """One bundle for rows [first, last), the edges of one node."""
        lowering, storage = self.lowering, self.storage
        if number in lowering.couples:
            lowering.couples[number].emit_run(first, last)
            return
        bundle = lowering.bundles[number]
        form = self.kernel.contractions[bundle.contraction]
        with T.serial(0, last - first) as index:
            r = T.bind(first + index)
            storage.enter(r)
            if number in lowering.mixes:
                lowering.mixes[number].emit_row(storage, r)
            else:
                emit_select(form, list(bundle.steps), storage, lowering.lanes, r)
            storage.leave()

    def _zero_rest(self, phase: Phase) -> None:
        """Zeroes rows past the last edge of what later phases read for the tile as a whole."""
        written = {s.target for n in phase.bundles for s in self.lowering.bundles[n].steps}
        storage = self.storage
        places = [storage.places[name] for name in sorted(written)]
        places = [p for p in places if p.is_local and not p.is_sum]
        if not places:
            return
        with T.serial(0, self.lowering.tile - storage.count) as index:
            for place in places:
                r, dim = storage.count + index, place.operand.dim
                if place.rows_last:
                    with T.serial(0, dim) as column:
                        zero = zeros(storage.dtype, 1)
                        T.buffer_store(place.buffer, zero, [column * place.rows_last + r])
                else:
                    lanes = self.lowering.lanes
                    fill_zeros(place.buffer, (), dim, lanes, storage.dtype, r * dim)

    def _fill(self, names: list[str]) -> None:
        """Stores zeros to segments that no path reaches."""
        storage = self.storage
        missing = [(name, segment) for name in names for segment in storage.unwritten(name)]
        missing = [(n, s) for n, s in missing if not storage.places[n].is_sum]
        if missing:
            with T.serial(0, storage.count) as r:
                for name, segment in missing:
                    storage.fill(name, segment, r, self.lowering.lanes)
        for name, segment in missing:
            storage.mark(name, segment)


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
