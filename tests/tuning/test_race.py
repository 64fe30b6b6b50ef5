"""Races: ratios over places, and whoever fails takes no part."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.kernels import product
from tvm_equi.schedule.space import Point
from tvm_equi.tuning.helper import FailedError
from tvm_equi.tuning.pool import Options, Pool
from tvm_equi.tuning.race import race
from tvm_equi.tuning.task import Outcome, Task

TASK = Task.of("uvu", product(), "float32", "x86-64-v2", 64)
RULE = {"lanes": 4}
SECONDS = {4: [4.0, 8.0, 16.0], 8: [2.0, 8.0, 4.0], 16: [8.0, 8.0, 64.0]}


class Timed(Pool):
    """A pool that knows all times.

    Args:
        broken: lanes of points that crash.
    """

    def __init__(self, *broken: int) -> None:
        super().__init__(Options())
        self.broken, self.races = broken, []  # type: ignore[var-annotated]

    def race(self, task: Task, points: Sequence[Point], folder: Path) -> list[list[float]]:
        lanes = [point["lanes"] for point in points]
        self.races.append(lanes)
        if set(lanes) & set(self.broken):
            raise FailedError("crashed")
        return [SECONDS.get(number, []) for number in lanes]


def test_gains_are_means_over_places() -> None:
    pool, outcome = Timed(), Outcome(TASK)
    found = race(pool, outcome, RULE, [{"lanes": 8}, {"lanes": 16}, {"lanes": 32}])
    gains = {each.point["lanes"]: each.gain for each in found}
    assert gains == pytest.approx({4: 1.0, 8: 2.0, 16: 0.5})
    assert [each.rule_seconds for each in found] == pytest.approx([8.0, 8.0, 8.0])
    assert outcome.errors == []
    assert pool.races == [[4, 8, 16, 32]]  # one that cannot be built has no times


def test_who_crashes_takes_no_part() -> None:
    pool, outcome = Timed(8), Outcome(TASK)
    found = race(pool, outcome, RULE, [{"lanes": 8}, {"lanes": 16}])
    gains = {each.point["lanes"]: each.gain for each in found}
    assert gains == pytest.approx({4: 1.0, 16: 0.5})
    assert pool.races == [[4, 8, 16], [4, 8], [4], [4, 16]]
    assert set(outcome.errors) == {"crashed"}


@pytest.mark.parametrize("finalists", [[], [{"lanes": 8}]])
def test_no_race_without_the_rule(finalists: list[Point]) -> None:
    outcome = Outcome(TASK)
    assert race(Timed(4), outcome, RULE, finalists) == []
    assert outcome.errors[0] == "crashed"
