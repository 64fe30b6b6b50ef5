"""What whoever tunes asks of a tracker: addresses, numbers of workers, and no waiting for ever."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tvm_equi.errors import ArgumentError, TuningError
from tvm_equi.tuning import rpc
from tvm_equi.tuning.rpc import Tracker, count_workers, is_loopback, parse_address, wait_for_workers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("host:1234", ("host", 1234)),
        ("127.0.0.1", ("127.0.0.1", 9190)),
        ("[::1]:80", ("::1", 80)),
        ("[fe80::1]", ("fe80::1", 9190)),
    ],
)
def test_addresses(text: str, wanted: tuple[str, int]) -> None:
    assert parse_address(text, "x") == wanted


@pytest.mark.parametrize("text", ["host:", "host:port", ":1", "host:70000", "host:0", "::1", ""])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"--tracker: expected HOST:PORT or \[IPV6\]:PORT, got"):
        parse_address(text, "--tracker")


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("node1", False),
    ],
)
def test_loopback(host: str, wanted: bool) -> None:
    assert is_loopback(host) == wanted


@pytest.mark.parametrize("key", ["", "two words", "a:b", "a\nb"])
def test_keys_that_no_worker_would_match(key: str) -> None:
    with pytest.raises(ArgumentError, match="--key: expected letters, digits"):
        Tracker("127.0.0.1", 1, key)
    assert Tracker("127.0.0.1", 1, "x86-64-v4").key == "x86-64-v4"


def test_nobody_listens() -> None:
    with pytest.raises(
        TuningError, match=r"tracker: expected one at 127.0.0.1:\d+, got: .*refused"
    ):
        count_workers(Tracker("127.0.0.1", free_port(), "key"))


@contextmanager
def something_else(answer: bytes) -> Iterator[int]:
    """A server that says one thing, and then nothing."""
    seen = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            connection.sendall(answer)
            seen.wait(10)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            seen.set()
            thread.join()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400", b"\x71\xf2\x02\x00", b"\x71\xf2\x02\x00\x05"]
)
def test_something_else_listens(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The magic number of trackers too, and then silence."""
    monkeypatch.setattr(rpc, "CONNECT_SECONDS", 0.5)
    with something_else(answer) as port:
        start = time.monotonic()
        with pytest.raises(TuningError, match="tracker: expected one at"):
            count_workers(Tracker("127.0.0.1", port, "key"))
        assert time.monotonic() - start < 2.5


def test_waiting_ends() -> None:
    start = time.monotonic()
    with pytest.raises(TuningError, match="expected one at"):
        wait_for_workers(Tracker("127.0.0.1", free_port(), "key"), 0.3)
    assert 0.3 <= time.monotonic() - start < 5


def test_waits_for_a_tracker_that_is_still_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[object] = [OSError("refused"), [], [{"key": "server:other"}]]
    answers.append([{"key": "server:key"}, {"key": "server:key"}, {"key": "server:other"}])

    def servers(tracker: Tracker) -> object:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(rpc, "_servers", servers)
    assert wait_for_workers(Tracker("127.0.0.1", 1, "key"), 10) == 2
