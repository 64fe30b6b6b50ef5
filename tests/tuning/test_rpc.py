"""Workers of a tracker on loopback: some die, some hang, and the run goes on."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import kinds
from tvm_equi.errors import ArgumentError, TuningError
from tvm_equi.schedule import records
from tvm_equi.tuning.database import opened
from tvm_equi.tuning.pool import Options, Pool, Tracker
from tvm_equi.tuning.rpc import (
    LOOPBACK,
    count_workers,
    parse_address,
    start_tracker,
    start_worker,
    wait_for_workers,
)
from tvm_equi.tuning.search import search
from tvm_equi.tuning.task import Budget, Task

FAMILY = "x86-64-v2"
TASK = Task.of("uvu", kinds()["uvu"], "float32", FAMILY, 64)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    os.killpg(process.pid, number)


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    port = free_port()
    process = start_tracker(LOOPBACK, port)
    found = Tracker(LOOPBACK, port, FAMILY)
    for _ in range(300):
        try:
            count_workers(found)
            break
        except TuningError:
            time.sleep(0.1)
    yield found
    end(process)
    process.wait()


def workers(tracker: Tracker, count: int) -> list[subprocess.Popen[bytes]]:
    made = [start_worker(tracker, LOOPBACK, free_port()) for _ in range(count)]
    deadline = time.monotonic() + 60
    while count_workers(tracker) < count:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return made


def test_one_worker_is_killed_and_one_hangs(tracker: Tracker, tmp_path: Path) -> None:
    made = workers(tracker, 3)
    listening = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True, check=False).stdout
    for line in listening.splitlines():
        if any(f"pid={each.pid}," in line for each in made):
            assert "127.0.0.1:" in line  # loopback alone
    options = Options(seconds=0.02, race_seconds=0.02, timeout=6.0, tracker=tracker)
    folder = tmp_path / FAMILY / "trials"

    def harm() -> None:
        """Once trials come in: the first worker dies, the second stops answering."""
        while len(records.read(folder)) < 2:
            time.sleep(0.02)
        end(made[0])
        end(made[1], signal.SIGSTOP)

    thread = threading.Thread(target=harm)
    thread.start()
    try:
        with opened(tmp_path, FAMILY) as database, Pool(options) as pool:
            (outcome,) = search([TASK], Budget(12), database, pool)
    finally:
        thread.join(60)
        for each in made:
            end(each)
            each.wait()
    assert not thread.is_alive()
    assert len(outcome.seconds) == 12
    assert outcome.errors == []  # what was lost was measured again
    assert all(each < 1 for each in outcome.seconds)
    assert outcome.is_raced


def test_workers_join_while_it_runs_and_nobody_left_ends_it(tracker: Tracker) -> None:
    with pytest.raises(
        TuningError, match=r"expected workers with key 'x86-64-v2', got none in 0\.1"
    ):
        wait_for_workers(tracker, 0.1)
    late: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: late.extend(workers(tracker, 1)))
    thread.start()
    try:
        assert wait_for_workers(tracker, 60) == 1
        assert count_workers(Tracker(tracker.host, tracker.port, "another key")) == 0
    finally:
        thread.join()
        for each in late:
            end(each)
            each.wait()


def test_addresses() -> None:
    assert parse_address("host:1234", "x") == ("host", 1234)
    assert parse_address("127.0.0.1", "x") == ("127.0.0.1", 9190)
    for text in ("host:", "host:port", ":1", "host:70000"):
        with pytest.raises(ArgumentError, match="--tracker: expected HOST:PORT, got"):
            parse_address(text, "--tracker")


def test_no_tracker() -> None:
    with pytest.raises(TuningError, match=r"tracker: expected one at 127.0.0.1:\d+, got"):
        count_workers(Tracker(LOOPBACK, free_port(), FAMILY))
