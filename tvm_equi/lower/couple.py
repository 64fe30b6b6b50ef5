"""TensorIR for bundles of "couple" steps: Clebsch-Gordan products, channel by channel.

In: one contraction and all the steps of a kernel that use it at the same point. Out: TensorIR for
one row. One channel letter runs over vector lanes; the other, if its extent is above 1, over a
loop. Names, after the roles that operands play for a path: the *spread* operand x[i] has lanes,
the *common* operand y[j] has none (unless both have the same letter), w weighs lanes, z[k] is the
product. The common operand is combined with the coefficients first, A[i,k] = sum_j C[i,j,k] y[j],
once per row and not per channel (docs/architecture.md, "Combine first"); `Decisions.association`
may ask for another order.

The steps of a bundle, with any number of values in each role, share what they have in common:
    s[i] = sum w x[i]           for every product and every gradient to y
    v[i] = sum_k A[i,k] z[k]    for every gradient to x and w
so that a derivative kernel reads each operand once. A gradient to y is
    gy[j] = sum_ik C[i,j,k] g[i,k],    g[i,k] = sum over channels of s[i] z[k];
`Decisions.pair_sums` says whether C is applied to each vector of channels, or to g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Contraction
from tvm_equi.algebra.kernel import Step
from tvm_equi.lower.couple_path import PathEmitter, Scope
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.opaque import varying_zero
from tvm_equi.lower.pair_sums import PairSums
from tvm_equi.lower.roles import Pair, Roles
from tvm_equi.lower.storage import Storage
from tvm_equi.lower.vector import (
    Block,
    Expr,
    block_width,
    constant,
    each_block,
    lane_sum,
    lane_sums,
    num_blocks,
    total,
    vector_dtype,
    zeros,
)

Table = tuple[Any, dict[Pair, int], int]
"""A for a path and value: buffer, position of each (i, k), entries for one index of the loop."""


class Couple:
    """Emits a bundle of couple steps for one row.

    Args:
        form: the contraction.
        steps: its steps; none reads what another writes.
        storage: where the values are.
        decisions: from a schedule.
        rows: if above 0, rows that run over the lanes; `storage` then has rows in lanes.
    """

    def __init__(
        self,
        form: Contraction,
        steps: list[Step],
        storage: Storage,
        decisions: Decisions,
        rows: int = 0,
    ) -> None:
        """Works out roles, groups of paths and the tables that they need."""
        self.form, self.steps, self.storage, self.decisions = form, steps, storage, decisions
        self.lanes = decisions.lanes
        self.num_rows = 1  # for which tables and sums are kept at a time
        self.roles = [Roles(form, path, rows) for path in form.paths]
        self.tables: dict[tuple[int, str], Table] = {}
        self.sums: dict[tuple[str, int, int], Expr] = {}
        self.pairs = PairSums(self)

    def emit(self, r: Expr) -> None:
        """TensorIR for row r of the tile."""
        self.allocate()
        self.combine_tables(self.tables, r)
        self.zero_sums(r)
        for group in self.groups():
            self.emit_group(group, r)
        self.store_sums(r)

    def table_index(self, position: Expr, r: Expr) -> Expr:
        """Where row r has an entry of a table: rows side by side, as they are computed."""
        return position if self.num_rows == 1 else position * self.num_rows + r

    def sum_index(self, buffer: Any, position: Expr, r: Expr) -> Expr:
        """Where row r has a sum over lanes: the sums of a row side by side."""
        return position if self.num_rows == 1 else r * self._num_sums(buffer) + position

    def zero(self, block: Block) -> Expr:
        """What is added to addresses of tables: blocks are innermost, and would hoist all reads."""
        return varying_zero(block.base) if self.tables else 0

    @contextmanager
    def each_row(self, group: list[int], block: Block, r: Expr) -> Iterator[Expr]:
        """A loop over the rows that the bundle runs for, inside a block of lanes."""
        self.fetch(group, block, r)
        yield r

    def fetch(self, group: list[int], block: Block, r: Expr) -> None:
        """Fetches a part of a later row's operands into the cache, as much in every block."""
        if not self.storage.ahead:
            return
        before, num_parts = 0, 0
        for other in self.groups():
            if other == group:
                before = num_parts
            num_parts += num_blocks(self.roles[other[0]].extent, self.lanes)
        names = dict.fromkeys(name for step in self.steps for name in step.operands)
        streams = [
            name
            for name in names
            if not (place := self.storage.places[name]).is_local
            and place.is_large is None  # what is stored past the cache must not be in it
            and self.is_fetched(place.operand.rows)
        ]
        self.storage.fetch(streams, r, before + block.base // block.width, num_parts)

    def is_fetched(self, rows: str) -> bool:
        """Whether rows of a kind differ from row to row."""
        return rows == "row"

    def groups(self) -> list[list[int]]:
        """Paths in groups that share x and one loop over its lanes."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, roles in enumerate(self.roles):
            segment = roles.path.segments[roles.spread]
            alone = number if roles.loop > 1 else -1
            groups.setdefault((roles.spread, segment, roles.extent, alone), []).append(number)
        # Neighbours that share y keep the running sums of its gradient in registers.
        return [
            part
            for group in groups.values()
            for part in parts(
                sorted(group, key=lambda n: self.roles[n].path.segments[self.roles[n].common]),
                self.pairs.num_registers,
                self.decisions.pair_sums,
            )
        ]

    def steps_to(self, slot: int | None) -> list[Step]:
        """Steps that compute a slot."""
        return [] if slot is None else [step for step in self.steps if step.output == slot]

    def _common_names(self, roles: Roles) -> list[str]:
        """Values that play y and are read."""
        steps = (step for step in self.steps if step.output != roles.common)
        return sorted({step.operands[roles.common] for step in steps})

    def allocate(self) -> None:
        """Buffers for A[i, k] and for the sums over lanes of gradients to y."""
        dtype = self.storage.dtype
        for number, roles in enumerate(self.roles):
            if roles.common_has_lanes:
                continue
            index = {pair: position for position, pair in enumerate(roles.pattern)}
            has_tables = self.decisions.association == "table"
            for name in self._common_names(roles) if has_tables else ():
                size = max(1, self.num_rows * roles.loop * len(index))
                buffer = T.alloc_buffer((size,), dtype, scope="global")
                self.tables[number, name] = (buffer, index, len(index))
            segment = roles.path.segments[roles.common]
            dim = self.form.operands[roles.common].segments[segment].dim
            width = block_width(roles.extent, self.lanes)
            for step in self.steps_to(roles.common):
                key = (step.target, segment, width)
                if key not in self.sums:
                    vector = vector_dtype(dtype, width)
                    size = self.num_rows * roles.loop * dim
                    self.sums[key] = T.alloc_buffer((size,), vector, scope="global")

    def combine_tables(self, tables: dict[tuple[int, str], Table], r: Expr) -> None:
        """A[i, k] = sum_j C[i, j, k] y[j]."""
        for (number, name), (buffer, index, stride) in tables.items():
            roles = self.roles[number]
            segment = roles.path.segments[roles.common]
            with T.serial(0, roles.loop) as o:
                for (i, k), position in index.items():
                    terms = [
                        self.storage.scalar(name, segment, r, o, int(j))
                        * constant(self.storage.dtype, roles.coefficients[i, j, k])
                        for j in np.flatnonzero(roles.coefficients[i, :, k])
                    ]
                    at = self.table_index(o * stride + position, r)
                    T.buffer_store(buffer, total(terms), [at])

    def zero_sums(self, r: Expr) -> None:
        """Starts the sums over lanes at zero."""
        for (_, _, width), buffer in self.sums.items():
            with T.serial(0, self._num_sums(buffer)) as index:
                at = self.sum_index(buffer, index, r)
                T.buffer_store(buffer, zeros(self.storage.dtype, width), [at])

    def _num_sums(self, buffer: Any) -> int:
        """The sums of one row in a buffer."""
        return int(buffer.shape[0]) // self.num_rows

    def store_sums(self, r: Expr) -> None:
        """Sums gradients to y over lanes, `width` of them at a time, and stores them."""
        for name, segment in dict.fromkeys((name, segment) for name, segment, _ in self.sums):
            operand = self.storage.operand(name)
            dim, mul = operand.segments[segment].dim, operand.segments[segment].mul
            parts = [(k[2], b) for k, b in self.sums.items() if k[:2] == (name, segment)]
            add = self.storage.adds(name, segment)

            def element(
                o: Expr,
                j: int,
                value: Expr,
                name: str = name,
                segment: int = segment,
                add: bool = add,
            ) -> None:
                if add:
                    value = value + self.storage.scalar(name, segment, r, o, j)
                self.storage.store_scalar(name, segment, r, o, j, value)

            with T.serial(0, mul) as o:
                columns: list[list[Expr]] = [[] for _ in range(dim)]
                for width, buffer in parts:
                    vectors = [buffer[self.sum_index(buffer, o * dim + j, r)] for j in range(dim)]
                    for start in range(0, dim, width):
                        some = vectors[start : start + width]
                        if width > 1 and len(some) > width // 4:
                            some += [zeros(self.storage.dtype, width)] * (width - len(some))
                            summed = T.bind(lane_sums(some, width))
                            count = min(width, dim - start)
                            for lane in range(count):
                                columns[start + lane].append(T.Shuffle([summed], [lane]))
                        else:
                            for lane, vector in enumerate(some):
                                columns[start + lane].append(lane_sum(vector, width))
                for j, column in enumerate(columns):
                    element(o, j, total(column))
            self.storage.mark(name, segment)

    def emit_group(self, group: list[int], r: Expr) -> None:
        """One loop over blocks of lanes, all paths of a group in it."""
        first = self.roles[group[0]]
        segment = first.path.segments[first.spread]
        outputs = [step.target for step in self.steps_to(first.spread)]
        flags = self._write_flags(group)
        # The gradient to a value that is both x and y is written as that to y first.
        written = {(name, segment) for _, name, segment in flags}
        spread_adds = {
            name: self.storage.adds(name, segment) or (name, segment) in written for name in outputs
        }

        self.pairs.open(group)

        def emit(block: Block) -> None:
            with self.each_row(group, block, r) as row:
                emit_row(block, row)

        def emit_row(block: Block, r: Expr) -> None:
            scope = Scope(block, self.zero(block))
            for step in self.steps:
                if step.output != first.spread:
                    name = step.operands[first.spread]
                    if name not in scope.spread:
                        scope.spread[name] = self.storage.read(name, segment, r, block)
            dim = self.form.operands[first.spread].segments[segment].dim
            for name in outputs:
                scope.spread_sums.setdefault(name, [[] for _ in range(dim)])
            for position, number in enumerate(group):
                PathEmitter(self, number, r, scope, flags).emit()
                if position + 1 == len(group) or self._common_segment(
                    group[position + 1]
                ) != self._common_segment(number):
                    self._flush_common_sums(scope, number, r, flags)
            for name, sums in scope.spread_sums.items():
                values = [total(s) if s else zeros(self.storage.dtype, block.width) for s in sums]
                self.storage.write(name, segment, r, block, values, add=spread_adds[name])

        each_block(first.extent, self.lanes, emit)
        self.pairs.close(group, r)
        for name in outputs:
            self.storage.mark(name, segment)
        for name, other in written:
            self.storage.mark(name, other)

    def _common_segment(self, number: int) -> int:
        roles = self.roles[number]
        return roles.path.segments[roles.common]

    def _flush_common_sums(
        self, scope: Scope, number: int, r: Expr, flags: dict[tuple[int, str, int], bool]
    ) -> None:
        """Moves running sums of gradients to y to the sums over lanes, or to y if it has lanes."""
        block, dim = scope.block, self.roles[number].coefficients.shape[1]
        for name, segment in dict.fromkeys((name, seg) for name, seg, _ in scope.common_sums):
            sums = {j: v for (n, s, j), v in scope.common_sums.items() if (n, s) == (name, segment)}
            if self.roles[number].common_has_lanes:
                zero = zeros(self.storage.dtype, block.width)
                values = [sums.get(j, zero) for j in range(dim)]
                add = flags[number, name, segment]
                self.storage.write(name, segment, r, block, values, add=add)
                continue
            buffer = self.sums[name, segment, block.width]
            for j, value in sums.items():
                at = self.sum_index(buffer, j, r)
                T.buffer_store(buffer, buffer[at] + value, [at])
        scope.common_sums.clear()

    def _write_flags(self, group: list[int]) -> dict[tuple[int, str, int], bool]:
        """Whether a write adds, by (path, value, segment): of weights, products and laned y.

        A value that two paths of the group write is added to by the second.
        """
        flags: dict[tuple[int, str, int], bool] = {}
        seen: set[tuple[str, int]] = set()
        for number in group:
            roles = self.roles[number]
            slots = {roles.product, roles.weight}
            if roles.common_has_lanes:
                slots.add(roles.common)
            for name, slot in dict.fromkeys((s.target, s.output) for s in self.steps):
                if slot not in slots:
                    continue
                key = (name, roles.path.segments[slot])
                flags[(number, *key)] = self.storage.adds(*key) or key in seen
                if slot != roles.common:
                    seen.add(key)
        return flags


def parts(group: list[int], num_sums: Callable[[int], int], most: int) -> list[list[int]]:
    """Paths in groups whose sums registers hold, in order.

    Args:
        group: numbers of paths.
        num_sums: of a path.
        most: sums of a group, unless a single path has more.
    """
    found: list[list[int]] = []
    room = 0
    for number in group:
        size = num_sums(number)
        if not found or room + size > most:
            found.append([])
            room = 0
        found[-1].append(number)
        room += size
    return found
