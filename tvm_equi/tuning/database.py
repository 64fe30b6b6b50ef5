"""The databases of a run: every trial as it is measured, and what was raced and chosen.

In: a folder and a family of targets. Out: `<folder>/<family>/trials/` holds each measured
candidate, appended at once, so that a killed run loses nothing; `<folder>/<family>/` holds, for
each kernel, the rule's record and the one that has beaten it, if any: all that compiling looks at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from tvm_equi.errors import RecordError
from tvm_equi.schedule import records
from tvm_equi.schedule.records import RECORDS, WORKLOADS, Record, Structure
from tvm_equi.tuning.metaschedule import meta_schedule

FAILED = 1e10
"""Seconds of a candidate that failed, as MetaSchedule writes them."""


@contextmanager
def opened(folder: Path, family: str) -> Iterator[Database]:
    """The databases of a run, which nobody else writes meanwhile.

    Args:
        folder: of databases.
        family: of targets.

    Raises:
        RecordError: another run has them, a file is malformed, or the folder cannot be written.
    """
    trials = folder / family / "trials"
    try:
        trials.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(trials / ".lock")
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise RecordError(f"{trials}: expected it to be free, got: another run has it") from error
    except OSError as error:
        raise RecordError(
            f"{trials}: expected a folder that can be written, got: {error}"
        ) from error
    try:
        yield Database(folder / family, trials)
    finally:
        lock.release()


class Database:
    """The records of a run.

    Args:
        chosen: folder of what compiling looks at.
        trials: folder of everything measured.
    """

    def __init__(self, chosen: Path, trials: Path) -> None:
        self.chosen, self.trials = chosen, trials
        for name in (WORKLOADS, RECORDS):
            _drop_unfinished(trials / name)
        records.read(trials)  # refuses, with words, what TVM would abort on
        records.read(chosen)
        self.store = meta_schedule().database.JSONDatabase(work_dir=str(trials))

    def measured(self, structure: Structure) -> list[Record]:
        """The trials of a kernel, in order.

        Args:
            structure: of the kernel.
        """
        return [each for each in records.read(self.trials) if each.structure == structure]

    def add(self, workload: Any, trace: Any, seconds: Sequence[float], target: Any) -> None:
        """Writes a trial.

        Args:
            workload: that the store has committed.
            trace: of the schedule.
            seconds: measured; none where the candidate failed.
            target: TVM's.
        """
        commit(self.store, workload, trace, seconds or [FAILED], target)

    def choose(
        self, module: Any, traces: Sequence[tuple[Any, Sequence[float]]], target: Any
    ) -> None:
        """Puts raced schedules of a kernel in the place of what was chosen for it.

        Args:
            module: the workload's.
            traces: each with its seconds.
            target: TVM's.
        """
        with tempfile.TemporaryDirectory() as folder:
            store = meta_schedule().database.JSONDatabase(work_dir=folder)
            workload = store.commit_workload(module)
            for trace, seconds in traces:
                commit(store, workload, trace, seconds, target)
            kept = records.entries(self.chosen) | records.entries(Path(folder))
        records.write(self.chosen, kept.values())


def commit(store: Any, workload: Any, trace: Any, seconds: Sequence[float], target: Any) -> None:
    """Writes a record.

    Args:
        store: a MetaSchedule database.
        workload: that it has committed.
        trace: of a schedule.
        seconds: measured.
        target: TVM's.
    """
    ms = meta_schedule()
    arguments = ms.arg_info.ArgInfo.from_entry_func(workload.mod, remove_preproc=False)
    store.commit_tuning_record(
        ms.database.TuningRecord(trace, workload, list(seconds), target, arguments)
    )


def _drop_unfinished(path: Path) -> None:
    """Cuts off a last line that a killed run has not written to its end."""
    if path.exists():
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            with path.open("r+b") as file:
                file.truncate(end)
