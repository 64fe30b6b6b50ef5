"""The databases of a run: every trial as it is measured, and what was raced and chosen.

In: a folder and a family of targets. Out: `<folder>/<family>/trials/` holds each measured
candidate, appended at once, so that a killed run loses nothing; `<folder>/<family>/` holds, for
each kernel, the rule's record and the one that has beaten it, if any: all that compiling looks at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from tvm_equi.errors import RecordError
from tvm_equi.schedule import databases, records
from tvm_equi.schedule.databases import LOCK, Entry
from tvm_equi.schedule.records import FAILED, RECORDS, WORKLOADS, Record, Structure
from tvm_equi.tuning.metaschedule import meta_schedule


@contextmanager
def opened(folder: Path, family: str) -> Iterator[Database]:
    """The databases of a run, to which no other run adds meanwhile.

    Args:
        folder: of databases.
        family: of targets.

    Raises:
        RecordError: another run has them, a file is malformed, or the folder cannot be written.
    """
    trials = folder / family / "trials"
    try:
        trials.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(trials / LOCK)
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
        self._known = records.read(trials)  # refuses, with words, what TVM would abort on
        records.read(chosen)
        self.store = meta_schedule().database.JSONDatabase(work_dir=str(trials))

    def measured(self, structure: Structure, conditions: Mapping[str, Any]) -> list[Record]:
        """The trials of a kernel, in order.

        Args:
            structure: of the kernel.
            conditions: of the measurements: others are not comparable.
        """
        return [
            each
            for each in self._known
            if each.structure == structure and each.conditions == conditions
        ]

    def add(self, workload: Any, trace: Any, record: Record, target: Any) -> None:
        """Writes a trial.

        Args:
            workload: that the store has committed.
            trace: of the schedule.
            record: what it says.
            target: TVM's.
        """
        seconds = min(record.seconds, FAILED)
        commit(self.store, workload, trace, [seconds], target)
        self._known.append(record)

    def entry(self, structure: Structure) -> Entry | None:
        """What was chosen for a kernel.

        Args:
            structure: of the kernel.
        """
        return databases.entries(self.chosen).get(structure)

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
            changed = databases.entries(Path(folder)).values()
        databases.replace_entries(self.chosen, changed)


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
