"""Tune the workloads' kernels for this machine: how the records in `schedules/` were made.

Run as `python -m bench.tune --target x86-64-v4`; it begins no kernel after `--minutes`, and goes on
where it was when it is run again. Trials stay in `--db`; what was chosen is merged into `--out`.
Records that were tuned on another machine may lose on this one: `--again` names what `bench.tuned`
has found, and the kernels that gain nothing there are tuned, and their records replaced.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.options import RESULTS, say
from bench.schedules import Entry, entries
from bench.workloads import select

if TYPE_CHECKING:
    from tvm_equi.tuning.task import Outcome, Task

HEAVY_PLAN = 850
"""Characters of a plan from which a kernel takes ten seconds and more to compile."""

LITTLE = 1.02
"""A gain below this is none."""


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
    add("--again", type=Path, help="JSON of bench.tuned: replace the records that gain nothing")
    given = parser.parse_args(arguments)
    from tvm_equi.errors import TuningError
    from tvm_equi.schedule.databases import merge, replace_entries
    from tvm_equi.schedule.targets import family
    from tvm_equi.tuning.database import opened
    from tvm_equi.tuning.pool import Options, Pool
    from tvm_equi.tuning.search import search
    from tvm_equi.tuning.task import Budget

    start, own = time.perf_counter(), family(given.target)
    deadline = time.monotonic() + 60 * given.minutes
    with opened(given.db, own) as database, Pool(Options(builders=given.builders)) as pool:
        chosen = []
        for group in groups(wanted(entries(select(given.workload)), given.again)):
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
                chosen += [database.entry(outcome.task.structure)] if outcome.is_raced else []
    if given.again:
        replace_entries(given.out / own, chosen)
        say(f"{given.out / own}: {len(chosen)} kernels replaced")
    else:
        say(f"{given.out / own}: {merge([given.db / own], given.out / own)} kernels")


def wanted(found: Iterable[Entry], again: Path | None) -> list[Entry]:
    """The kernels to tune.

    Args:
        found: all.
        again: what `bench.tuned` has written; None for all kernels.
    """
    if again is None:
        return list(found)
    slow = {
        (each["workload"], each["form"], each["kernel"], each["part"])
        for each in json.loads(again.read_text(encoding="utf-8"))["kernels"]
        if each["ratio"] < LITTLE
    }
    return [each for each in found if (each.workload, each.form, each.kernel, each.part) in slow]


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
