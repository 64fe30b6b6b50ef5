"""A tracker and workers on loopback: some die, some hang, candidates are bad; the run goes on."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kernels import kinds
from tests.tuning.crash import crashing
from tests.tuning.test_rpc import free_port
from tvm_equi.errors import ArgumentError, TuningError
from tvm_equi.schedule import records
from tvm_equi.schedule.space import Point
from tvm_equi.tuning import server
from tvm_equi.tuning.database import opened
from tvm_equi.tuning.pool import Options, Pool
from tvm_equi.tuning.rpc import Tracker, count_workers, wait_for_workers
from tvm_equi.tuning.search import search
from tvm_equi.tuning.task import Budget, Task

FAMILY = "x86-64-v2"
KERNEL = kinds()["uvu"]
TASK = Task.of("uvu", KERNEL, "float32", FAMILY, 64)
COMMAND = [sys.executable, "-m", "tvm_equi.cli"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

Server = subprocess.Popen[bytes]


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    port = free_port()
    process = subprocess.Popen([*COMMAND, "tracker", "--port", str(port)])
    found = Tracker("127.0.0.1", port, FAMILY)
    for _ in range(600):
        with suppress(TuningError):
            count_workers(found)
            break
        time.sleep(0.1)
    yield found
    process.kill()
    process.wait()


@pytest.fixture
def started() -> Iterator[list[Server]]:
    """Workers, which are ended with the test."""
    made: list[Server] = []
    yield made
    for each in made:
        each.kill()
        each.wait()


def start(started: list[Server], tracker: Tracker, count: int, key: str = FAMILY) -> list[Server]:
    place = f"{tracker.host}:{tracker.port}"
    port = ["--port", str(free_port())]
    arguments = [*COMMAND, "worker", "--tracker", place, "--key", key, *port]
    made = [subprocess.Popen(arguments) for _ in range(count)]
    started += made
    deadline = time.monotonic() + 60
    while count_workers(Tracker(tracker.host, tracker.port, key)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return made


def listening(process: Server) -> list[str]:
    """Addresses, as /proc writes them, on which a process listens."""
    folder = Path(f"/proc/{process.pid}")
    inodes = set()
    for entry in (folder / "fd").iterdir():
        with suppress(OSError):
            inodes.add(str(entry.readlink()))
    lines = [line.split() for line in (folder / "net" / "tcp").read_text().splitlines()[1:]]
    return [each[1] for each in lines if each[3] == "0A" and f"socket:[{each[9]}]" in inodes]


def test_one_worker_is_killed_and_one_hangs(
    tracker: Tracker, started: list[Server], tmp_path: Path
) -> None:
    made = start(started, tracker, 3)
    for each in made:
        (address,) = listening(each)
        assert address.startswith("0100007F:")  # 127.0.0.1
    waits = {"timeout": 5.0, "worker_wait": 3.0}
    options = Options(seconds=0.02, race_seconds=0.02, race_processes=2, tracker=tracker, **waits)
    folder = tmp_path / FAMILY / "trials"

    def harm() -> None:
        """Once trials come in: the first worker dies, the second stops answering."""
        while len(records.read(folder)) < 2:
            time.sleep(0.02)
        made[0].kill()
        made[1].send_signal(signal.SIGSTOP)

    thread = threading.Thread(target=harm)
    thread.start()
    try:
        with opened(tmp_path, FAMILY) as database, Pool(options) as pool:
            (outcome,) = search([TASK], Budget(12), database, pool)
    finally:
        thread.join(60)
    assert not thread.is_alive()
    assert len(outcome.seconds) == 12
    assert outcome.errors == []  # what was lost was measured again
    assert all(each < 1 for each in outcome.seconds)
    assert outcome.is_raced


def test_bad_candidates_do_not_end_a_worker(
    tracker: Tracker, started: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One aborts, one hangs; each is tried some times, and then a good one is measured."""
    (worker,) = start(started, tracker, 1)
    options = Options(seconds=0.02, timeout=3.0, tracker=tracker)
    with Pool(options) as pool:
        build = pool._build_one

        def build_one(task: Task, point: Point, path: Path) -> Path | str:
            actions = {4: "abort()", 16: "sleep(3600)"}
            if point and point["lanes"] in actions:
                return crashing(path, actions[point["lanes"]])
            return build(task, point, path)

        monkeypatch.setattr(pool, "_build_one", build_one)
        monkeypatch.setattr("tvm_equi.tuning.pool.MAX_ATTEMPTS", 2)
        found = dict(pool.run(TASK, [{"lanes": 4}, {"lanes": 16}, {}], tmp_path))
    assert isinstance(found[0], str)
    assert isinstance(found[1], str)
    assert not isinstance(found[2], str)
    assert worker.poll() is None
    assert count_workers(tracker) == 1


def test_workers_of_two_kinds_with_one_tracker(
    tracker: Tracker, started: list[Server], tmp_path: Path
) -> None:
    keys = ("x86-64-v2", "another-kind")
    for key in keys:
        start(started, tracker, 1, key)
    outcomes = []

    def tune(key: str) -> None:
        place = Tracker(tracker.host, tracker.port, key)
        options = Options(seconds=0.01, race_seconds=0.01, race_processes=2, tracker=place)
        with opened(tmp_path / key, FAMILY) as database, Pool(options) as pool:
            outcomes.extend(search([TASK], Budget(3), database, pool))

    threads = [threading.Thread(target=tune, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(each.seconds) for each in outcomes] == [3, 3]
    machines = {
        each.conditions["machine"]
        for key in keys
        for each in records.read(tmp_path / key / FAMILY / "trials")
    }
    assert machines == {f"workers {key}" for key in keys}


def test_workers_join_and_leave(tracker: Tracker, started: list[Server], tmp_path: Path) -> None:
    with pytest.raises(
        TuningError, match=r"expected workers with key 'x86-64-v2', got none in 0\.1"
    ):
        wait_for_workers(tracker, 0.1)
    thread = threading.Thread(target=start, args=(started, tracker, 1))
    thread.start()
    options = Options(
        seconds=0.01, race_seconds=0.01, race_processes=2, tracker=tracker, worker_wait=60.0
    )
    with opened(tmp_path, FAMILY) as database, Pool(options) as pool:
        (outcome,) = search([TASK], Budget(2), database, pool)  # begins before the worker is there
    thread.join()
    assert len(outcome.seconds) == 2
    started[0].kill()
    started[0].wait()
    options = Options(tracker=tracker, worker_wait=1.0)
    refused = pytest.raises(TuningError, match="expected workers with key")
    with opened(tmp_path, FAMILY) as database, Pool(options) as pool, refused:
        search([TASK], Budget(8), database, pool)
    assert len(records.read(tmp_path / FAMILY / "trials")) == 2


def test_workers_that_hang_are_no_fault_of_candidates(
    tracker: Tracker, started: list[Server], tmp_path: Path
) -> None:
    """The only worker does not answer: the run ends, and nothing counts as failed."""
    (worker,) = start(started, tracker, 1)
    worker.send_signal(signal.SIGSTOP)
    options = Options(timeout=2.0, tracker=tracker, worker_wait=2.0)
    refused = pytest.raises(TuningError, match="expected a worker with key 'x86-64-v2' to answer")
    with opened(tmp_path, FAMILY) as database, Pool(options) as pool, refused:
        search([TASK], Budget(8), database, pool)
    assert records.read(tmp_path / FAMILY / "trials") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_servers_end_when_they_are_told_to(
    number: signal.Signals, tracker: Tracker, started: list[Server]
) -> None:
    (worker,) = start(started, tracker, 1)
    worker.send_signal(number)
    assert worker.wait(timeout=30) == 128 + number
    deadline = time.monotonic() + 10
    while count_workers(tracker):
        assert time.monotonic() < deadline


def test_a_worker_takes_the_next_free_port_and_a_tracker_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener, found = server._listen("127.0.0.1", port, 50, "worker")
        listener.close()
        assert found > port
        with pytest.raises(ArgumentError, match="tracker: --host, --port: expected an address to"):
            server._listen("127.0.0.1", port, 1, "tracker")
    with pytest.raises(ArgumentError, match=r"got 203\.0\.113\.7:9190"):
        server._listen("203.0.113.7", 9190, 1, "tracker")
