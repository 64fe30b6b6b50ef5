"""Whether the records of a database still hold: legal, built, and right in numbers.

In: a folder of databases. Out: a verdict for each kernel. Kernels for another machine are built,
and run where this one can, at the rows at which kernels are tuned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import TvmEquiError
from tvm_equi.runtime.devices import runs_here
from tvm_equi.schedule import databases, space
from tvm_equi.schedule.records import Record
from tvm_equi.schedule.targets import cpu_target, gpu_target, is_gpu
from tvm_equi.tuning.helper import Helper
from tvm_equi.tuning.task import Task

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
        for entry in databases.entries(folder / family).values():
            yield _verdict(entry.best, family, helper)
    finally:
        helper.close()


def _verdict(record: Record, family: str, helper: Helper) -> Verdict:
    dtype = record.structure.dtype
    is_run = runs_here(family)
    try:
        kernel = Kernel.from_plan(record.plan)
        if kernel.structure() != record.structure.kernel:
            return Verdict(record, "the plan is that of another kernel", False)
        target = gpu_target(family) if is_gpu(family) else cpu_target(family)
        space.apply_point(kernel, dtype, target, record.point)
        task = Task.of("", kernel, dtype, family, None)
        with tempfile.TemporaryDirectory(prefix="tvm_equi-verify-") as work:
            path, point = f"{work}/candidate.so", dict(record.point)
            facts: dict[str, Any] = {"plan": record.plan, "dtype": dtype}
            helper.build(TIMEOUT, **facts, target=family, point=point, path=path)
            if is_run:
                facts |= {"libraries": [path], "device": task.device}
                helper.measure(TIMEOUT, **facts, rows=task.rows, seconds=0.0)
    except TvmEquiError as error:
        return Verdict(record, str(error), False)
    return Verdict(record, "", is_run)
