"""What is tuned: shares of trials, deadlines, representative rows."""

import time

import pytest

from tests.kernels import product
from tvm_equi.schedule.records import Structure
from tvm_equi.tuning.operands import representative_rows
from tvm_equi.tuning.task import Budget, Outcome, Task, shares

KERNEL = product()


def test_shares() -> None:
    assert shares(64, [1.0, 1.0, 1.0]) == [22, 21, 21]
    assert shares(2, [1.0] * 4) == [1, 1, 1, 1]
    assert shares(13, [3.0, 0.0, 1.0, 1.0]) == [6, 1, 3, 3]
    assert shares(9, [0.0, 0.0]) == [1, 1]
    assert sum(shares(64, [0.7, 2.2, 0.1, 3.5, 0.0])) == 64


def test_budget() -> None:
    assert not Budget(3).is_over()
    assert Budget(3, time.monotonic()).is_over()
    assert not Budget(3, time.monotonic() + 60).is_over()


@pytest.mark.parametrize(
    ("target", "device", "family"),
    [
        ("x86-64-v3", "cpu", "x86-64-v3"),
        ("sm_90", "cuda", "sm_90"),
        ("sm_90,sm_80", "cuda", "sm_80"),
    ],
)
def test_task(target: str, device: str, family: str) -> None:
    task = Task.of("name", KERNEL, "float32", target, None)
    assert task.device == device
    assert task.rows == representative_rows(KERNEL, "float32", device)
    assert task.structure == Structure(KERNEL.structure(), "float32", family)
    assert Task.of("name", KERNEL, "float32", target, 5).rows == 5


def test_best_of_an_outcome() -> None:
    task = Task.of("name", KERNEL, "float32", "x86-64-v3", None)
    assert Outcome(task).best == float("inf")
    assert Outcome(task, 3, 0, [3.0, 2.0, float("inf")], 4.0).best == 2.0
    assert Outcome(task, 3, 0, [3.0], 1.0).best == 1.0
    assert Outcome(task, 3, 0, [3.0], 2.0).weight == 2.0 / task.rows
    assert Outcome(task).weight == 0.0
