"""Whether the records of a database still hold: legal, built, and right in numbers.

In: a folder of databases. Out: a verdict for each kernel. Kernels for another CPU are built, and
run where this machine can.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import TvmEquiError
from tvm_equi.schedule import records, space
from tvm_equi.schedule.records import Record
from tvm_equi.schedule.targets import X86_LEVELS, cpu_target, gpu_target, host_family, is_gpu
from tvm_equi.tuning.helper import FailedError, Helper, LostError

ROWS = 256
TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a record.

    Args:
        record: looked at.
        problem: "" if there is none.
        is_run: whether it was run, and not only built.
    """

    record: Record
    problem: str
    is_run: bool


def verify(folder: Path, family: str) -> Iterator[Verdict]:
    """Verdicts on the records that compiling would use, one by one.

    Args:
        folder: of databases.
        family: of targets.

    Raises:
        RecordError: the database is malformed.
    """
    helper = Helper()
    try:
        for entry in records.entries(folder / family).values():
            yield _verdict(entry.best, family, helper)
    finally:
        helper.close()


def _verdict(record: Record, family: str, helper: Helper) -> Verdict:
    dtype = record.structure.dtype
    request = {"plan": record.plan, "dtype": dtype}
    is_run = _runs_here(family)
    try:
        kernel = Kernel.from_plan(record.plan)
        if kernel.structure() != record.structure.kernel:
            return Verdict(record, "the plan is that of another kernel", False)
        target = gpu_target(family) if is_gpu(family) else cpu_target(family)
        space.apply_point(kernel, dtype, target, record.point)
        with tempfile.TemporaryDirectory(prefix="tvm_equi-verify-") as work:
            path = f"{work}/candidate.so"
            point = dict(record.point)
            build = {"do": "build", **request, "target": family, "point": point, "path": path}
            helper.ask(build, TIMEOUT)
            if is_run:
                run = {"do": "measure", **request, "libraries": [path], "rows": ROWS, "seconds": 0}
                helper.ask(run, TIMEOUT)
    except (TvmEquiError, LostError, FailedError) as error:
        return Verdict(record, str(error), False)
    return Verdict(record, "", is_run)


def _runs_here(family: str) -> bool:
    """Whether this CPU runs a family's code."""
    levels = list(X86_LEVELS)
    own = host_family()
    return family in levels and own in levels and levels.index(family) <= levels.index(own)
