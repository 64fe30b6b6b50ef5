"""Trackers and workers of TVM's RPC, on loopback unless the user says otherwise.

In: addresses as users write them. Out: processes that serve until they are stopped, and the number
of workers that a tracker knows. Whoever reaches a worker can run code on it: open one only to a
network in which everybody may.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from tvm_equi.errors import ArgumentError, TuningError
from tvm_equi.tuning.helper import thread_variables
from tvm_equi.tuning.pool import Tracker

LOOPBACK = "127.0.0.1"
TRACKER_PORT, WORKER_PORT = 9190, 9090
CONNECT_SECONDS = 5.0
PORTS = 1000
"""Ports that a worker tries, from the first on."""


def parse_address(text: str, argument: str) -> tuple[str, int]:
    """(host, port) of a text such as "127.0.0.1:9190".

    Args:
        text: to read; the port may be left out.
        argument: its name, for errors.

    Raises:
        ArgumentError: it is no address.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(TRACKER_PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ArgumentError(f"{argument}: expected HOST:PORT, got {text!r}")
    return host, int(port)


def count_workers(tracker: Tracker) -> int:
    """The workers with a tracker's key that it knows, busy ones too.

    Args:
        tracker: to ask.

    Raises:
        TuningError: the tracker does not answer.
    """
    from tvm import rpc

    try:
        # TVM would try again for a minute where nobody listens.
        socket.create_connection((tracker.host, tracker.port), CONNECT_SECONDS).close()
        summary = rpc.connect_tracker(tracker.host, tracker.port).summary()
    except (OSError, RuntimeError, ValueError) as error:
        raise TuningError(
            f"tune: tracker: expected one at {tracker.host}:{tracker.port}, got: {error}; "
            "start one with `tvm-equi tracker`"
        ) from error
    wanted = f"server:{tracker.key}"
    return sum(each.get("key") == wanted for each in summary["server_info"])


def wait_for_workers(tracker: Tracker, seconds: float) -> int:
    """The number of workers, as soon as there is one.

    Args:
        tracker: to ask.
        seconds: to wait.

    Raises:
        TuningError: the tracker does not answer, or there is still no worker.
    """
    deadline = time.monotonic() + seconds
    while True:
        count = count_workers(tracker)
        if count:
            return count
        if time.monotonic() >= deadline:
            raise TuningError(
                f"tune: {tracker.host}:{tracker.port}: expected workers with key "
                f"{tracker.key!r}, got none in {seconds:g} s; start some with `tvm-equi worker`"
            )
        time.sleep(min(1.0, seconds))


def start_tracker(host: str = LOOPBACK, port: int = TRACKER_PORT) -> subprocess.Popen[bytes]:
    """A tracker's process.

    Args:
        host: address to listen on.
        port: to listen on.
    """
    arguments = ["--host", host, "--port", str(port), "--port-end", str(port + 1)]
    return _start("tvm.exec.rpc_tracker", arguments, {})


def start_worker(
    tracker: Tracker,
    host: str = LOOPBACK,
    port: int = WORKER_PORT,
    threads: int = 1,
    libraries: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """A worker's process, which measures one candidate at a time.

    Args:
        tracker: to register with, and the worker's key.
        host: address to listen on, by which the tuning machine reaches it.
        port: to listen on, or the next free one.
        threads: of kernels.
        libraries: paths of those that candidates need, such as the runtime of CUDA.
    """
    arguments = ["--host", host, "--port", str(port), "--port-end", str(port + PORTS)]
    arguments += ["--tracker", f"{tracker.host}:{tracker.port}", "--key", tracker.key]
    if libraries:
        arguments += ["--load-library", ":".join(libraries)]
    return _start("tvm.exec.rpc_server", arguments, thread_variables(threads))


def _start(module: str, arguments: list[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process of a group of its own, so that what it starts can be stopped with it."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **variables},
        start_new_session=True,
    )
