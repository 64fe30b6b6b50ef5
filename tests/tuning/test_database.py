"""Databases of a run: one writer, nothing lost, and what was chosen is replaced in one step."""

from pathlib import Path

import pytest

from tests.kernels import linear, product
from tests.tuning.databases import write_database
from tvm_equi.errors import RecordError
from tvm_equi.schedule import records, sampling, space
from tvm_equi.schedule.records import Structure
from tvm_equi.schedule.targets import cpu_target
from tvm_equi.tuning.database import opened
from tvm_equi.tuning.metaschedule import tvm_target

FAMILY = "x86-64-v3"
KERNEL = product()
STRUCTURE = Structure(KERNEL.structure(), "float32", FAMILY)


def schedule(lanes: int):  # type: ignore[no-untyped-def]
    target = cpu_target(FAMILY)
    choices = space.choices(KERNEL, "float32", target)
    known = space.as_point(space.rule(KERNEL, "float32", target))
    rule = {choice.name: known[choice.name] for choice in choices}
    module = sampling.workload(KERNEL, "float32", FAMILY)
    return module, sampling.decided(module, choices, rule, {**rule, "lanes": lanes}).trace


def test_trials_are_there_at_once(tmp_path: Path) -> None:
    target = tvm_target(cpu_target(FAMILY))
    with opened(tmp_path, FAMILY) as database:
        module, trace = schedule(4)
        workload = database.store.commit_workload(module)
        database.add(workload, trace, [0.5], target)
        assert [each.seconds for each in database.measured(STRUCTURE)] == [0.5]
        database.add(workload, trace, [], target)
        assert [each.seconds for each in database.measured(STRUCTURE)] == [0.5, float("inf")]
    assert records.families(tmp_path) == []  # nothing is chosen yet


def test_choosing_replaces_what_was_chosen(tmp_path: Path) -> None:
    write_database(tmp_path, linear(), [({}, 7.0)])
    write_database(tmp_path, KERNEL, [({}, 0.1), ({"lanes": 16}, 0.05)])
    target = tvm_target(cpu_target(FAMILY))
    with opened(tmp_path, FAMILY) as database:
        module, four = schedule(4)
        database.choose(module, [(schedule(8)[1], [3.0]), (four, [2.0])], target)
    found = records.entries(tmp_path / FAMILY)
    assert len(found) == 2
    assert (found[STRUCTURE].best.seconds, found[STRUCTURE].best.point["lanes"]) == (2.0, 4)
    assert found[STRUCTURE].gain == pytest.approx(1.5)


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
