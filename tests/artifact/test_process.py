"""A process that answers: what it does not survive is told, and the next request starts another."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tvm_equi.artifact.process import AnsweringProcess, LostError, answer_all


def serve() -> None:
    """Answers with twice the number; a name asks for trouble."""
    answer_all(_answer)


def _answer(request: object) -> object:
    if request == "crash":
        os.abort()
    if request == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        time.sleep(3600)
    if request == "print":
        print("no answer", flush=True)
        os.system("echo no answer either")
    if request == "pid":
        return [os.getpid(), os.environ.get("COLOUR")]
    return [request, request]


@pytest.fixture
def process() -> Iterator[AnsweringProcess]:
    made = AnsweringProcess("tests.artifact.test_process:serve", {"COLOUR": "red"})
    yield made
    made.close()


def test_answers(process: AnsweringProcess) -> None:
    assert process.ask({"a": 1.5}, 60) == [{"a": 1.5}] * 2
    assert process.ask("print", 60) == ["print", "print"]
    pid, colour = process.ask("pid")
    assert process.ask("pid") == [pid, colour]
    assert colour == "red"


def test_a_crash_is_told_and_the_next_request_is_answered(process: AnsweringProcess) -> None:
    for _ in range(2):
        with pytest.raises(LostError, match="expected an answer, got none: the process ended"):
            process.ask("crash", 60)
        assert process.ask(1, 60) == [1, 1]


def test_silence_is_told(process: AnsweringProcess) -> None:
    process.ask(1, 60)
    start = time.monotonic()
    with pytest.raises(LostError, match=r"the process was silent for 0\.5 s"):
        process.ask("hang", 0.5)
    assert time.monotonic() - start < 10
    assert process.ask(1, 60) == [1, 1]


def test_killed_from_outside(process: AnsweringProcess) -> None:
    os.kill(process.ask("pid", 60)[0], signal.SIGKILL)
    assert process._process is not None
    process._process.wait()
    assert process.ask(1, 60) == [1, 1]


def test_closing_wakes_who_waits(process: AnsweringProcess) -> None:
    process.ask(1, 60)
    threading.Timer(0.5, lambda: process.close(at_once=True)).start()
    start = time.monotonic()
    with pytest.raises(LostError):
        process.ask("hang", 600)
    assert time.monotonic() - start < 60


def test_a_process_that_hangs_does_not_outlive_its_timeout_though_nobody_waits() -> None:
    """The asker is killed; the process would sleep for an hour."""
    code = (
        "import sys\n"
        "from tvm_equi.artifact import process\n"
        "made = process.AnsweringProcess('tests.artifact.test_process:serve')\n"
        "print(made.ask('pid', 60)[0], flush=True)\n"
        "made.ask('hang', 1.0)"
    )
    asker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert asker.stdout is not None
    pid = json.loads(asker.stdout.readline())
    asker.kill()
    asker.wait()
    deadline = time.monotonic() + 30
    while _is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False
