"""The commands about tuning, from end to end."""

from pathlib import Path

import pytest

from tests.cli.test_app import run, spec  # noqa: F401 (a fixture)
from tests.kernels import product
from tests.tuning.databases import write_database
from tests.tuning.test_server import Server, start, started, tracker  # noqa: F401 (fixtures)
from tvm_equi.schedule import databases, records
from tvm_equi.schedule.targets import host_family
from tvm_equi.tuning.rpc import Tracker

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
    kernels = len(databases.entries(db / FAMILY))
    assert kernels >= 2
    assert FAMILY in run("schedules", "list", db)
    shown = run("schedules", "show", db)
    assert all(each.kernel[:8] in shown for each in databases.entries(db / FAMILY))
    assert f"{kernels} records, 0 with problems" in run("schedules", "verify", db)
    merged = run("schedules", "merge", db, "-o", tmp_path / "out")
    assert f"{kernels} kernels" in " ".join(merged.split())
    assert (
        databases.entries(tmp_path / "out" / FAMILY).keys() == databases.entries(db / FAMILY).keys()
    )


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


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--tracker", "10.0.0.1"), "--host: expected an address by which 10.0.0.1 reaches this"),
        (("--tracker", "host:port"), "--tracker: expected HOST:PORT"),
        (("--target", "sm_90"), "--target: expected host or cuda, got 'sm_90'"),
        (("--target", "cuda"), "target: cuda: expected a GPU in this machine"),
    ],
)
def test_workers_refuse(arguments: tuple[str, ...], text: str) -> None:
    assert text in run("worker", *arguments, code=2)


@needs_x86
def test_tracker_worker_and_tune_as_commands(
    spec: Path,  # noqa: F811
    tracker: Tracker,  # noqa: F811
    started: list[Server],  # noqa: F811
    tmp_path: Path,
) -> None:
    start(started, tracker, 1, "k")
    place = f"{tracker.host}:{tracker.port}"
    text = run(
        "tune", spec, "--target", FAMILY, "--trials", 2, "--derivatives", 0, "--rows", 64,
        "--db", tmp_path, "--tracker", place, "--key", "k",
    )  # fmt: skip
    assert "geometric mean of gains" in text
    assert (tmp_path / FAMILY / records.RECORDS).exists()
