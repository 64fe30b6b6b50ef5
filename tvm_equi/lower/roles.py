"""The roles that operands play for a path of a "couple" contraction.

In: a contraction and one of its paths. Out: which operand is spread over lanes, which is combined
with the coefficients first, which letter runs over lanes and which over a loop, and the
coefficients with their axes in that order. No TensorIR is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tvm_equi.algebra.contraction import Contraction, Path
from tvm_equi.algebra.kernel import Step
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.location import Channels
from tvm_equi.lower.vector import Expr

Pair = tuple[int, int]
"""(i, k), components of x and z."""


@dataclass(frozen=True)
class Roles:
    """Which slots of a path play which role, and which letters run over lanes and over the loop.

    Args:
        form: the contraction.
        path: one of its paths.
        rows: if above 0, that many rows run over the lanes in place of a letter.
        wanted: the letter that runs over lanes, in place of the one that suits vectors.
    """

    form: Contraction
    path: Path
    rows: int = 0
    wanted: str = ""

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
        if self.wanted:
            return self.wanted
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
    def pattern(self) -> list[Pair]:
        """The (i, k) for which A[i, k] is not identically zero."""
        nonzero = np.any(self.coefficients != 0, axis=1)
        return [(int(i), int(k)) for i, k in np.argwhere(nonzero)]

    def pair_chunks(self, steps: Sequence[Step], decisions: Decisions) -> list[list[Pair]]:
        """The pattern in parts whose sums registers hold; none where no pairs are summed.

        Args:
            steps: of the bundle.
            decisions: from a schedule.
        """
        targets = {step.target for step in steps if step.output == self.common}
        most = decisions.pair_sums
        if not most or not targets or self.loop > 1 or self.common_has_lanes:
            return []
        count = -(-len(targets) * len(self.pattern) // most)
        size = -(-len(self.pattern) // max(1, count))
        return [self.pattern[start : start + size] for start in range(0, len(self.pattern), size)]
