"""Processes that build and measure: whatever happens in one, who asked is told."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import product
from tests.tuning.crash import crashing
from tests.tuning.test_rpc import free_port
from tvm_equi.artifact.process import LostError
from tvm_equi.tuning.helper import FailedError, Helper, thread_variables

KERNEL = product()
FACTS = {"plan": KERNEL.plan(), "dtype": "float32"}


@pytest.fixture
def helper() -> Iterator[Helper]:
    made = Helper()
    yield made
    made.close()


def build(helper: Helper, path: Path, **point: object) -> None:
    helper.build(60, **FACTS, target="x86-64-v2", point=point, path=str(path))


def measure(helper: Helper, path: Path, timeout: float = 60) -> list[list[float]]:
    facts = {"device": "cpu", "rows": 64, "seconds": 0.0, "places": 2}
    return helper.measure(timeout, **FACTS, **facts, libraries=[str(path)])


def test_builds_then_measures(helper: Helper, tmp_path: Path) -> None:
    build(helper, tmp_path / "a.so", lanes=4)
    (times,) = measure(helper, tmp_path / "a.so")
    assert len(times) == 2
    assert all(0 < seconds < 1 for seconds in times)


def test_a_candidate_that_is_not_legal_fails(helper: Helper, tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="ScheduleError: record: lanes: expected a power of two"):
        build(helper, tmp_path / "a.so", lanes=3)
    build(helper, tmp_path / "a.so")


def test_a_candidate_that_crashes_is_lost_and_the_next_is_measured(
    helper: Helper, tmp_path: Path
) -> None:
    build(helper, tmp_path / "a.so")
    with pytest.raises(LostError, match="the process ended"):
        measure(helper, crashing(tmp_path / "b.so"))
    assert measure(helper, tmp_path / "a.so")


def test_a_candidate_that_hangs_is_lost(helper: Helper, tmp_path: Path) -> None:
    build(helper, tmp_path / "a.so")
    measure(helper, tmp_path / "a.so")
    start = time.monotonic()
    with pytest.raises(LostError, match="the process was silent for 3 s"):
        measure(helper, crashing(tmp_path / "b.so", "sleep(3600)"), 3)
    assert time.monotonic() - start < 20


def test_a_library_that_is_none_fails(helper: Helper, tmp_path: Path) -> None:
    (tmp_path / "a.so").write_text("no library")
    with pytest.raises(FailedError):
        measure(helper, tmp_path / "a.so")


def test_no_tracker_is_no_fault_of_a_candidate(helper: Helper) -> None:
    with pytest.raises(LostError):
        helper.connect(2, "127.0.0.1", free_port(), "key", 5)


def test_threads() -> None:
    assert thread_variables(3)["TVM_NUM_THREADS"] == "3"
