"""Races between the rule and the best candidates, which take turns on one machine.

In: points of a design space. Out: how many times as fast as the rule each is. What else the machine
does hits all alike, so that a ratio is known better than either time.
A kernel whose time depends on where its operands and its stack are must win on average over
processes and places in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_equi.schedule.databases import geometric_mean
from tvm_equi.schedule.space import Point
from tvm_equi.tuning.helper import FailedError
from tvm_equi.tuning.pool import Pool
from tvm_equi.tuning.task import Outcome


@dataclass(frozen=True, slots=True)
class Placing:
    """How a point did in a race.

    Args:
        point: that took part.
        gain: the rule's seconds over its own, geometric mean over places in memory.
        rule_seconds: of the rule, geometric mean.
    """

    point: Point
    gain: float
    rule_seconds: float


def race(pool: Pool, outcome: Outcome, rule: Point, finalists: Sequence[Point]) -> list[Placing]:
    """How the rule, first, and the finalists do.

    A finalist that fails now, though it did not before, takes no part; nobody does if the rule
    fails. What failed is noted in the outcome.

    Args:
        pool: measures.
        outcome: of the task.
        rule: its point.
        finalists: other points.

    Raises:
        TuningError: no worker answers.
    """
    points = [rule, *finalists]
    try:
        with tempfile.TemporaryDirectory(prefix="tvm_equi-tune-") as folder:
            times = pool.race(outcome.task, points, Path(folder))
    except FailedError as error:
        outcome.note(str(error))
        if len(finalists) > 1:  # which of them it was is not known
            return [each for point in finalists for each in race(pool, outcome, rule, [point])]
        return race(pool, outcome, rule, []) if finalists else []
    seconds = geometric_mean(times[0])
    return [
        Placing(point, seconds / geometric_mean(each), seconds)
        for point, each in zip(points, times, strict=True)
        if each
    ]
