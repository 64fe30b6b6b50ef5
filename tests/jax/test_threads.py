"""Where kernels run: XLA's threads serially, ours with a pool; results do not depend on it."""

import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.jax.arrays import values
from tests.kernels import linear
from tvm_equi.errors import ArgumentError
from tvm_equi.jax import calls, threads
from tvm_equi.jax.operator import run
from tvm_equi.runtime.plans import derivative_plan

pytestmark = pytest.mark.deploy

TASKS = Path("/proc/self/task")


@pytest.fixture(autouse=True)
def default_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_count", None)


def test_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "3")
    assert threads.num_threads() == 3
    threads.set_num_threads(2)
    assert threads.num_threads() == 2
    for wrong in (0, "2"):
        with pytest.raises(ArgumentError, match=f"count: expected 1 or more, got {wrong!r}"):
            threads.set_num_threads(wrong)


def test_results_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = derivative_plan(linear().plan(), (0, 1), (0,))
    inputs = values(plan, {"row": 1000})
    found = []
    for elements, count in ((1 << 60, 1), (0, 1), (0, 2)):
        monkeypatch.setattr(calls, "SERIAL_ELEMENTS", elements)
        threads.set_num_threads(count)
        jax.clear_caches()
        found.append(jax.jit(lambda *arrays: run(plan, arrays))(*inputs))
    for other in found[1:]:
        for left, right in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_large_calls_run_on_one_thread() -> None:
    seen: list[str] = []

    def note() -> None:
        seen.append(threading.current_thread().name)

    callers = [threading.Thread(target=threads.call_pooled, args=(note, ())) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert seen == ["tvm_equi.jax_0"] * 4
    threads.call_here(note, ())
    assert seen[-1] == threading.current_thread().name


def test_errors_come_back_to_the_caller() -> None:
    def fail(_: int) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        threads.call_pooled(fail, (1,))


def test_small_calls_on_threads_of_xla_make_no_workers() -> None:
    plan = linear().plan()
    inputs = values(plan, {"row": 3})
    function = jax.jit(lambda x, w: [run(plan, [x * n, w])[0] for n in range(200)])
    jax.block_until_ready(function(*inputs))
    before = len(list(TASKS.iterdir()))
    for _ in range(20):
        jax.block_until_ready(function(*inputs))
    assert len(list(TASKS.iterdir())) == before
    assert any(threads._is_foreign.values())


def test_an_interpreter_without_threads_runs_serially(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def submit(self, *_: object) -> None:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(threads, "_owner", Gone())
    seen: list[int] = []
    threads.call_pooled(seen.append, (3,))
    assert seen == [3]
