"""Builds side by side, measurements in turns; what fails is a text and not the end of the run."""

from pathlib import Path

from tests.kernels import kinds
from tvm_equi.tuning.pool import Options, Pool
from tvm_equi.tuning.task import Task

TASK = Task.of("uvu", kinds()["uvu"], "float32", "x86-64-v2", 64)
FAST = Options(seconds=0.01, race_seconds=0.01, builders=2)


def test_results_come_in_order(tmp_path: Path) -> None:
    with Pool(FAST) as pool:
        good, bad, other = pool.run(TASK, [{"lanes": 4}, {"lanes": 3}, {}], tmp_path)
        assert not isinstance(good, str)
        assert not isinstance(other, str)
        assert len(good) >= 5
        assert "lanes: expected a power of two" in str(bad)
        times = pool.race(TASK, [{}, {"lanes": 3}, {"lanes": 4}], tmp_path)
        assert len(times[0]) == len(times[2]) > 0
        assert times[1] == []
    assert all(helper._process is None for helper in pool._helpers)
