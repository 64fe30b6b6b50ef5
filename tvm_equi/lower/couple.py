"""TensorIR for bundles of "couple" steps: Clebsch-Gordan products, channel by channel.

In: one contraction and all the steps of a kernel that use it at the same point. Out: TensorIR for one row. One
channel letter runs over vector lanes; the other, if its extent is above 1, over a loop. Names, after the roles that
operands play for a path: the *spread* operand x[i] has lanes, the *common* operand y[j] has none (unless both have
the same letter), w weighs lanes, z[k] is the product. The common operand is combined with the coefficients first,
A[i,k] = sum_j C[i,j,k] y[j], once per row and not per channel (docs/architecture.md, "Combine first").

The steps of a bundle, with any number of values in each role, share what they have in common:
    s[i] = sum w x[i]           for every product and every gradient to y
    v[i] = sum_k A[i,k] z[k]    for every gradient to x and w
so that a derivative kernel reads each operand once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Contraction, Path
from tvm_equi.algebra.kernel import Step
from tvm_equi.lower.storage import Channels, Storage
from tvm_equi.lower.vector import (
    Block,
    Expr,
    block_width,
    constant,
    each_block,
    lane_sum,
    lane_sums,
    splat,
    total,
    vector_dtype,
    zeros,
)

MAX_UNROLLED = 8
"""Extents of the looped channel letter up to which its loop is unrolled."""


@dataclass(frozen=True)
class Roles:
    """Which slots of a path play which role, and which letters run over lanes and over the loop.

    Args:
        form: the contraction.
        path: one of its paths.
        rows: if above 0, that many rows run over the lanes in place of a letter.
    """

    form: Contraction
    path: Path
    rows: int = 0

    @cached_property
    def spread(self) -> int:
        """Slot of the operand x whose channels are the lanes."""
        return 1 if self.lane == "v" else 0

    @property
    def common(self) -> int:
        """Slot of the operand y that is combined with the coefficients."""
        return 1 - self.spread

    @property
    def weight(self) -> int | None:
        """Slot of the weights, if there are any."""
        return 2 if len(self.form.operands) == 4 else None

    @property
    def product(self) -> int:
        """Slot of z."""
        return len(self.form.operands) - 1

    @cached_property
    def lane(self) -> str:
        """The letter that runs over lanes."""
        channels = self.path.channels[self.product]
        if len(channels) == 1:
            return channels
        return "v" if self.path.extent("v") >= self.path.extent("u") else "u"

    @property
    def common_has_lanes(self) -> bool:
        """Whether y has lanes too (mode uuu, and rows in lanes)."""
        return self.rows > 0 or self.path.channels[self.common] == self.lane

    @cached_property
    def extent(self) -> int:
        """Number of lanes."""
        return self.rows or self.path.extent(self.lane)

    @cached_property
    def loop(self) -> int:
        """Extent of the looped letter."""
        return 1 if self.common_has_lanes else self.path.extent("u" if self.lane == "v" else "v")

    def channels(self, slot: int, o: Expr) -> Channels:
        """The lanes of a slot's segment at loop index o."""
        pattern = self.path.channels[slot]
        if len(pattern) == 1 or self.rows:
            return Channels()
        if self.lane == "v":
            return Channels(o * self.path.extent("v"), 1)
        return Channels(o, self.path.extent("v"))

    @cached_property
    def coefficients(self) -> NDArray[np.float64]:
        """C[i, j, k] with i of x, j of y, k of z."""
        coupling = self.form.coupling(self.path)
        return coupling if self.spread == 0 else coupling.transpose(1, 0, 2)

    @cached_property
    def pattern(self) -> list[tuple[int, int]]:
        """The (i, k) for which A[i, k] is not identically zero."""
        nonzero = np.any(self.coefficients != 0, axis=1)
        return [(int(i), int(k)) for i, k in np.argwhere(nonzero)]


@dataclass
class _Scope:
    """Values that are shared by the paths of a group inside one block of lanes."""

    block: Block
    spread: dict[str, list[Expr]] = field(default_factory=dict)
    spread_sums: dict[str, list[list[Expr]]] = field(default_factory=dict)
    common: dict[tuple[str, int], list[Expr]] = field(default_factory=dict)
    common_sums: dict[tuple[str, int, int], Expr] = field(default_factory=dict)


class Couple:
    """Emits a bundle of couple steps for one row.

    Args:
        form: the contraction.
        steps: its steps; none reads what another writes.
        storage: where the values are.
        lanes: vector lanes of the target.
        rows: if above 0, rows that run over the lanes; `storage` then has rows in lanes.
    """

    def __init__(
        self, form: Contraction, steps: list[Step], storage: Storage, lanes: int, rows: int = 0
    ) -> None:
        """Works out roles, groups of paths and the tables that they need."""
        self.form, self.steps, self.storage, self.lanes = form, steps, storage, lanes
        self.roles = [Roles(form, path, rows) for path in form.paths]
        self._tables: dict[tuple[int, str], tuple[Expr, dict[tuple[int, int], int], int]] = {}
        self._sums: dict[tuple[str, int, int], Expr] = {}

    def emit(self, r: Expr) -> None:
        """TensorIR for row r of the tile."""
        self._allocate()
        self._combine(r)
        for group in self._groups():
            self._emit_group(group, r)
        self._store_sums(r)

    def _groups(self) -> list[list[int]]:
        """Paths in groups that share x and one loop over its lanes."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, roles in enumerate(self.roles):
            segment = roles.path.segments[roles.spread]
            alone = number if roles.loop > 1 else -1
            groups.setdefault((roles.spread, segment, roles.extent, alone), []).append(number)
        # Neighbours that share y keep the running sums of its gradient in registers.
        return [
            sorted(group, key=lambda n: self.roles[n].path.segments[self.roles[n].common])
            for group in groups.values()
        ]

    def _steps_to(self, slot: int | None) -> list[Step]:
        """Steps that compute a slot."""
        return [] if slot is None else [step for step in self.steps if step.output == slot]

    def _common_names(self, roles: Roles) -> list[str]:
        """Values that play y and are read."""
        steps = (step for step in self.steps if step.output != roles.common)
        return sorted({step.operands[roles.common] for step in steps})

    def _allocate(self) -> None:
        """Buffers for A[i, k] and for the sums over lanes of gradients to y."""
        dtype = self.storage.dtype
        for number, roles in enumerate(self.roles):
            if roles.common_has_lanes:
                continue
            index = {pair: position for position, pair in enumerate(roles.pattern)}
            for name in self._common_names(roles):
                size = max(1, roles.loop * len(index))
                buffer = T.alloc_buffer((size,), dtype, scope="global")
                self._tables[number, name] = (buffer, index, len(index))
            segment = roles.path.segments[roles.common]
            dim = self.form.operands[roles.common].segments[segment].dim
            width = block_width(roles.extent, self.lanes)
            for step in self._steps_to(roles.common):
                key = (step.target, segment, width)
                if key not in self._sums:
                    vector = vector_dtype(dtype, width)
                    self._sums[key] = T.alloc_buffer((roles.loop * dim,), vector, scope="global")

    def _combine(self, r: Expr) -> None:
        """A[i, k] = sum_j C[i, j, k] y[j], and zeroes the sums."""
        for (number, name), (buffer, index, stride) in self._tables.items():
            roles = self.roles[number]
            segment = roles.path.segments[roles.common]
            with T.serial(0, roles.loop) as o:
                for (i, k), position in index.items():
                    terms = [
                        self.storage.scalar(name, segment, r, o, int(j))
                        * constant(self.storage.dtype, roles.coefficients[i, j, k])
                        for j in np.flatnonzero(roles.coefficients[i, :, k])
                    ]
                    T.buffer_store(buffer, total(terms), [o * stride + position])
        for (_, _, width), buffer in self._sums.items():
            with T.serial(0, buffer.shape[0]) as index:
                T.buffer_store(buffer, zeros(self.storage.dtype, width), [index])

    def _store_sums(self, r: Expr) -> None:
        """Sums gradients to y over lanes, `width` of them at a time, and stores them."""
        for name, segment in dict.fromkeys((name, segment) for name, segment, _ in self._sums):
            operand = self.storage.operand(name)
            dim, mul = operand.segments[segment].dim, operand.segments[segment].mul
            parts = [(k[2], b) for k, b in self._sums.items() if k[:2] == (name, segment)]
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
                    vectors = [buffer[o * dim + j] for j in range(dim)]
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

    def _emit_group(self, group: list[int], r: Expr) -> None:
        """One loop over blocks of lanes, all paths of a group in it."""
        first = self.roles[group[0]]
        segment = first.path.segments[first.spread]
        outputs = [step.target for step in self._steps_to(first.spread)]
        spread_adds = {name: self.storage.adds(name, segment) for name in outputs}
        flags = self._write_flags(group)

        def emit(block: Block) -> None:
            scope = _Scope(block)
            for step in self.steps:
                if step.output != first.spread:
                    name = step.operands[first.spread]
                    if name not in scope.spread:
                        scope.spread[name] = self.storage.read(name, segment, r, block)
            dim = self.form.operands[first.spread].segments[segment].dim
            for name in outputs:
                scope.spread_sums.setdefault(name, [[] for _ in range(dim)])
            for position, number in enumerate(group):
                _PathEmitter(self, number, r, scope, flags).emit()
                if position + 1 == len(group) or self._common_segment(
                    group[position + 1]
                ) != self._common_segment(number):
                    self._flush_common_sums(scope, number, r, flags)
            for name, sums in scope.spread_sums.items():
                values = [total(s) if s else zeros(self.storage.dtype, block.width) for s in sums]
                self.storage.write(name, segment, r, block, values, add=spread_adds[name])

        each_block(first.extent, self.lanes, emit)
        for name in outputs:
            self.storage.mark(name, segment)
        for _, name, written in flags:
            self.storage.mark(name, written)

    def _common_segment(self, number: int) -> int:
        roles = self.roles[number]
        return roles.path.segments[roles.common]

    def _flush_common_sums(
        self, scope: _Scope, number: int, r: Expr, flags: dict[tuple[int, str, int], bool]
    ) -> None:
        """Adds running sums of gradients to y to their sums over lanes, or to y's gradient if it has lanes."""
        block, dim = scope.block, self.roles[number].coefficients.shape[1]
        for name, segment in dict.fromkeys((name, seg) for name, seg, _ in scope.common_sums):
            sums = {j: v for (n, s, j), v in scope.common_sums.items() if (n, s) == (name, segment)}
            if self.roles[number].common_has_lanes:
                zero = zeros(self.storage.dtype, block.width)
                values = [sums.get(j, zero) for j in range(dim)]
                add = flags[number, name, segment]
                self.storage.write(name, segment, r, block, values, add=add)
                continue
            buffer = self._sums[name, segment, block.width]
            for j, value in sums.items():
                T.buffer_store(buffer, buffer[j] + value, [j])
        scope.common_sums.clear()

    def _write_flags(self, group: list[int]) -> dict[tuple[int, str, int], bool]:
        """(path, value, segment) -> whether the path's write adds, for weights, products and laned y.

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


class _PathEmitter:
    """Emits one path of a group inside one block of lanes."""

    def __init__(
        self,
        couple: Couple,
        number: int,
        r: Expr,
        scope: _Scope,
        flags: dict[tuple[int, str, int], bool],
    ) -> None:
        """Binds the path to its surroundings."""
        self.couple, self.number, self.r, self.scope, self.flags = couple, number, r, scope, flags
        self.roles = couple.roles[number]
        self.storage, self.steps = couple.storage, couple.steps
        self.block = scope.block
        self.dtype = self.storage.dtype

    def emit(self) -> None:
        """The path at every index of the looped letter."""
        if self.roles.loop == 1:
            self._emit_at(0, self._sum_spread_in_scope, None)
            return
        width = self.block.width
        spread_dim, _, product_dim = self.roles.coefficients.shape
        spread = self._accumulators(self.roles.spread, spread_dim)
        product: dict[str, list[Expr]] = {}
        if len(self.roles.path.channels[self.roles.product]) == 1:
            product = self._accumulators(self.roles.product, product_dim)

        def add_spread(name: str, i: int, value: Expr) -> None:
            T.buffer_store(spread[name][i], spread[name][i][0] + value, [0])

        for buffers in (*spread.values(), *product.values()):
            for buffer in buffers:
                T.buffer_store(buffer, zeros(self.dtype, width), [0])
        if self.roles.loop <= MAX_UNROLLED:
            for o in range(self.roles.loop):
                self._emit_at(o, add_spread, product)
        else:
            with T.serial(0, self.roles.loop) as o:
                self._emit_at(o, add_spread, product)
        for name, buffers in spread.items():
            for i, buffer in enumerate(buffers):
                self.scope.spread_sums[name][i].append(T.bind(buffer[0]))
        for name, buffers in product.items():
            self._write(name, self.roles.product, 0, [buffer[0] for buffer in buffers])

    def _accumulators(self, slot: int, dim: int) -> dict[str, list[Expr]]:
        """One register for each component of each value computed in a slot."""
        vector = vector_dtype(self.dtype, self.block.width)
        return {
            step.target: [T.alloc_buffer((1,), vector, scope="global") for _ in range(dim)]
            for step in self.steps
            if step.output == slot
        }

    def _sum_spread_in_scope(self, name: str, i: int, value: Expr) -> None:
        self.scope.spread_sums[name][i].append(T.bind(value))

    def _emit_at(
        self,
        o: Expr,
        add_spread: Callable[[str, int, Expr], None],
        product_sums: dict[str, list[Expr]] | None,
    ) -> None:
        """The path at one index of the looped letter."""
        roles, self._o = self.roles, o
        self._weights: dict[str, list[Expr]] = {}
        self._products: dict[str, list[Expr]] = {}
        self._weighted: dict[tuple[str, ...], list[Expr]] = {}
        self._pulled: dict[tuple[str, str], dict[int, Expr]] = {}
        self._laned: dict[str, dict[tuple[int, int], Expr]] = {}
        for name in dict.fromkeys(step.target for step in self.couple._steps_to(roles.product)):
            values = self._product_value(name)
            if product_sums:
                for buffer, value in zip(product_sums[name], values, strict=True):
                    T.buffer_store(buffer, buffer[0] + value, [0])
            else:
                self._write(name, roles.product, o, values)
        for step in self.couple._steps_to(roles.spread):
            pulled = self._pull(step)
            for i, value in pulled.items():
                add_spread(step.target, i, self._weigh(step, value))
        for name in dict.fromkeys(step.target for step in self.couple._steps_to(roles.weight)):
            terms = [
                self.scope.spread[step.operands[roles.spread]][i] * value
                for step in self.couple._steps_to(roles.weight)
                if step.target == name
                for i, value in self._pull(step).items()
            ]
            value = total(terms) if terms else zeros(self.dtype, self.block.width)
            self._write(name, roles.weight or 0, o, [value])
        for name in dict.fromkeys(step.target for step in self.couple._steps_to(roles.common)):
            self._common_gradient(name)

    def _write(self, name: str, slot: int, o: Expr, values: list[Expr]) -> None:
        segment = self.roles.path.segments[slot]
        self.storage.write(
            name,
            segment,
            self.r,
            self.block,
            values,
            add=self.flags[self.number, name, segment],
            channels=self.roles.channels(slot, o),
        )

    def _weigh(self, step: Step, value: Expr) -> Expr:
        """value * w, or value where the path has no weights."""
        if self.roles.weight is None:
            return value
        return value * self._weight(step.operands[self.roles.weight])

    def _weight(self, name: str) -> Expr:
        slot = self.roles.weight or 0
        if name not in self._weights:
            channels = self.roles.channels(slot, self._o)
            segment = self.roles.path.segments[slot]
            self._weights[name] = self.storage.read(name, segment, self.r, self.block, channels)
        return self._weights[name][0]

    def _product(self, name: str) -> list[Expr]:
        slot = self.roles.product
        if name not in self._products:
            channels = self.roles.channels(slot, self._o)
            segment = self.roles.path.segments[slot]
            self._products[name] = self.storage.read(name, segment, self.r, self.block, channels)
        return self._products[name]

    def _combined(self, name: str, i: int, k: int) -> Expr:
        """A[i, k] of a value that plays y, as a vector."""
        if not self.roles.common_has_lanes:
            buffer, index, stride = self.couple._tables[self.number, name]
            return splat(buffer[self._o * stride + index[i, k]], self.block.width)
        if name not in self._laned:
            segment = self.roles.path.segments[self.roles.common]
            if (name, segment) not in self.scope.common:
                read = self.storage.read(name, segment, self.r, self.block)
                self.scope.common[name, segment] = read
            y = self.scope.common[name, segment]
            coefficients = self.roles.coefficients
            self._laned[name] = {
                (i, k): T.bind(total([self._scaled(y[j], coefficients[i, j, k])
                                      for j in np.flatnonzero(coefficients[i, :, k])]))
                for i, k in self.roles.pattern
            }
        return self._laned[name][i, k]

    def _scaled(self, value: Expr, factor: float) -> Expr:
        return value * splat(constant(self.dtype, factor), self.block.width)

    def _weighted_sum(self, steps: list[Step]) -> list[Expr]:
        """s[i] = sum over steps of w x[i]."""
        spread, weight = self.roles.spread, self.roles.weight
        pairs = sorted(
            (s.operands[spread], "" if weight is None else s.operands[weight]) for s in steps
        )
        key = tuple(name for pair in pairs for name in pair)
        if key not in self._weighted:
            dim = self.roles.coefficients.shape[0]
            used = {i for i, _ in self.roles.pattern}
            self._weighted[key] = [
                T.bind(
                    total(
                        [
                            self.scope.spread[x][i] * self._weight(w) if w else self.scope.spread[x][i]
                            for x, w in pairs
                        ]
                    )
                )
                if i in used
                else zeros(self.dtype, self.block.width)
                for i in range(dim)
            ]
        return self._weighted[key]

    def _product_value(self, name: str) -> list[Expr]:
        """z[k] = sum_i s[i] A[i, k], summed over the values that play y."""
        roles = self.roles
        by_common: dict[str, list[Step]] = {}
        for step in self.couple._steps_to(roles.product):
            if step.target == name:
                by_common.setdefault(step.operands[roles.common], []).append(step)
        terms: list[list[Expr]] = [[] for _ in range(roles.coefficients.shape[2])]
        for common, steps in by_common.items():
            s = self._weighted_sum(steps)
            for i, k in roles.pattern:
                terms[k].append(s[i] * self._combined(common, i, k))
        return [T.bind(total(t)) if t else zeros(self.dtype, self.block.width) for t in terms]

    def _pull(self, step: Step) -> dict[int, Expr]:
        """v[i] = sum_k A[i, k] z[k], for the y and z that a step reads."""
        common, product = step.operands[self.roles.common], step.operands[self.roles.product]
        if (common, product) not in self._pulled:
            z = self._product(product)
            terms: dict[int, list[Expr]] = {}
            for i, k in self.roles.pattern:
                terms.setdefault(i, []).append(z[k] * self._combined(common, i, k))
            self._pulled[common, product] = {i: T.bind(total(t)) for i, t in terms.items()}
        return self._pulled[common, product]

    def _common_gradient(self, name: str) -> None:
        """Adds sum_ik C[i, j, k] s[i] z[k] to the sums over lanes of y's gradient."""
        roles = self.roles
        by_product: dict[str, list[Step]] = {}
        for step in self.couple._steps_to(roles.common):
            if step.target == name:
                by_product.setdefault(step.operands[roles.product], []).append(step)
        segment, dim = roles.path.segments[roles.common], roles.coefficients.shape[1]
        terms: dict[int, list[Expr]] = {}
        sums: dict[tuple[str, int, int], Expr] = {}
        if roles.loop == 1:
            sums = self.scope.common_sums
        for product, steps in by_product.items():
            s, z = self._weighted_sum(steps), self._product(product)
            for i, k in roles.pattern:
                outer = T.bind(s[i] * z[k])
                for j in np.flatnonzero(roles.coefficients[i, :, k]):
                    term = self._scaled(outer, roles.coefficients[i, j, k])
                    terms.setdefault(int(j), []).append(term)
        for j, some in terms.items():
            key = (name, segment, j)
            sums[key] = T.bind(total([sums[key], *some] if key in sums else some))
        if roles.loop > 1:
            buffer = self.couple._sums[name, segment, self.block.width]
            for (_, _, j), value in sums.items():
                index = self._o * dim + j
                T.buffer_store(buffer, buffer[index] + value, [index])
