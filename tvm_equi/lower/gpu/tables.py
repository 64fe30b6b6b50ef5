"""Coefficients combined with operands that have no lanes, once per row, in shared memory.

In: the paths of a launch. Out: tables A[i,k] = sum_j C[i,j,k] y[j], which the threads of a block
make together, one row or edge each, and which all lanes then read: a read serves every lane at
once, and four neighbours come with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Contraction
from tvm_equi.lower.gpu.scalars import constant, padded, total, wide_lanes, wide_read
from tvm_equi.lower.gpu.values import At, Letters, Memory, read
from tvm_equi.lower.roles import Roles
from tvm_equi.lower.vector import Expr

Key = tuple[int, str]
"""(path, value that plays y)."""


@dataclass(frozen=True)
class TablePlan:
    """Where the tables of a launch lie in shared memory; no TVM in it.

    Args:
        form: the contraction.
        roles: of each path that has tables.
        keys: the tables, in order.
        loop: values of the loop letter, each of which has tables of its own.
        dtype: of the entries.
    """

    form: Contraction
    roles: dict[int, Roles]
    keys: tuple[Key, ...]
    loop: int
    dtype: str
    starts: dict[Key, int] = field(init=False)
    per_loop: int = field(init=False)

    def __post_init__(self) -> None:
        """Lays the tables out one after another, each at the start of a wide read."""
        starts, size = {}, 0
        for number, name in self.keys:
            starts[number, name] = size
            size += padded(len(self.roles[number].pattern), self.dtype)
        object.__setattr__(self, "starts", starts)
        object.__setattr__(self, "per_loop", size)

    @property
    def entries(self) -> int:
        """Entries of one row."""
        return self.per_loop * self.loop

    def parts(self, count: int) -> list[list[Key]]:
        """The tables in parts of about as many entries, at most `count`."""
        parts: list[list[Key]] = [[] for _ in range(max(1, min(count, len(self.keys))))]
        sizes = [0] * len(parts)
        for key in sorted(self.keys, key=lambda k: -len(self.roles[k[0]].pattern)):
            smallest = int(np.argmin(sizes))
            parts[smallest].append(key)
            sizes[smallest] += len(self.roles[key[0]].pattern)
        return parts


def combined(roles: Roles, y: list[Expr], i: int, k: int, dtype: str, *, exact: bool) -> Expr:
    """A[i,k] from the components of y."""
    coefficients = roles.coefficients
    return total(
        [
            y[j] * constant(dtype, coefficients[i, j, k], exact=exact)
            for j in map(int, np.flatnonzero(coefficients[i, :, k]))
        ]
    )


def emit_tables(
    plan: TablePlan,
    keys: list[Key],
    buffer: Any,
    start: Expr,
    memory: Memory,
    letters: Letters,
    at: At,
    *,
    exact: bool,
) -> None:
    """Some tables of one row.

    Args:
        plan: where they lie.
        keys: which ones.
        buffer: of shared memory.
        start: of the row's tables in it.
        memory: of the operands.
        letters: without a lane.
        at: the row.
        exact: whether constants are written as bit patterns.
    """

    def emit(o: Expr) -> None:
        here = letters.at(o)
        known: dict[tuple[str, int], list[Expr]] = {}
        for number, name in keys:
            roles = plan.roles[number]
            segment = roles.path.segments[roles.common]
            if (name, segment) not in known:
                channel = here.channel(roles.path, roles.path.channels[roles.common])
                known[name, segment] = read(memory, name, segment, channel, at)
            base = start + o * plan.per_loop + plan.starts[number, name]
            for position, (i, k) in enumerate(roles.pattern):
                value = combined(roles, known[name, segment], i, k, plan.dtype, exact=exact)
                T.buffer_store(buffer, value, [base + position])

    if plan.loop == 1:
        emit(0)
    else:
        with T.serial(0, plan.loop) as o:
            emit(o)


def read_table(plan: TablePlan, key: Key, buffer: Any, start: Expr) -> dict[tuple[int, int], Expr]:
    """The entries of one table.

    Args:
        plan: where it lies.
        key: which one.
        buffer: of shared memory.
        start: of the tables of the row and of the value of the loop letter.
    """
    pattern = plan.roles[key[0]].pattern
    lanes = wide_lanes(plan.dtype)
    found: list[Expr] = []
    for first in range(0, len(pattern), lanes):
        found += wide_read(buffer, start + plan.starts[key] + first, plan.dtype)
    return dict(zip(pattern, found, strict=False))
