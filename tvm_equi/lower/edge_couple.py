"""TensorIR for bundles of "couple" steps over the edges of a tile.

In: what `lower/couple.py` takes. Out: the same arithmetic with a loop over edges innermost, inside
the loop over blocks of lanes, so that sums over a node's edges stay in registers. Tables
A[i,k] = sum_j C[i,j,k] y[j] are made for all edges of the tile at once, edges in lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Contraction
from tvm_equi.algebra.kernel import Step
from tvm_equi.lower.couple import Couple, Table, parts
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.edge_storage import EdgeStorage, Key
from tvm_equi.lower.storage import Storage
from tvm_equi.lower.vector import Block, Expr, constant, each_block, splat, store, total


class EdgeCouple(Couple):
    """Emits a bundle of couple steps for the edges of a node in a tile.

    Args:
        form: the contraction.
        steps: its steps; none reads what another writes.
        storage: where the values are, before there is a tile; `bind` gives the tile's.
        decisions: from a schedule.
    """

    def __init__(
        self, form: Contraction, steps: list[Step], storage: Storage, decisions: Decisions
    ) -> None:
        """Allocates tables and sums."""
        super().__init__(form, steps, storage, decisions)
        self.num_rows = decisions.row_tile
        self.run_edges = decisions.run_edges
        self.allocate()
        self._run: tuple[Expr, Expr] = (0, self.num_rows)

    def bind(self, storage: EdgeStorage) -> None:
        """Starts a tile."""
        self.storage: EdgeStorage = storage

    def is_early(self, name: str) -> bool:
        """Whether tables of a value can be made with edges in lanes."""
        return self.storage.places[name].rows_last > 0

    def emit_tables(self) -> None:
        """Tables of the values that lie with edges in lanes, for all edges of the tile."""
        dtype = self.storage.dtype

        def emit(block: Block) -> None:
            rows = self.storage.rows_in_lanes()
            known: dict[Key, list[Expr]] = {}
            for (number, name), (buffer, index, _) in self.tables.items():
                if not self.is_early(name):
                    continue
                roles = self.roles[number]
                segment = roles.path.segments[roles.common]
                if (name, segment) not in known:
                    known[name, segment] = rows.read(name, segment, 0, block)
                y = known[name, segment]
                for (i, k), position in index.items():
                    terms = [
                        y[j] * splat(constant(dtype, roles.coefficients[i, j, k]), block.width)
                        for j in np.flatnonzero(roles.coefficients[i, :, k])
                    ]
                    at = position * self.num_rows + block.base
                    store(buffer, (), at, total(terms), block.width, block.valid)

        if any(self.is_early(name) for _, name in self.tables):
            each_block(self.num_rows, self.lanes, emit)

    def emit_run(self, first: Expr, last: Expr) -> None:
        """All steps for rows [first, last) of the tile, which are edges of one node."""
        if self.run_edges >= self.num_rows:
            self._emit_edges(first, last)
            return
        with T.serial(0, T.ceildiv(last - first, self.run_edges)) as index:
            start = T.bind(first + index * self.run_edges)
            end = T.bind(T.min(start + self.run_edges, last))
            self._emit_edges(start, end)

    def _emit_edges(self, first: Expr, last: Expr) -> None:
        """All steps for some edges of one node."""
        self._run = (first, last)
        if self.is_by_edge:
            with self._rows() as r:
                self.emit_edge(r)
            return
        late = self._late_tables()
        if late or self.sums:
            with self._rows() as r:
                self.combine_tables(late, r)
                self.zero_sums(r)
        for group in self.groups():
            self.emit_group(group, 0)
        if self.sums:
            with self._rows() as r:
                self.store_sums(r)

    def zero(self, block: Block) -> Expr:
        """What is added to addresses of tables: where edges are innermost these vary anyway."""
        return super().zero(block) if self.is_by_edge else 0

    @property
    def is_by_edge(self) -> bool:
        """Whether the loop over edges is outside that over channels, to keep sums of pairs."""
        return any(map(self.pairs.chunks, range(len(self.roles))))

    def emit_edge(self, r: Expr) -> None:
        """All steps for one edge; sums of the node are in the cache."""
        self.combine_tables(self._late_tables(), r)
        self.zero_sums(r)
        for group in self.groups():
            self.emit_group(group, r)
        self.store_sums(r)

    def _late_tables(self) -> dict[tuple[int, str], Table]:
        """Tables that are made edge by edge."""
        return {key: table for key, table in self.tables.items() if not self.is_early(key[1])}

    @contextmanager
    def _rows(self) -> Iterator[Expr]:
        first, last = self._run
        with T.serial(0, last - first) as index:
            r = T.bind(first + index)
            self.storage.enter(r)
            yield r
            self.storage.leave()

    @contextmanager
    def each_row(self, group: list[int], block: Block, r: Expr) -> Iterator[Expr]:
        """A loop over the node's edges, sums of the node in registers."""
        if self.is_by_edge:
            self.fetch(group, block, r)
            yield r
            return
        self.storage.open(self._register_sums(group), self._node_inputs(group), self._run[0], block)
        with self._rows() as row:
            self.fetch(group, block, row)
            yield row
        self.storage.close(block)

    def is_fetched(self, rows: str) -> bool:
        """Whether rows of a kind differ from edge to edge."""
        return rows not in ("shared", self.storage.order.rows)

    def groups(self) -> list[list[int]]:
        """Paths in groups that share x, and whose sums fit registers."""
        if self.is_by_edge:
            return super().groups()
        most = self.decisions.node_sums
        return [
            part for group in super().groups() for part in parts(group, self._num_node_sums, most)
        ]

    def _num_node_sums(self, number: int) -> int:
        """Registers for what a path adds to its product over the edges of a node."""
        own = self.roles[number].path.segments[self.roles[number].product]
        sums = self._register_sums([number]).items()
        return sum(dim for (_, segment), dim in sums if segment == own)

    def _register_sums(self, group: list[int]) -> dict[Key, int]:
        """Sums whose lanes are those of the group's blocks, and their components."""
        sums: dict[Key, int] = {}
        for number in group:
            roles = self.roles[number]
            for step in self.steps:
                place = self.storage.places[step.target]
                pattern = roles.path.channels[step.output]
                is_laned = pattern == roles.lane or (roles.loop == 1 and roles.lane in pattern)
                if (place.is_sum or place.is_partial) and is_laned and step.output != roles.common:
                    segment = roles.path.segments[step.output]
                    sums[step.target, segment] = place.operand.segments[segment].dim
        return sums

    def _node_inputs(self, group: list[int]) -> list[Key]:
        """Operands with lanes that belong to the node by which edges are taken."""
        inputs: dict[Key, None] = {}
        for number in group:
            roles = self.roles[number]
            for step in self.steps:
                for slot in (roles.spread, roles.product):
                    name = step.operands[slot]
                    rows = self.storage.places[name].operand.rows
                    is_laned = roles.path.channels[slot] == roles.lane
                    if slot != step.output and rows == self.storage.order.rows and is_laned:
                        inputs[name, roles.path.segments[slot]] = None
        return list(inputs)
