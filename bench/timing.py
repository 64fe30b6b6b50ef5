"""Timing of contestants against each other on a machine that is not quiet.

In: functions of no arguments. Out: the median and the spread of each. They take turns, round by
round, so that what else the machine does hits all alike; garbage collection is off meanwhile.
Dropping a result counts as part of a call.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch

Call = Callable[[], object]

TURN_SECONDS = 0.004
MAX_CALLS = 16
"""A turn lasts about so long, in at most so many calls: short calls find their data in cache."""

MAX_ROUNDS = 60

SLOW_SECONDS = 2.0
SLOW_ROUNDS = 2
"""A call that takes longer has so few turns."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per call: median, 10th and 90th percentile, and the number of timed calls."""

    median: float
    p10: float
    p90: float
    calls: int

    @staticmethod
    def of(seconds: list[float]) -> Timing:
        """The summary of timed calls."""
        p10, median, p90 = np.percentile(seconds, (10, 50, 90))
        return Timing(float(median), float(p10), float(p90), len(seconds))

    def as_json(self) -> dict[str, float]:
        """Fields by name."""
        return asdict(self)


def interleave(calls: Mapping[str, Call], seconds: float, min_rounds: int = 3) -> dict[str, Timing]:
    """Times every call, in rounds in which each has its turn.

    Args:
        calls: by name; each has run at least once, so that nothing is compiled here.
        seconds: to spend on each. A call that is too slow for that still gets `min_rounds` turns,
            spread evenly over the rounds of the others.
        min_rounds: the fewest turns of a call that takes up to `SLOW_SECONDS`.
    """
    with no_gc():
        plans = {name: _plan(call, seconds, min_rounds) for name, call in calls.items()}
        total = max((plan.rounds for plan in plans.values()), default=0)
        found = {name: list(plan.known) for name, plan in plans.items()}
        for index in range(total):
            for name, call in calls.items():
                rounds = plans[name].rounds
                if (index + 1) * rounds // total > index * rounds // total:
                    found[name] += _turn(call, plans[name].repeats)
    return {name: Timing.of(values) for name, values in found.items()}


@dataclass(frozen=True, slots=True)
class _Plan:
    """The number of turns of a call, of timed calls in a turn, and times that are known already."""

    rounds: int
    repeats: int
    known: tuple[float, ...] = ()


def _plan(call: Call, seconds: float, min_rounds: int) -> _Plan:
    """How often a call is timed."""
    once = _elapsed(call)
    if once < TURN_SECONDS:
        once = min(once, _elapsed(call))
    repeats = max(1, min(MAX_CALLS, int(TURN_SECONDS / once)))
    turn = once * (repeats + (repeats > 1))
    if once > SLOW_SECONDS:
        return _Plan(min(SLOW_ROUNDS, min_rounds) - 1, repeats, (once,))
    return _Plan(max(min_rounds, min(MAX_ROUNDS, int(seconds / turn))), repeats)


def _turn(call: Call, repeats: int) -> list[float]:
    """The times of one turn; where it has several calls, one that is not timed comes first."""
    if repeats > 1:
        call()
    return [_elapsed(call) for _ in range(repeats)]


def _elapsed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def samples(call: Call) -> list[float]:
    """The times of one turn of a call, after one that is not timed."""
    with no_gc():
        once = _elapsed(call)
        return [_elapsed(call) for _ in range(max(1, min(MAX_CALLS, int(TURN_SECONDS / once))))]


@contextmanager
def no_gc() -> Iterator[None]:
    """Collects garbage once, then keeps the collector off."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Gives torch so many threads."""
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)
