"""Check libraries, then time them, on this machine or on a worker.

In: libraries of candidates of one kernel, and a session of TVM's RPC, local or remote. Out: seconds
per call of each, or an error where numbers are wrong. Candidates take turns, so that what else the
machine does hits all alike. Every candidate is checked before its time counts: all outputs on a few
rows, and a sample of what is timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

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
    min_rounds: int = 5,
    device: str = "cpu",
) -> list[list[float]]:
    """Seconds per call of each library, over the same rounds.

    Args:
        session: `tvm.rpc.LocalSession`, or one of a tracker.
        libraries: of candidates of one kernel.
        plan: of the kernel.
        dtype: of its values.
        rows: at which it is timed.
        seconds: to spend on each library.
        min_rounds: the fewest rounds.
        device: "cpu" or "cuda".

    Raises:
        WrongNumbersError: a candidate computes something else.
    """
    import tvm

    on = session.device(device, 0)
    functions = []
    for library in libraries:
        session.upload(str(library))
        functions.append(session.load_module(library.name))
    small, large = (_case(plan, dtype, each, device) for each in (CHECKED_ROWS, rows))
    arguments = [tvm.runtime.tensor(array, on) for array in large.arguments]
    few = [tvm.runtime.tensor(array, on) for array in small.arguments]
    for function in functions:
        _check(small, function, few, dtype, is_whole=True)
        _check(large, function, arguments, dtype, is_whole=False)
    evaluators, turns = [], []
    for function in functions:
        once = function.time_evaluator(FUNCTION, on, number=1, repeat=4)(*arguments).min
        calls = int(max(1, min(MAX_CALLS, MIN_SECONDS / max(once, 1e-7))))
        evaluators.append(function.time_evaluator(FUNCTION, on, number=calls, repeat=1))
        turns.append(once * calls)
    rounds = int(max(min_rounds, min(200, seconds / max(turns))))
    times: list[list[float]] = [[] for _ in functions]
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
