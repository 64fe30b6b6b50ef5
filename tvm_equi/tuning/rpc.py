"""A tracker of TVM's RPC, as whoever tunes sees it: its address, and the workers that it knows.

In: addresses as users write them. Out: numbers of workers. Nothing waits for longer than it is told
to, whatever is at the address. What serves is in `tuning/server.py`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tvm_equi.errors import ArgumentError, TuningError

TRACKER_PORT = 9190
CONNECT_SECONDS = 5.0

_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class Tracker:
    """Where workers are.

    Args:
        host: of the tracker.
        port: of the tracker.
        key: of the workers: letters, digits and some signs, since TVM splits texts at others.

    Raises:
        ArgumentError: it is no such key.
    """

    host: str
    port: int
    key: str

    def __post_init__(self) -> None:
        """Refuses a key that no worker would match."""
        if not re.fullmatch(r"[\w.,+-]+", self.key):
            raise ArgumentError(
                f"--key: expected letters, digits, '.', ',', '+', '-' and '_', got {self.key!r}"
            )


def parse_address(text: str, argument: str) -> tuple[str, int]:
    """(host, port) of a text such as "127.0.0.1:9190" or "[::1]:9190".

    Args:
        text: to read; the port may be left out.
        argument: its name, for errors.

    Raises:
        ArgumentError: it is no address.
    """
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or TRACKER_PORT) if found else 0
    if found is None or not 0 < port < 1 << 16:
        raise ArgumentError(f"{argument}: expected HOST:PORT or [IPV6]:PORT, got {text!r}")
    return found["host"].strip("[]"), port


def is_loopback(host: str) -> bool:
    """Whether an address is reached from its own machine alone.

    Args:
        host: a name or an address.
    """
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def count_workers(tracker: Tracker) -> int:
    """The workers with a tracker's key that it knows, busy ones too.

    Args:
        tracker: to ask.

    Raises:
        TuningError: nobody listens there, or no tracker.
    """
    try:
        servers = _servers(tracker)
    except (OSError, ValueError) as error:
        raise TuningError(
            f"tune: tracker: expected one at {tracker.host}:{tracker.port}, got: {error}; "
            "start one with `tvm-equi tracker`"
        ) from error
    return sum(each.get("key") == f"server:{tracker.key}" for each in servers)


def _servers(tracker: Tracker) -> list[dict[str, Any]]:
    """What a tracker says of its workers.

    Raises:
        OSError: nobody listens there, or says nothing.
        ValueError: something else than a tracker does.
    """
    from tvm.rpc import base

    magic = struct.pack("<i", base.RPC_TRACKER_MAGIC)
    address = (tracker.host, tracker.port)
    with socket.create_connection(address, CONNECT_SECONDS) as connection:
        connection.sendall(magic)
        if base.recvall(connection, len(magic)) != magic:
            raise ValueError("something else")
        base.sendjson(connection, [base.TrackerCode.SUMMARY])
        _, summary = base.recvjson(connection)
    found: list[dict[str, Any]] = summary["server_info"]
    return found


def wait_for_workers(tracker: Tracker, seconds: float) -> int:
    """The number of workers, as soon as there is one.

    Args:
        tracker: to ask; it may still be starting.
        seconds: to wait.

    Raises:
        TuningError: the tracker does not answer, or there is still no worker.
    """
    deadline = time.monotonic() + seconds
    while True:
        is_over = time.monotonic() >= deadline
        try:
            count = count_workers(tracker)
        except TuningError:
            if is_over:
                raise
            count = 0
        if count:
            return count
        if is_over:
            raise TuningError(
                f"tune: {tracker.host}:{tracker.port}: expected workers with key "
                f"{tracker.key!r}, got none in {seconds:g} s; start some with `tvm-equi worker`"
            )
        time.sleep(min(1.0, max(0.05, seconds / 10)))
