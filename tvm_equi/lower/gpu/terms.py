"""What one thread computes for one row or edge: the terms of every path of a launch.

In: the launch and the row at hand. Out: TensorIR. The names are those of `lower/couple.py`: the
*spread* operand x[i] has lanes, the *common* one y[j] usually none, w weighs lanes, z[k] is the
product, and
    s[i] = w x[i]               for every product and every gradient to y
    v[i] = sum_k A[i,k] z[k]    for every gradient to x and w
are computed once for all steps of a path.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import PAIRS, Contraction, Path
from tvm_equi.algebra.kernel import Step
from tvm_equi.lower.gpu.launches import Walk, letters
from tvm_equi.lower.gpu.scalars import constant, total
from tvm_equi.lower.gpu.sums import Key, Registers, Sum
from tvm_equi.lower.gpu.tables import TablePlan, combined, read_table
from tvm_equi.lower.gpu.values import At, Letters, Memory, read, write
from tvm_equi.lower.roles import Roles
from tvm_equi.lower.vector import Expr


class Terms:
    """Emits the terms of a launch.

    Args:
        form: the contraction.
        launch: the launch.
        memory: of the operands.
        sums: of the launch.
        registers: of the sums.
        tables: of the launch, and the shared memory where they are.
        is_written: whether an earlier launch has stored to an output segment.
        exact: whether constants are written as bit patterns.
    """

    def __init__(
        self,
        form: Contraction,
        launch: Walk,
        memory: Memory,
        sums: dict[Key, Sum],
        registers: Registers,
        tables: tuple[TablePlan, Any] | None,
        is_written: dict[Key, bool],
        *,
        exact: bool,
    ) -> None:
        """Works out the roles of each path."""
        self.form, self.launch, self.memory = form, launch, memory
        self.sums, self.registers, self.tables = sums, registers, tables
        self.is_written, self.exact, self.dtype = is_written, exact, memory.dtype
        self.by_path: dict[int, list[Step]] = {}
        for item in launch.items:
            self.by_path.setdefault(item.path, []).append(item.step)
        self.node_values: dict[Key, list[Expr]] = {}

    def emit(self, at: At, letters: Letters, table_start: Expr) -> None:
        """The terms of one row.

        Args:
            at: the row.
            letters: of the thread.
            table_start: of the row's tables in shared memory.
        """
        self.at, self.letters, self.table_start = at, letters, table_start
        self._known: dict[tuple[str, int, str], list[Expr]] = dict(self._node_known())
        self._stored: set[Key] = set()
        if not self.launch.loop:
            self._emit_paths()
            return
        self._read_before_loop()
        before = self._known
        extent = self.form.paths[self.launch.items[0].path].extent(self.launch.loop)
        with T.serial(0, extent) as o:
            self.letters = letters.at(o)
            self._known = dict(before)
            self._emit_paths()

    def _node_known(self) -> dict[tuple[str, int, str], list[Expr]]:
        """Values that the thread keeps for all edges of a node."""
        return {
            (name, segment, self.launch.lane): values
            for (name, segment), values in self.node_values.items()
        }

    def _read_before_loop(self) -> None:
        """Reads what does not depend on the loop letter."""
        for number, steps in self.by_path.items():
            path = self.form.paths[number]
            for step in steps:
                for slot, name in enumerate(step.operands):
                    own = letters(path, path.channels[slot])
                    if slot != step.output and self.launch.loop not in own:
                        is_table = self.tables is not None and name in {
                            key[1] for key in self.tables[0].keys if key[0] == number
                        }
                        if not is_table:
                            self._value(path, slot, name)

    def _emit_paths(self) -> None:
        for number, steps in self.by_path.items():
            match self.form.family:
                case "couple":
                    _Couple(self, number, steps).emit()
                case "mix":
                    for step in steps:
                        self._emit_mix(self.form.paths[number], step)
                case "select":
                    for step in steps:
                        self._emit_select(self.form.paths[number], step)

    def _value(self, path: Path, slot: int, name: str) -> list[Expr]:
        """The components of an operand at the thread's letters."""
        pattern = "".join(letters(path, path.channels[slot]))
        key = (name, path.segments[slot], pattern)
        if key not in self._known:
            channel = self.letters.channel(path, path.channels[slot])
            self._known[key] = read(self.memory, name, path.segments[slot], channel, self.at)
        return self._known[key]

    def _constant(self, value: float) -> Expr:
        return constant(self.dtype, value, exact=self.exact)

    def add(self, path: Path, slot: int, name: str, terms: dict[int, list[Expr]]) -> None:
        """Adds terms to the components of an output."""
        key = (name, path.segments[slot])
        if self.sums[key].in_registers:
            for k, some in terms.items():
                for term in some:
                    self.registers.add(key, k, term)
            return
        zero = constant(self.dtype, 0.0)
        dim = self.sums[key].dim
        values = [total(terms[k]) if terms.get(k) else zero for k in range(dim)]
        channel = self.letters.channel(path, path.channels[slot])
        is_first = key not in self._stored and self.sums[key].scope == "row"
        add = self.is_written[key] or not is_first
        self._stored.add(key)
        write(self.memory, name, key[1], channel, self.at, values, add=add)

    def _emit_mix(self, path: Path, step: Step) -> None:
        """One step of a product with a matrix per row: z[w] = sum_u W[u,w] x[u]."""
        x, weights, z = step.operands
        scale = 1.0 if path.scale == 1.0 else path.scale

        def scaled(value: Expr) -> Expr:
            return value if scale == 1.0 else value * self._constant(scale)

        if step.output == 1:
            pairs = zip(self._value(path, 0, x), self._value(path, 2, z), strict=True)
            self.add(path, 1, weights, {0: [scaled(total([a * b for a, b in pairs]))]})
            return
        source = (2, z) if step.output == 0 else (0, x)
        weight = T.bind(scaled(self._value(path, 1, weights)[0]))
        values = self._value(path, *source)
        self.add(path, step.output, step.target, {k: [weight * v] for k, v in enumerate(values)})

    def _emit_select(self, path: Path, step: Step) -> None:
        """One step that relabels channels or sums them."""
        source = 1 - step.output
        if PAIRS in path.channels:
            with T.If(self.letters.value("u") < self.letters.value("v")), T.Then():
                known = self._known
                self._known = {}
                self._add_selected(path, step, source)
                self._known = known
            return
        self._add_selected(path, step, source)

    def _add_selected(self, path: Path, step: Step, source: int) -> None:
        values = self._value(path, source, step.operands[source])
        if path.scale != 1.0:
            values = [value * self._constant(path.scale) for value in values]
        self.add(path, step.output, step.target, {k: [value] for k, value in enumerate(values)})


class _Couple:
    """One path of a "couple" contraction."""

    def __init__(self, terms: Terms, number: int, steps: list[Step]) -> None:
        self.terms, self.number, self.steps = terms, number, steps
        self.path = terms.form.paths[number]
        self.roles = Roles(terms.form, self.path, wanted=terms.launch.lane)
        self._tables: dict[str, dict[tuple[int, int], Expr]] = {}
        self._weighted: dict[tuple[str, str], list[Expr]] = {}
        self._pulled: dict[tuple[str, str], dict[int, Expr]] = {}

    def emit(self) -> None:
        """The terms of every step."""
        roles = self.roles
        for name, steps in self._targets(roles.product):
            terms: dict[int, list[Expr]] = {}
            for step in steps:
                s = self._weigh(step)
                table = self._table(step.operands[roles.common])
                for i, k in roles.pattern:
                    terms.setdefault(k, []).append(s[i] * table[i, k])
            self.terms.add(self.path, roles.product, name, terms)
        for name, steps in self._targets(roles.spread):
            terms = {}
            for step in steps:
                for i, value in self._pull(step).items():
                    weighted = value
                    if roles.weight is not None:
                        weighted = value * self._weight(step.operands[roles.weight])
                    terms.setdefault(i, []).append(weighted)
            self.terms.add(self.path, roles.spread, name, terms)
        if roles.weight is not None:
            for name, steps in self._targets(roles.weight):
                products = []
                for step in steps:
                    x = self._value(roles.spread, step.operands[roles.spread])
                    products += [x[i] * value for i, value in self._pull(step).items()]
                self.terms.add(self.path, roles.weight, name, {0: products})
        for name, steps in self._targets(roles.common):
            self.terms.add(self.path, roles.common, name, self._common_terms(steps))

    def _targets(self, slot: int) -> list[tuple[str, list[Step]]]:
        """The values that steps compute in a slot, with their steps."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            if step.output == slot:
                found.setdefault(step.target, []).append(step)
        return list(found.items())

    def _value(self, slot: int, name: str) -> list[Expr]:
        return self.terms._value(self.path, slot, name)

    def _weight(self, name: str) -> Expr:
        return self._value(self.roles.weight or 0, name)[0]

    def _weigh(self, step: Step) -> list[Expr]:
        """s[i] = w x[i], or x[i] where the path has no weights."""
        x = step.operands[self.roles.spread]
        w = "" if self.roles.weight is None else step.operands[self.roles.weight]
        if (x, w) not in self._weighted:
            values = self._value(self.roles.spread, x)
            if w:
                weight = self._weight(w)
                values = [T.bind(value * weight) for value in values]
            self._weighted[x, w] = values
        return self._weighted[x, w]

    def _pull(self, step: Step) -> dict[int, Expr]:
        """v[i] = sum_k A[i,k] z[k]."""
        y, z = step.operands[self.roles.common], step.operands[self.roles.product]
        if (y, z) not in self._pulled:
            values, table = self._value(self.roles.product, z), self._table(y)
            terms: dict[int, list[Expr]] = {}
            for i, k in self.roles.pattern:
                terms.setdefault(i, []).append(table[i, k] * values[k])
            self._pulled[y, z] = {i: T.bind(total(some)) for i, some in terms.items()}
        return self._pulled[y, z]

    def _table(self, name: str) -> dict[tuple[int, int], Expr]:
        """A[i,k] of a value that plays y."""
        if name not in self._tables:
            self._tables[name] = self._made_table(name)
        return self._tables[name]

    def _made_table(self, name: str) -> dict[tuple[int, int], Expr]:
        terms = self.terms
        key = (self.number, name)
        if terms.tables is not None and key in terms.tables[0].starts:
            plan, buffer = terms.tables
            start = terms.table_start
            if plan.loop > 1:
                start = start + terms.letters.loop_value * plan.per_loop
            return read_table(plan, key, buffer, start)
        y = self._value(self.roles.common, name)
        return {
            (i, k): T.bind(combined(self.roles, y, i, k, terms.dtype, exact=terms.exact))
            for i, k in self.roles.pattern
        }

    def _common_terms(self, steps: list[Step]) -> dict[int, list[Expr]]:
        """sum_ik C[i,j,k] s[i] z[k]."""
        roles, terms = self.roles, self.terms
        found: dict[int, list[Expr]] = {}
        for step in steps:
            s, z = self._weigh(step), self._value(roles.product, step.operands[roles.product])
            for i, k in roles.pattern:
                outer = T.bind(s[i] * z[k])
                for j in map(int, np.flatnonzero(roles.coefficients[i, :, k])):
                    factor = terms._constant(roles.coefficients[i, j, k])
                    found.setdefault(j, []).append(outer * factor)
        return found
