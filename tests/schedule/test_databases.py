"""Databases as a whole: put together, written in one step, by one process at a time."""

import multiprocessing
import threading
from pathlib import Path

import filelock
import pytest

from tests.kernels import kinds, linear, product
from tests.tuning.databases import write_database
from tvm_equi.errors import RecordError
from tvm_equi.schedule import databases, records
from tvm_equi.schedule.records import Structure

KERNEL = product()
FAMILY = "x86-64-v3"
STRUCTURE = Structure(KERNEL.structure(), "float32", FAMILY)
POINT = {"lanes": 4}


def test_merge_keeps_the_larger_gain(tmp_path: Path) -> None:
    first, second, out = (tmp_path / name for name in "abc")
    write_database(first, KERNEL, [({}, 3.0), (POINT, 2.0)])
    write_database(second, KERNEL, [({}, 30.0), ({"lanes": 16}, 10.0)])
    write_database(second, linear(), [({}, 5.0)])
    family = "x86-64-v3"
    assert databases.merge([first / family, second / family], out / family) == 2
    kept = databases.entries(out / family)
    assert kept[STRUCTURE].best.point["lanes"] == 16
    assert kept[STRUCTURE].gain == pytest.approx(3.0)
    assert databases.merge([first / family], out / family) == 2
    assert databases.entries(out / family)[STRUCTURE].best.point["lanes"] == 16
    write_database(tmp_path / "d", KERNEL, [({}, 1.0)], family="x86-64-v4")
    with pytest.raises(RecordError, match="expected records for x86-64-v3, got x86-64-v4"):
        databases.merge([tmp_path / "d" / "x86-64-v4"], out / family)


def test_entries_leave_failures_out(tmp_path: Path) -> None:
    write_database(tmp_path, KERNEL, [({}, 3.0), ({"lanes": 16}, 1e10), (POINT, 2.0)])
    write_database(tmp_path, linear(), [({}, 1e10)])
    found = databases.entries(tmp_path / FAMILY)
    assert list(found) == [STRUCTURE]
    assert len(found[STRUCTURE].lines) == 2
    assert found[STRUCTURE].gain == pytest.approx(1.5)


def test_geometric_mean() -> None:
    assert databases.geometric_mean([]) == 1.0
    assert databases.geometric_mean([4.0, 1.0]) == pytest.approx(2.0)


def _rewrite(folder: Path, source: Path) -> None:
    """Adds kernels one by one, and changes those that are there."""
    entries = list(databases.entries(source).values())
    for number in range(120):
        count = 1 + number % len(entries)
        databases.replace_entries(folder, entries[:count])


def test_a_reader_finds_a_whole_database_at_every_moment(tmp_path: Path) -> None:
    """While kernels are added, too: their records name workloads that were not there before."""
    kernels = list(kinds().values())[:6]
    for number, kernel in enumerate(kernels):
        write_database(tmp_path / "all", kernel, [({}, 3.0 + number), (POINT, 2.0)])
    folder = tmp_path / "grows" / FAMILY
    arguments = (folder, tmp_path / "all" / FAMILY)
    writer = multiprocessing.get_context("spawn").Process(target=_rewrite, args=arguments)
    writer.start()
    seen: set[int] = set()
    while writer.is_alive():
        found = databases.entries(folder)
        seen.add(len(found))
        assert all(len(entry.lines) == 2 for entry in found.values())
    writer.join()
    assert writer.exitcode == 0
    assert max(seen) == len(kernels)
    assert len(seen) > 2


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    kernels = list(kinds().values())[:6]
    for number, kernel in enumerate(kernels):
        write_database(tmp_path / str(number), kernel, [({}, 3.0), (POINT, 2.0)])

    def write(number: int) -> None:
        databases.merge([tmp_path / str(number) / FAMILY], tmp_path / "out" / FAMILY)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(kernels))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(databases.entries(tmp_path / "out" / FAMILY)) == len(kernels)


def test_busy_and_unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "LOCK_SECONDS", 0.1)
    write_database(tmp_path, KERNEL, [({}, 3.0)])
    folder = tmp_path / FAMILY
    with filelock.FileLock(folder / databases.LOCK):
        with pytest.raises(RecordError, match="expected it to be free, got: another process"):
            databases.merge([folder], folder)
        assert len(records.read(folder)) == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="expected a folder that can be written"):
        databases.merge([folder], tmp_path / "file" / FAMILY)
