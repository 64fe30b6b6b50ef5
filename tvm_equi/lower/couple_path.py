"""TensorIR for one path of a bundle of "couple" steps, inside one block of lanes.

In: the bundle that the path belongs to (`lower/couple.py`, where the formulas are), and what its
paths share inside the block. Out: reads, arithmetic and writes for all steps of the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.kernel import Step
from tvm_equi.lower.roles import Pair
from tvm_equi.lower.vector import Block, Expr, constant, splat, total, vector_dtype, zeros

if TYPE_CHECKING:
    from tvm_equi.lower.couple import Couple


@dataclass
class Scope:
    """Values that are shared by the paths of a group inside one block of lanes.

    Args:
        block: of lanes.
        zero: added to the addresses of tables.
        spread: components of values that play x.
        spread_sums: terms of gradients to x.
        common: components of values that play y, where they have lanes.
        common_sums: gradients to y so far.
    """

    block: Block
    zero: Expr = 0
    spread: dict[str, list[Expr]] = field(default_factory=dict)
    spread_sums: dict[str, list[list[Expr]]] = field(default_factory=dict)
    common: dict[tuple[str, int], list[Expr]] = field(default_factory=dict)
    common_sums: dict[tuple[str, int, int], Expr] = field(default_factory=dict)


class PathEmitter:
    """Emits one path of a group inside one block of lanes."""

    def __init__(
        self,
        couple: Couple,
        number: int,
        r: Expr,
        scope: Scope,
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
        if self.roles.loop <= self.couple.decisions.max_unrolled:
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
        self._start(o)
        roles = self.roles
        for name in dict.fromkeys(step.target for step in self.couple.steps_to(roles.product)):
            if product_sums:
                values = self._product_value(name, None)
                for buffer, value in zip(product_sums[name], values, strict=True):
                    T.buffer_store(buffer, buffer[0] + value, [0])
                continue
            segment = roles.path.segments[roles.product]
            sums = self.storage.running(name, segment)
            add = sums is None and self.flags[self.number, name, segment]
            self._write(name, roles.product, o, self._product_value(name, sums), add=add)
        for step in self.couple.steps_to(roles.spread):
            pulled = self._pull(step)
            for i, value in pulled.items():
                add_spread(step.target, i, self._weigh(step, value))
        for name in dict.fromkeys(step.target for step in self.couple.steps_to(roles.weight)):
            terms = [
                self.scope.spread[step.operands[roles.spread]][i] * value
                for step in self.couple.steps_to(roles.weight)
                if step.target == name
                for i, value in self._pull(step).items()
            ]
            value = total(terms) if terms else zeros(self.dtype, self.block.width)
            self._write(name, roles.weight or 0, o, [value])
        for name in dict.fromkeys(step.target for step in self.couple.steps_to(roles.common)):
            self._common_gradient(name)

    def _start(self, o: Expr) -> None:
        """Forgets what was computed at another index of the looped letter."""
        self._o = o
        self._weights: dict[str, list[Expr]] = {}
        self._products: dict[str, list[Expr]] = {}
        self._weighted: dict[tuple[str, ...], list[Expr]] = {}
        self._pulled: dict[tuple[str, str], dict[int, Expr]] = {}
        self._laned: dict[str, dict[tuple[int, int], Expr]] = {}

    def _write(
        self, name: str, slot: int, o: Expr, values: list[Expr], *, add: bool | None = None
    ) -> None:
        segment = self.roles.path.segments[slot]
        self.storage.write(
            name,
            segment,
            self.r,
            self.block,
            values,
            add=self.flags[self.number, name, segment] if add is None else add,
            channels=self.roles.channels(slot, o),
        )

    def _weigh(self, step: Step, value: Expr) -> Expr:
        """The value times w, or as it is where the path has no weights."""
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
            if self.couple.decisions.association == "inline":
                coefficients = self.roles.coefficients[i, :, k]
                terms = [
                    self._common_scalar(name, int(j)) * constant(self.dtype, coefficients[j])
                    for j in np.flatnonzero(coefficients)
                ]
                return splat(total(terms), self.block.width)
            buffer, index, stride = self.couple.tables[self.number, name]
            at = self.couple.table_index(self._o * stride + index[i, k], self.r)
            return splat(buffer[at + self.scope.zero], self.block.width)
        if name not in self._laned:
            segment = self.roles.path.segments[self.roles.common]
            if (name, segment) not in self.scope.common:
                read = self.storage.read(name, segment, self.r, self.block)
                self.scope.common[name, segment] = read
            y = self.scope.common[name, segment]
            coefficients = self.roles.coefficients
            self._laned[name] = {
                (i, k): T.bind(
                    total(
                        [
                            self._scaled(y[j], coefficients[i, j, k])
                            for j in np.flatnonzero(coefficients[i, :, k])
                        ]
                    )
                )
                for i, k in self.roles.pattern
            }
        return self._laned[name][i, k]

    def _common_scalar(self, name: str, j: int) -> Expr:
        """y[j] of a value without lanes."""
        segment = self.roles.path.segments[self.roles.common]
        return self.storage.scalar(name, segment, self.r, self._o, j)

    def _times_common(
        self, values: list[Expr], name: str, *, to_product: bool
    ) -> Iterator[tuple[int, Expr]]:
        """(k, s[i] A[i, k]) or (i, A[i, k] z[k]) for all terms of the sums over i or k.

        Args:
            values: s or z.
            name: of the value that plays y.
            to_product: whether the terms are those of z.
        """
        roles = self.roles
        if roles.common_has_lanes or self.couple.decisions.association != "pairs":
            for i, k in roles.pattern:
                source, target = (i, k) if to_product else (k, i)
                yield target, values[source] * self._combined(name, i, k)
            return
        pairs: dict[tuple[int, int], Expr] = {}
        for i, j, k in np.argwhere(roles.coefficients).tolist():
            source, target = (i, k) if to_product else (k, i)
            if (source, j) not in pairs:
                y = splat(self._common_scalar(name, j), self.block.width)
                pairs[source, j] = T.bind(values[source] * y)
            yield target, self._scaled(pairs[source, j], roles.coefficients[i, j, k])

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
            zero = zeros(self.dtype, self.block.width)
            self._weighted[key] = [
                T.bind(total([self._weighted_term(x, w, i) for x, w in pairs]))
                if i in used
                else zero
                for i in range(dim)
            ]
        return self._weighted[key]

    def _weighted_term(self, x: str, w: str, i: int) -> Expr:
        value = self.scope.spread[x][i]
        return value * self._weight(w) if w else value

    def _product_value(self, name: str, sums: list[Expr] | None) -> list[Expr]:
        """z[k] = sum_i s[i] A[i, k], summed over the values that play y, added to `sums`.

        A sum that starts from what is there is a chain of fused multiply-adds and nothing else.
        """
        roles = self.roles
        by_common: dict[str, list[Step]] = {}
        for step in self.couple.steps_to(roles.product):
            if step.target == name:
                by_common.setdefault(step.operands[roles.common], []).append(step)
        terms: list[list[Expr]] = [[s] for s in sums or ()]
        terms = terms or [[] for _ in range(roles.coefficients.shape[2])]
        for common, steps in by_common.items():
            s = self._weighted_sum(steps)
            for k, term in self._times_common(s, common, to_product=True):
                terms[k].append(term)
        return [T.bind(total(t)) if t else zeros(self.dtype, self.block.width) for t in terms]

    def _pull(self, step: Step) -> dict[int, Expr]:
        """v[i] = sum_k A[i, k] z[k], for the y and z that a step reads."""
        common, product = step.operands[self.roles.common], step.operands[self.roles.product]
        if (common, product) not in self._pulled:
            z = self._product(product)
            terms: dict[int, list[Expr]] = {}
            for i, term in self._times_common(z, common, to_product=False):
                terms.setdefault(i, []).append(term)
            self._pulled[common, product] = {i: T.bind(total(t)) for i, t in terms.items()}
        return self._pulled[common, product]

    def _common_gradient(self, name: str) -> None:
        """Adds sum_ik C[i, j, k] s[i] z[k] to the sums over lanes of y's gradient."""
        roles = self.roles
        by_product: dict[str, list[Step]] = {}
        for step in self.couple.steps_to(roles.common):
            if step.target == name:
                by_product.setdefault(step.operands[roles.product], []).append(step)
        segment, dim = roles.path.segments[roles.common], roles.coefficients.shape[1]
        terms: dict[int, list[Expr]] = {}
        sums: dict[tuple[str, int, int], Expr] = {}
        if roles.loop == 1:
            sums = self.scope.common_sums
        pairs = self.couple.pairs.registers.get((self.number, name))
        if pairs is not None:
            self._add_pairs(pairs, by_product)
            return
        for product, steps in by_product.items():
            s, z = self._weighted_sum(steps), self._product(product)
            for i, k in roles.pattern:
                outer = T.bind(s[i] * z[k])
                for j in map(int, np.flatnonzero(roles.coefficients[i, :, k])):
                    term = self._scaled(outer, roles.coefficients[i, j, k])
                    terms.setdefault(j, []).append(term)
        for j, some in terms.items():
            key = (name, segment, j)
            sums[key] = T.bind(total([sums[key], *some] if key in sums else some))
        if roles.loop > 1:
            buffer = self.couple.sums[name, segment, self.block.width]
            for (_, _, j), value in sums.items():
                index = self.couple.sum_index(buffer, self._o * dim + j, self.r)
                T.buffer_store(buffer, buffer[index] + value, [index])

    def emit_pairs(self) -> None:
        """The sums of pairs alone."""
        self._start(0)
        spread = self.roles.spread
        segment = self.roles.path.segments[spread]
        steps = self.couple.steps_to(self.roles.common)
        for name in dict.fromkeys(step.operands[spread] for step in steps):
            self.scope.spread[name] = self.storage.read(name, segment, self.r, self.block)
        for name in dict.fromkeys(step.target for step in steps):
            self._common_gradient(name)

    def _add_pairs(self, registers: dict[Pair, Any], by_product: dict[str, list[Step]]) -> None:
        """Adds s[i] z[k] to those sums of pairs that are in registers."""
        for product, steps in by_product.items():
            s, z = self._weighted_sum(steps), self._product(product)
            for (i, k), register in registers.items():
                T.buffer_store(register, register[0] + s[i] * z[k], [0])
