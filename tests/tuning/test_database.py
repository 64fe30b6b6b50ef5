"""Databases of a run: one writer, nothing lost, and what was chosen is replaced in one step."""

from pathlib import Path

import pytest

from tests.kernels import linear, product
from tests.tuning.databases import write_database
from tvm_equi.errors import RecordError
from tvm_equi.schedule import databases, records, sampling
from tvm_equi.schedule.records import Record, Structure
from tvm_equi.schedule.targets import cpu_target
from tvm_equi.tuning.candidates import Candidates
from tvm_equi.tuning.database import opened
from tvm_equi.tuning.metaschedule import tvm_target
from tvm_equi.tuning.task import Task

FAMILY = "x86-64-v3"
KERNEL = product()
STRUCTURE = Structure(KERNEL.structure(), "float32", FAMILY)


CONDITIONS = {"rows": 64}


def schedule(lanes: int):  # type: ignore[no-untyped-def]
    candidates = Candidates.of(Task.of("", KERNEL, "float32", FAMILY, 64), cpu_target(FAMILY))
    rule = candidates.rule
    module = sampling.workload(KERNEL, "float32", FAMILY, CONDITIONS)
    point = {**rule, "lanes": lanes}
    return module, sampling.decided(module, candidates.choices, rule, point).trace, point


def test_trials_are_there_at_once(tmp_path: Path) -> None:
    target = tvm_target(cpu_target(FAMILY))
    with opened(tmp_path, FAMILY) as database:
        module, trace, point = schedule(4)
        workload = database.store.commit_workload(module)
        for seconds in (0.5, float("inf")):
            record = Record(STRUCTURE, KERNEL.plan(), CONDITIONS, point, seconds, tmp_path, 0)
            database.add(workload, trace, record, target)
            read = records.read(database.trials)
            assert read[-1].seconds == seconds
            known = database.measured(STRUCTURE, CONDITIONS)
            assert [(e.seconds, e.point) for e in known] == [(e.seconds, e.point) for e in read]
        assert database.measured(STRUCTURE, {"rows": 65}) == []
        other = Structure(STRUCTURE.kernel, "float64", FAMILY)
        assert database.measured(other, CONDITIONS) == []
    with opened(tmp_path, FAMILY) as database:
        assert len(database.measured(STRUCTURE, CONDITIONS)) == 2
    assert records.families(tmp_path) == []  # nothing is chosen yet


def test_choosing_replaces_what_was_chosen(tmp_path: Path) -> None:
    write_database(tmp_path, linear(), [({}, 7.0)])
    write_database(tmp_path, KERNEL, [({}, 0.1), ({"lanes": 16}, 0.05)])
    target = tvm_target(cpu_target(FAMILY))
    with opened(tmp_path, FAMILY) as database:
        before = database.entry(STRUCTURE)
        assert before is not None
        assert before.best.point["lanes"] == 16
        module, four, _ = schedule(4)
        database.choose(module, [(schedule(8)[1], [3.0]), (four, [2.0])], target)
        found = database.entry(STRUCTURE)
    assert found is not None
    assert (found.best.seconds, found.best.point["lanes"]) == (2.0, 4)
    assert found.best.conditions == CONDITIONS
    assert found.gain == pytest.approx(1.5)
    assert len(databases.entries(tmp_path / FAMILY)) == 2


def test_one_run_at_a_time(tmp_path: Path) -> None:
    busy = pytest.raises(RecordError, match="expected it to be free, got: another run has it")
    with opened(tmp_path, FAMILY), busy, opened(tmp_path, FAMILY):
        pass
    with opened(tmp_path, FAMILY):
        pass


def test_an_unfinished_line_is_cut_off(tmp_path: Path) -> None:
    write_database(tmp_path, KERNEL, [({}, 3.0), ({"lanes": 4}, 2.0)], family=f"{FAMILY}/trials")
    path = tmp_path / FAMILY / "trials" / records.RECORDS
    path.write_bytes(path.read_bytes()[:-40])
    with opened(tmp_path, FAMILY) as database:
        assert len(records.read(database.trials)) == 1
    assert path.read_bytes().endswith(b"\n")


def test_malformed_and_unwritable(tmp_path: Path) -> None:
    trials = tmp_path / FAMILY / "trials"
    trials.mkdir(parents=True)
    (trials / records.WORKLOADS).write_text("nonsense\n")
    with pytest.raises(RecordError, match="line 1: expected JSON"), opened(tmp_path, FAMILY):
        pass
    (tmp_path / "file").write_text("")
    unwritable = pytest.raises(RecordError, match="expected a folder that can be written")
    with unwritable, opened(tmp_path / "file", FAMILY):
        pass
