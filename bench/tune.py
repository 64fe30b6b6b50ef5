"""Tune the workloads' kernels for this machine: how the records in `schedules/` were made.

Run as `python -m bench.tune --target x86-64-v4`; it begins no kernel after `--minutes`, and goes on
where it was when it is run again. Trials stay in `--db`; what was chosen is merged into `--out`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.options import RESULTS, say
from bench.schedules import Entry, entries
from bench.workloads import select

if TYPE_CHECKING:
    from tvm_equi.tuning.task import Outcome, Task

HEAVY_PLAN = 850
"""Characters of a plan from which a kernel takes ten seconds and more to compile."""


def main(arguments: list[str] | None = None) -> None:
    """Tunes until the time is up."""
    parser = argparse.ArgumentParser(prog="python -m bench.tune", description=__doc__)
    add = parser.add_argument
    add("--target", default="host", help="host, or an x86-64 level that this machine runs")
    add("--db", type=Path, default=RESULTS / "schedules", help="folder of databases")
    add("--out", type=Path, default=Path("schedules"), help="folder to merge what was chosen into")
    add("--trials", type=int, default=24, help="of a kernel; a third of them of a heavy one")
    add("--dtype", default="float32", choices=("float32", "float64"))
    add("--minutes", type=float, default=60.0, help="begin no kernel after so long")
    add("--workload", action="append", help="by name; may be given several times")
    add("--builders", type=int, default=0, help="candidates that are built at a time")
    given = parser.parse_args(arguments)
    from tvm_equi.errors import TuningError
    from tvm_equi.schedule.databases import merge
    from tvm_equi.schedule.targets import family
    from tvm_equi.tuning.database import opened
    from tvm_equi.tuning.pool import Options, Pool
    from tvm_equi.tuning.search import search
    from tvm_equi.tuning.task import Budget

    start, own = time.perf_counter(), family(given.target)
    deadline = time.monotonic() + 60 * given.minutes
    with opened(given.db, own) as database, Pool(Options(builders=given.builders)) as pool:
        for group in groups(list(entries(select(given.workload)))):
            tasks = [_task(entry, given.dtype, given.target) for entry in group]
            trials = given.trials // 3 if len(group[0].plan) > HEAVY_PLAN else given.trials
            budget = Budget(trials * len(tasks), deadline, is_even=True)
            try:
                outcomes = search(tasks, budget, database, pool)
            except TuningError as error:
                say(str(error))
                continue
            for outcome in outcomes:
                say(f"{time.perf_counter() - start:5.0f} s  {line(outcome)}")
    say(f"{given.out / own}: {merge([given.db / own], given.out / own)} kernels")


def groups(found: Sequence[Entry]) -> list[list[Entry]]:
    """Kernels of one form and pass together, heavy ones apart: what wins is tried on the next.

    Args:
        found: kernels.
    """
    by_key: dict[tuple[str, str, bool], list[Entry]] = {}
    for entry in found:
        key = (entry.kernel, entry.form, len(entry.plan) > HEAVY_PLAN)
        by_key.setdefault(key, []).append(entry)
    return list(by_key.values())


def line(outcome: Outcome) -> str:
    """What came of a task, in words."""
    found = "not raced" if not outcome.is_raced else f"gain {outcome.gain:.3f}"
    return f"{outcome.task.name}: {found} {outcome.chosen or ''}"


def _task(entry: Entry, dtype: str, target: str) -> Task:
    from tvm_equi.algebra.kernel import Kernel
    from tvm_equi.tuning.task import Task

    return Task.of(entry.name, Kernel.from_plan(entry.plan), dtype, target, None)


if __name__ == "__main__":
    main()
