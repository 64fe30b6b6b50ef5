"""The commands about tuning, from end to end."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kernels import product
from tests.test_cli import run, spec  # noqa: F401 (a fixture)
from tests.tuning.databases import write_database
from tests.tuning.test_rpc import free_port
from tvm_equi.schedule import records
from tvm_equi.schedule.targets import host_family

FAMILY = "x86-64-v2"
needs_x86 = pytest.mark.skipif(not host_family(), reason="needs an x86-64 CPU")


@needs_x86
def test_tune_list_show_verify_merge(spec: Path, tmp_path: Path) -> None:  # noqa: F811
    db = tmp_path / "db"
    options = ("--target", FAMILY, "--trials", 8, "--derivatives", 1, "--rows", 64, "--db", db)
    text = " ".join(run("tune", spec, *options).split())
    assert "geometric mean of gains: " in text
    assert f"to compile with it: export TVM_EQUI_SCHEDULES={db}" in text
    assert (db / FAMILY / "trials" / "best_so_far.png").exists()
    kernels = len(records.entries(db / FAMILY))
    assert kernels >= 2
    assert FAMILY in run("schedules", "list", db)
    shown = run("schedules", "show", db)
    assert all(each.kernel[:8] in shown for each in records.entries(db / FAMILY))
    assert f"{kernels} records, 0 with problems" in run("schedules", "verify", db)
    merged = run("schedules", "merge", db, "-o", tmp_path / "out")
    assert f"{kernels} kernels" in " ".join(merged.split())
    assert records.entries(tmp_path / "out" / FAMILY).keys() == records.entries(db / FAMILY).keys()


def test_verify_tells_and_exits_with_1(tmp_path: Path) -> None:
    write_database(tmp_path, product(), [({}, 2.0)], FAMILY)
    path = tmp_path / FAMILY / records.RECORDS
    path.write_text(path.read_text().replace("lanes", "lames"))
    assert "1 records, 1 with problems" in run("schedules", "verify", tmp_path, code=1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--target", "sm_90"), "tune: target: expected one that this machine runs, got sm_90"),
        (("--target", "host,sm_90"), "tune: target: expected one CPU or GPU, got host, sm_90"),
        (("--target", "sparc"), "target: expected"),
        (("--dtype", "int8"), "--dtype: expected float32 or float64"),
        (("--tracker", "host:port"), "--tracker: expected HOST:PORT"),
        (("--tracker", f"127.0.0.1:{free_port()}"), "tracker: expected one at 127.0.0.1:"),
    ],
)
def test_refusals(
    arguments: tuple[str, ...],
    text: str,
    spec: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    said = run("tune", spec, "--trials", 2, "--db", tmp_path, *arguments, code=2)
    assert said.startswith("error: ")
    assert text in said
    assert len(said.splitlines()) == 1


def test_no_database_and_a_malformed_one(tmp_path: Path) -> None:
    assert "expected databases of some family, got none" in run(
        "schedules", "show", tmp_path, code=2
    )
    (tmp_path / FAMILY).mkdir()
    (tmp_path / FAMILY / records.WORKLOADS).write_text("nonsense\n")
    assert "line 1: expected JSON" in run("schedules", "show", tmp_path, code=2)


@needs_x86
def test_tracker_worker_and_tune_as_commands(spec: Path, tmp_path: Path) -> None:  # noqa: F811
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "tvm_equi.cli"]
    tracker = subprocess.Popen([*command, "tracker", "--port", address.partition(":")[2]])
    worker = None
    try:
        wait_until_listening(address)
        worker = subprocess.Popen(
            [*command, "worker", "--tracker", address, "--key", "k", "--port", str(free_port())]
        )
        text = run(
            "tune", spec, "--target", FAMILY, "--trials", 2, "--derivatives", 0, "--rows", 64,
            "--db", tmp_path, "--tracker", address, "--key", "k",
        )  # fmt: skip
        assert "geometric mean of gains" in text
    finally:
        for process in filter(None, (worker, tracker)):
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert (tmp_path / FAMILY / records.RECORDS).exists()


def wait_until_listening(address: str) -> None:
    host, _, port = address.partition(":")
    for _ in range(300):
        with suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.1)
    raise TimeoutError(address)
