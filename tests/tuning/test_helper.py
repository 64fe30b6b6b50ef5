"""Processes that build and measure: whatever happens in one, the run is told and goes on."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.kernels import product
from tvm_equi.tuning.helper import FailedError, Helper, LostError

KERNEL = product()


def build(path: Path, **point: object) -> dict[str, object]:
    facts = {"plan": KERNEL.plan(), "dtype": "float32", "target": "x86-64-v3"}
    return {"do": "build", **facts, "point": point, "path": str(path)}


@pytest.fixture
def helper():  # type: ignore[no-untyped-def]
    made = Helper()
    yield made
    made.close()


def test_builds_then_measures(helper: Helper, tmp_path: Path) -> None:
    path = tmp_path / "a.so"
    assert helper.ask(build(path, lanes=4), 60) == str(path)
    facts = {"libraries": [str(path)], "plan": KERNEL.plan(), "dtype": "float32"}
    (times,) = helper.ask({"do": "measure", **facts, "rows": 64, "seconds": 0.0}, 60)
    assert len(times) >= 5


def test_a_candidate_that_is_not_legal_fails(helper: Helper, tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="ScheduleError: record: lanes: expected a power of two"):
        helper.ask(build(tmp_path / "a.so", lanes=3), 60)
    assert helper.ask(build(tmp_path / "a.so"), 60)


def test_a_process_that_dies_is_lost_and_another_starts(helper: Helper, tmp_path: Path) -> None:
    assert helper.ask(build(tmp_path / "a.so"), 60)
    process = helper._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert helper.ask(build(tmp_path / "b.so"), 60)
    os.kill(helper._process.pid, signal.SIGSTOP)  # type: ignore[union-attr]
    start = time.monotonic()
    with pytest.raises(LostError, match="build: the process was silent for 1 s"):
        helper.ask(build(tmp_path / "c.so"), 1)
    assert time.monotonic() - start < 10
    assert helper.ask(build(tmp_path / "c.so"), 60)


def test_a_library_that_is_none_fails(helper: Helper, tmp_path: Path) -> None:
    (tmp_path / "a.so").write_text("no library")
    facts = {"libraries": [str(tmp_path / "a.so")], "plan": KERNEL.plan(), "dtype": "float32"}
    with pytest.raises(FailedError):
        helper.ask({"do": "measure", **facts, "rows": 64, "seconds": 0.0}, 60)
