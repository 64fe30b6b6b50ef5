"""Trackers and workers of TVM's RPC, which serve in the process that calls them until it ends.

In: addresses. Out: nothing returns. TVM's own commands listen for the whole network, leave their
processes behind, and stop to serve after a session whose process crashed, which is what bad
candidates do. Here a session that ends, however it ends, is followed by the next, and nothing
outlives the process. Whoever reaches a worker can run code on it: open one only to a network in
which everybody may.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from tvm_equi.errors import ArgumentError
from tvm_equi.tuning.helper import thread_variables
from tvm_equi.tuning.rpc import Tracker

LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
WORKER_PORT = 9090
PORTS = 1000
"""Ports that a worker tries, from the first on."""

_PR_SET_PDEATHSIG = 1

logger = logging.getLogger("tvm_equi.server")


def serve_tracker(host: str, port: int) -> NoReturn:
    """Registers workers and hands them out.

    Args:
        host: address to listen on.
        port: to listen on.

    Raises:
        ArgumentError: the address cannot be listened on.
        SystemExit: the process was asked to end.
    """
    _end_on_signals()
    from tvm.rpc import tracker

    tracker.logger.setLevel(logging.WARNING)
    listening, _ = _listen(host, port, 1, "tvm-equi tracker")
    tracker._tracker_server(listening, "no one stops it")
    raise SystemExit(0)


def serve_worker(tracker: Tracker, host: str, port: int, threads: int, device: str) -> NoReturn:
    """Measures candidates, one session at a time, each in a process of its own.

    Args:
        tracker: to register with, and the worker's key.
        host: address to listen on, by which the tuning machine reaches it.
        port: to listen on, or the next free one.
        threads: of kernels.
        device: "cpu" or "cuda".

    Raises:
        ArgumentError: the address cannot be listened on.
        ArtifactError: there is no GPU's runtime.
        SystemExit: the process was asked to end, or the tracker has been gone for a minute.
    """
    _end_on_signals()
    os.environ.update(thread_variables(threads))  # TVM reads it when a session first runs a kernel
    if device == "cuda":
        from tvm_equi.runtime.library import load_cuda_runtime

        load_cuda_runtime()
    from tvm.rpc import server

    server.logger.setLevel(logging.WARNING)
    server._serving = _serve_session
    listening, port = _listen(host, port, PORTS, "tvm-equi worker")
    place = (tracker.host, tracker.port)
    try:
        own = None if host in EVERYWHERE else host  # the tracker knows from where it is called
        server._listen_loop(listening, port, tracker.key, place, None, own)
    except RuntimeError as error:
        logger.error("tracker %s:%d: %s", *place, error)
    raise SystemExit(1)


def _serve_session(connection: socket.socket, address: Any, options: Any, _: Any) -> None:
    """Runs one session in a process of its own, and ends it when its time is over."""
    from tvm.support import utils

    folder = utils.tempdir()
    arguments = (connection, folder)
    process = multiprocessing.get_context("fork").Process(target=_run_session, args=arguments)
    process.start()
    process.join(options.get("timeout"))
    if process.is_alive():
        logger.warning("%s: a session took too long and was ended", address)
        process.kill()
        process.join()
    elif process.exitcode:
        logger.warning("%s: a session ended with %d", address, process.exitcode)
    connection.close()
    folder.remove()


def _run_session(connection: socket.socket, folder: Any) -> None:
    """Does what the other side of a connection asks for."""
    from tvm.rpc import server

    _end_on_signals(default=True)
    if sys.platform == "linux":  # a candidate that hangs must not outlive the worker
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.chdir(folder.path)  # sessions of other workers have files of the same names
    server._serve_loop(connection, None, folder)


def _end_on_signals(*, default: bool = False) -> None:
    """Ends this process when its terminal closes or somebody asks it to, and cleans up."""

    def end(number: int, _: Any) -> NoReturn:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if default else end)


def _listen(host: str, port: int, ports: int, command: str) -> tuple[socket.socket, int]:
    """A socket that listens on the first free port, and the port.

    Raises:
        ArgumentError: there is none, or no such address.
    """
    problem: OSError | None = None
    for number in range(port, min(port + ports, 1 << 16)):
        try:
            family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, number), family=family, backlog=64), number
        except OSError as error:
            problem = error
    raise ArgumentError(
        f"{command}: --host, --port: expected an address to listen on, got {host}:{port}: {problem}"
    )
