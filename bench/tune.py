"""Tune the workloads' kernels for this machine: how the records in `schedules/` were made.

Run as `python -m bench.tune --target x86-64-v4`; it stops after `--minutes`, and starts again where
it was. Each kernel gets its trials before the next begins.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from bench.options import say
from bench.schedules import entries
from bench.workloads import select

HEAVY_BYTES = 830
"""Length of a plan from which a kernel takes many seconds to compile: it gets a third of the
trials."""


def main(arguments: list[str] | None = None) -> None:
    """Tunes until the time is up."""
    parser = argparse.ArgumentParser(prog="python -m bench.tune", description=__doc__)
    add = parser.add_argument
    add("--target", default="host", help="host, or an x86-64 level that this machine runs")
    add("--db", type=Path, default=Path("schedules"), help="folder of databases")
    add("--trials", type=int, default=22, help="of each kernel")
    add("--dtype", default="float32", choices=("float32", "float64"))
    add("--minutes", type=float, default=60.0, help="begin no kernel after so long")
    add("--workload", action="append", help="by name; may be given several times")
    add("--builders", type=int, default=0, help="candidates that are built at a time")
    given = parser.parse_args(arguments)
    from tvm_equi.algebra.kernel import Kernel
    from tvm_equi.errors import TuningError
    from tvm_equi.schedule.targets import family
    from tvm_equi.tuning.database import opened
    from tvm_equi.tuning.pool import Options, Pool
    from tvm_equi.tuning.search import search
    from tvm_equi.tuning.task import Budget, Task

    start = time.perf_counter()
    with (
        opened(given.db, family(given.target)) as database,
        Pool(Options(builders=given.builders)) as pool,
    ):
        for entry in entries(select(given.workload)):
            if time.perf_counter() - start > 60 * given.minutes:
                say("the time is up")
                return
            kernel = Kernel.from_plan(entry.plan)
            task = Task.of(entry.name, kernel, given.dtype, given.target, None)
            trials = given.trials if len(entry.plan) < HEAVY_BYTES else max(3, given.trials // 3)
            try:
                (outcome,) = search([task], Budget(trials), database, pool)
            except TuningError as error:
                say(f"{entry.name}: {error}")
                continue
            seconds = time.perf_counter() - start
            say(f"{seconds:5.0f} s  {entry.name}: gain {outcome.gain:.3f} {outcome.chosen or ''}")


if __name__ == "__main__":
    main()
