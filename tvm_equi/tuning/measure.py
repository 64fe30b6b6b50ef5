"""Check libraries, then time them, on this machine or on a worker.

In: libraries of candidates of one kernel, and a session of TVM's RPC, local or remote. Out: seconds
per call of each, or an error where numbers are wrong. Candidates take turns, so that what else the
machine does hits all alike. They do so at several *places*: with operands and libraries elsewhere
in memory, on which the time of one kernel may depend by a third. Every candidate is checked before
its time counts: all outputs on a few rows, and a sample of what is timed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import TuningError
from tvm_equi.lower.names import FUNCTION
from tvm_equi.tuning.operands import Case, make_case

CHECKED_ROWS = 277
"""Several tiles of edges for each of several nodes, and of rows; the last ones are not full."""

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
"""Of the largest difference to the oracle, over the largest value."""

MIN_SECONDS = 0.002
"""Of one timed turn: a shorter call is repeated."""

MAX_CALLS = 50

PAGE_BYTES, MAX_PAGES = 4096, 512
"""Operands of a place are up to so many pages further apart, at random."""


class WrongNumbersError(TuningError):
    """A candidate computes something else."""


@lru_cache(maxsize=4)
def _case(plan: str, dtype: str, rows: int, device: str) -> Case:
    return make_case(Kernel.from_plan(plan), dtype, rows, device=device)


def measure(
    session: Any,
    libraries: Sequence[Path],
    plan: str,
    dtype: str,
    rows: int,
    seconds: float,
    places: int = 1,
    min_rounds: int = 5,
    device: str = "cpu",
) -> list[list[float]]:
    """Seconds per call of each library: at each place, the median of rounds.

    Args:
        session: `tvm.rpc.LocalSession`, or one of a tracker.
        libraries: of candidates of one kernel.
        plan: of the kernel.
        dtype: of its values.
        rows: at which it is timed.
        seconds: to spend on each library, at all places together.
        places: in memory, one after the other.
        min_rounds: the fewest rounds at a place.
        device: "cpu" or "cuda".

    Raises:
        WrongNumbersError: a candidate computes something else.
    """
    import tvm

    on = session.device(device, 0)
    small, large = (_case(plan, dtype, each, device) for each in (CHECKED_ROWS, rows))
    few = [tvm.runtime.tensor(array, on) for array in small.arguments]
    medians: list[list[float]] = [[] for _ in libraries]
    rng = np.random.default_rng(0)
    for place in range(places):
        modules = [_load(session, library, place) for library in libraries]
        gaps = PAGE_BYTES * rng.integers(1, MAX_PAGES, len(large.arguments))
        arguments, spacers = [], []  # what was here is given back before
        for array, gap in zip(large.arguments, gaps.tolist(), strict=True):
            arguments.append(tvm.runtime.tensor(array, on))
            spacers.append(tvm.runtime.empty((gap,), "uint8", on))
        if place == 0:
            for module in modules:
                _check(small, module, few, dtype, is_whole=True)
                _check(large, module, arguments, dtype, is_whole=False)
        times = _take_turns(modules, arguments, on, seconds / places, min_rounds)
        for found, each in zip(medians, times, strict=True):
            found.append(statistics.median(each))
        del arguments, spacers
    return medians


def _load(session: Any, library: Path, place: int) -> Any:
    """A library, in a file of its own: a file that is mapped already stays where it is."""
    name = f"{place}-{library.name}"
    session.upload(str(library), target=name)
    return session.load_module(name)


def _take_turns(
    modules: Sequence[Any], arguments: Sequence[Any], on: Any, seconds: float, min_rounds: int
) -> list[list[float]]:
    """Seconds per call of each module, over the same rounds."""
    evaluators, turns = [], []
    for module in modules:
        once = module.time_evaluator(FUNCTION, on, number=1, repeat=4)(*arguments).min
        calls = int(max(1, min(MAX_CALLS, MIN_SECONDS / max(once, 1e-7))))
        evaluators.append(module.time_evaluator(FUNCTION, on, number=calls, repeat=1))
        turns.append(once * calls)
    rounds = int(max(min_rounds, min(200, seconds / max(turns))))
    times: list[list[float]] = [[] for _ in modules]
    for number in range(1 + rounds):
        for found, evaluator in zip(times, evaluators, strict=True):
            results = list(evaluator(*arguments).results)
            if number:  # the first round warms up
                found += results
    return times


def _check(case: Case, module: Any, tensors: list[Any], dtype: str, *, is_whole: bool) -> None:
    """Runs a candidate once, from NaN.

    Raises:
        WrongNumbersError: it computes something else.
    """
    start = len(case.inputs)
    outputs = tensors[start : start + len(case.outputs)]
    for tensor, array in zip(outputs, case.outputs, strict=True):
        tensor.copyfrom(array)
    module[FUNCTION](*tensors)
    error = case.error([tensor.numpy() for tensor in outputs], is_whole=is_whole)
    if not error <= TOLERANCE[dtype]:
        raise WrongNumbersError(
            f"candidate: expected values within {TOLERANCE[dtype]:g} of the oracle's, "
            f"got a relative difference of {error:.2g}"
        )
