"""TensorIR for one tile of edges of a convolution.

In: the function that the tile belongs to (`lower/convolution.py`), and where its values are. Out:
copies of what lies with edges in lanes or in the rows of a matrix, the phases, each for the tile as
a whole or for each node's run of edges, and the results, stored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.couple import Couple
from tvm_equi.lower.edge_storage import EdgeStorage
from tvm_equi.lower.location import Location, move
from tvm_equi.lower.phases import Phase
from tvm_equi.lower.primfunc import fill_zeros
from tvm_equi.lower.select import emit_select
from tvm_equi.lower.vector import Block, Expr, each_block, zeros

if TYPE_CHECKING:
    from tvm_equi.lower.convolution import ConvolutionLowering


class EdgeTile:
    """Emits one tile of edges."""

    def __init__(
        self, lowering: ConvolutionLowering, storage: EdgeStorage, first: Expr, last: Expr
    ) -> None:
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
        bundle, decisions = self.lowering.bundles[number], self.lowering.decisions
        form = self.kernel.contractions[bundle.contraction]
        if number in self.lowering.mixes:
            self.lowering.mixes[number].emit_tile(self.storage, self.lowering.tile)
            return
        rows = self.storage.rows_in_lanes()
        Couple(form, list(bundle.steps), rows, decisions, self.lowering.tile).emit(0)

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
