"""What a launch adds up, and where: registers, memory, or shared memory for sums over lanes.

In: the items of a launch. Out: for each output segment how it is kept, and TensorIR that adds to
it. A sum has one order, whatever the device does: no atomics.

    kept        which outputs                                   written
    registers   of a node or shared, without the loop letter    after the segment, or all rows
    registers   of a row, added to more than once               after the row
    lanes       of a row, without letters                       after the tile, summed over lanes
    memory      all others                                      at once, or added to
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Contraction
from tvm_equi.lower.gpu.launches import Walk, letters
from tvm_equi.lower.gpu.scalars import registers, set_zero
from tvm_equi.lower.vector import Expr

Key = tuple[str, int]
"""(output, segment)."""

Scope = Literal["row", "node", "all"]
"""How long a sum lives: for a row, for the rows of a node, or for all of the chunk."""


@dataclass(frozen=True, slots=True)
class Sum:
    """One output segment of a launch.

    Args:
        dim: components.
        scope: how long it is added to.
        over_lanes: whether lanes are summed.
        in_registers: whether it is kept there until it is written.
        channels: the pattern of its channels.
        path: one of the paths that add to it.
    """

    dim: int
    scope: Scope
    over_lanes: bool
    in_registers: bool
    channels: str
    path: int


def plan_sums(form: Contraction, launch: Walk, own: str) -> dict[Key, Sum]:
    """How every output segment of a launch is kept.

    Args:
        form: the contraction.
        launch: the launch.
        own: the kind of nodes by which edges are taken.
    """
    count: dict[Key, int] = {}
    sums: dict[Key, Sum] = {}
    for item in launch.items:
        path, slot = form.paths[item.path], item.step.output
        operand, channels = form.operands[slot], path.channels[slot]
        key = (item.step.target, path.segments[slot])
        count[key] = count.get(key, 0) + 1
        own_letters = letters(path, channels)
        scope: Scope = "row"
        if operand.rows != "row":
            scope = "all" if operand.rows == "shared" else "node"
        over_lanes = launch.lanes > 1 and launch.lane not in own_letters
        loops = bool(launch.loop)
        is_wide = loops and launch.loop in own_letters
        repeated = scope != "row" or loops or count[key] > 1
        sums[key] = Sum(
            operand.segments[key[1]].dim,
            scope,
            over_lanes,
            not is_wide and (repeated or over_lanes),
            channels,
            item.path,
        )
    return sums


class Registers:
    """The registers of a launch's sums."""

    def __init__(self, sums: dict[Key, Sum], dtype: str) -> None:
        """Allocates them."""
        self.sums, self.dtype = sums, dtype
        self.buffers: dict[Key, Any] = {
            key: registers(s.dim, dtype) for key, s in sums.items() if s.in_registers
        }

    def zero(self, scope: Scope) -> None:
        """Starts the sums of a scope."""
        for key, buffer in self.buffers.items():
            if self.sums[key].scope == scope:
                set_zero(buffer, self.sums[key].dim, self.dtype)

    def add(self, key: Key, component: int, value: Expr) -> None:
        """Adds to a component."""
        buffer = self.buffers[key]
        T.buffer_store(buffer, buffer[component] + value, [component])

    def values(self, key: Key) -> list[Expr]:
        """The components."""
        return [self.buffers[key][k] for k in range(self.sums[key].dim)]
