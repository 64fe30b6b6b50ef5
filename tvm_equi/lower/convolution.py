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

from dataclasses import replace
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Operand
from tvm_equi.algebra.convolution import NODE_ROWS, pass_order
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.arguments import copied_inputs, summed_outputs
from tvm_equi.lower.bundles import bundles
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.edge_couple import EdgeCouple
from tvm_equi.lower.edge_storage import Edges, EdgeStorage
from tvm_equi.lower.edge_tile import EdgeTile
from tvm_equi.lower.location import Location, in_lanes, move, row_location
from tvm_equi.lower.mix import Mix
from tvm_equi.lower.names import COPY_BLOCK, FUNCTION, ROWS_BLOCK
from tvm_equi.lower.opaque import opaque_zeros
from tvm_equi.lower.phases import Phase, phases, runs_by_tile
from tvm_equi.lower.primfunc import alignment, fill_zeros, match, whole
from tvm_equi.lower.storage import Place, Storage
from tvm_equi.lower.vector import Block, Expr, each_block


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
        lowering = ConvolutionLowering(kernel, dtype, decisions)
        with opaque_zeros():
            lowering.emit()
    return builder.get()


class ConvolutionLowering:
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
            name: match(
                f"{name}_sums", (self.num_parts, kernel.operand(name).dim), dtype, alignment(dtype)
            )
            for name in self.sums
        }
        self.order = self._match_order(num_bounds)
        self.mixes = {
            number: Mix(kernel.contractions[b.contraction], list(b.steps), decisions)
            for number, b in enumerate(self.bundles)
            if kernel.contractions[b.contraction].family == "mix"
        }

    def _match(self, name: str, operand: Operand) -> Any:
        """The buffer of an argument."""
        shape: tuple[Expr, ...] = (self.counts.get(operand.rows, 0), operand.dim)
        if operand.rows == "shared":
            is_partial = name in self.kernel.outputs
            shape = (self.num_parts, operand.dim) if is_partial else (operand.dim,)
        return match(name, shape, self.dtype, alignment(self.dtype))

    def _match_order(self, num_bounds: Expr) -> Edges:
        """The buffers of the order of the edges."""
        num_edges, num_pointers = self.counts["row"], tirx.Var("num_pointers", "int64")
        shapes: dict[str, tuple[Expr, ...]] = {
            name: (num_edges,) for name in ("edges", "nodes", "others")
        }
        shapes |= {"pointers": (num_pointers,), "tasks": (2, num_bounds)}
        buffers = {name: match(name, shape, "int64", 8) for name, shape in shapes.items()}
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
            EdgeTile(self, storage, first, last).emit()

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
