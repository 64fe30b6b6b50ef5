"""Builds side by side, measurements in turns; what fails is a text and not the end of the run."""

from pathlib import Path

import pytest

from tests.kernels import kinds
from tests.tuning.crash import crashing
from tvm_equi.artifact.codegen import host_cpu
from tvm_equi.errors import TuningError
from tvm_equi.schedule.space import Point
from tvm_equi.tuning.helper import FailedError
from tvm_equi.tuning.pool import Options, Pool
from tvm_equi.tuning.rpc import Tracker
from tvm_equi.tuning.task import Task

TASK = Task.of("uvu", kinds()["uvu"], "float32", "x86-64-v2", 64)
FAST = Options(seconds=0.01, race_seconds=0.01, race_processes=2, builders=2)


def test_results_come_in_order(tmp_path: Path) -> None:
    with Pool(FAST) as pool:
        found = dict(pool.run(TASK, [{"lanes": 4}, {"lanes": 3}, {}], tmp_path))
        good, bad, other = (found[number] for number in range(3))
        assert not isinstance(good, str)
        assert not isinstance(other, str)
        assert len(good) == FAST.places
        assert "lanes: expected a power of two" in str(bad)
        times = pool.race(TASK, [{}, {"lanes": 3}, {"lanes": 4}], tmp_path)
        assert len(times[0]) == len(times[2]) == FAST.race_processes * FAST.race_places
        assert times[1] == []
        with pytest.raises(FailedError, match="lanes: expected a power of two"):
            pool.race(TASK, [{"lanes": 3}, {}], tmp_path)
    assert all(helper._process._process is None for helper in pool._helpers)


def test_a_candidate_that_crashes_fails_and_the_next_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Pool(FAST) as pool:
        build = pool._build_one

        def build_one(task: Task, point: Point, path: Path) -> Path | str:
            return crashing(path) if point == {"lanes": 4} else build(task, point, path)

        monkeypatch.setattr(pool, "_build_one", build_one)
        found = dict(pool.run(TASK, [{"lanes": 4}, {}], tmp_path))
        assert found[0] == "measure: expected an answer, got none: the process ended"
        assert not isinstance(found[1], str)
        with pytest.raises(FailedError, match="the process ended"):
            pool.race(TASK, [{}, {"lanes": 4}], tmp_path)


def test_results_come_as_they_are_measured(tmp_path: Path) -> None:
    with Pool(FAST) as pool:
        results = pool.run(TASK, [{"lanes": 4}, {}], tmp_path)
        next(results)
        results.close()  # whoever reads may stop
        assert pool._is_closed
        with pytest.raises(TuningError, match="tune: interrupted"):
            list(pool.run(TASK, [{}], tmp_path))


def test_the_machine_is_part_of_what_is_measured() -> None:
    assert Pool(FAST).machine == host_cpu()
    assert Pool(Options(tracker=Tracker("host", 1, "key"))).machine == "workers key"
