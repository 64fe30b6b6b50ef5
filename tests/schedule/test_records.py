"""Databases as data: what is found, what wins, what is refused, what a reader sees meanwhile."""

import json
import logging
import multiprocessing
from pathlib import Path

import pytest

from tests.kernels import linear, product
from tests.tuning.databases import write_database
from tvm_equi.artifact.codegen import cache_key, tensorir
from tvm_equi.errors import RecordError
from tvm_equi.schedule import records
from tvm_equi.schedule.records import Structure

KERNEL = product()
STRUCTURE = Structure(KERNEL.structure(), "float32", "x86-64-v3")
POINT = {"lanes": 4}


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that compiling searches first."""
    monkeypatch.setenv(records.VARIABLE, str(tmp_path))
    return tmp_path


def test_the_fastest_record_of_the_first_database_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_database(first, KERNEL, [({}, 3.0), (POINT, 2.0), ({"lanes": 16}, 1e10)])
    write_database(second, KERNEL, [({"lanes": 16}, 1.0)])
    monkeypatch.setenv(records.VARIABLE, f"{first}:{second}")
    found = records.find(STRUCTURE)
    assert found is not None
    assert (found.point["lanes"], found.seconds, found.line) == (4, 2.0, 2)
    monkeypatch.setenv(records.VARIABLE, str(second))
    assert records.find(STRUCTURE).point["lanes"] == 16  # type: ignore[union-attr]
    assert records.find(Structure(linear().structure(), "float32", "x86-64-v3")) is None
    assert records.find(Structure(KERNEL.structure(), "float64", "x86-64-v3")) is None


def test_compiling_uses_a_record(search: Path) -> None:
    before = tensorir(KERNEL, "float32", "x86-64-v3"), cache_key(KERNEL, "float32", "x86-64-v3")
    assert "float32x8" in before[0]
    write_database(search, KERNEL, [({}, 3.0), (POINT, 2.0)])
    after = tensorir(KERNEL, "float32", "x86-64-v3"), cache_key(KERNEL, "float32", "x86-64-v3")
    assert "float32x8" not in after[0]
    assert "float32x4" in after[0]
    assert before[1] != after[1]


def test_stale_and_missing_records_mean_the_rule(
    search: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rule = tensorir(KERNEL, "float32", "x86-64-v3")
    write_database(search, KERNEL, [(POINT, 2.0)])
    path = search / "x86-64-v3" / records.RECORDS
    path.write_text(path.read_text().replace("lanes", "lames"))
    with caplog.at_level(logging.DEBUG, "tvm_equi.records"):
        assert tensorir(KERNEL, "float32", "x86-64-v3") == rule
        assert tensorir(linear(), "float32", "x86-64-v3")
    stale, missing = [each.message for each in caplog.records]
    assert "stale record, the rule decides: record: expected decisions among" in stale
    assert "no record" in missing


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (records.RECORDS, "no json\n", "line 1: expected JSON"),
        (records.RECORDS, "[0]\n", "line 1: expected .workload, .trace, seconds"),
        (records.RECORDS, "[7, [[[], []], [1.0], {}, []]]\n", "IndexError"),
        (records.RECORDS, "[-1, [[[], []], [1.0], {}, []]]\n", "the number of a workload, got -1"),
        (
            records.RECORDS,
            '[0, [[[["Annotate", ["b0", "v1"], ["x"], []]], []], [1]]]\n',
            "KeyError",
        ),
        (
            records.WORKLOADS,
            '["1", "!!"]\n',
            "line 1: expected .hash, module. of a tvm_equi kernel",
        ),
        (records.WORKLOADS, '["1", "e30="]\n', "KeyError|JSONDecodeError"),
        (records.WORKLOADS, "{}\n", "line 1: expected .hash, module"),
    ],
)
def test_malformed_files_are_told(name: str, text: str, message: str, search: Path) -> None:
    write_database(search, KERNEL, [(POINT, 2.0)])
    (search / "x86-64-v3" / name).write_text(text)
    with pytest.raises(RecordError, match=message) as caught:
        records.read(search / "x86-64-v3")
    assert name in str(caught.value)
    with pytest.raises(RecordError):
        tensorir(KERNEL, "float32", "x86-64-v3")


def test_an_outcome_outside_the_space_is_told(search: Path) -> None:
    write_database(search, KERNEL, [(POINT, 2.0)])
    path = search / "x86-64-v3" / records.RECORDS
    index, (trace, *rest) = json.loads(path.read_text())
    trace[1][0][1] = 99
    path.write_text(json.dumps([index, [trace, *rest]]) + "\n")
    with pytest.raises(RecordError, match="outcome 99 of"):
        records.read(search / "x86-64-v3")


def test_an_unfinished_line_is_not_read(search: Path) -> None:
    """What a killed run leaves, cut at any byte of its last line."""
    write_database(search, KERNEL, [({}, 3.0), (POINT, 2.0)])
    path = search / "x86-64-v3" / records.RECORDS
    whole = path.read_bytes()
    end = whole.index(b"\n") + 1
    for size in range(end, len(whole), 97):
        path.write_bytes(whole[:size])
        assert [each.seconds for each in records.read(path.parent)] == [3.0]


def test_merge_keeps_the_larger_gain(tmp_path: Path) -> None:
    first, second, out = (tmp_path / name for name in "abc")
    write_database(first, KERNEL, [({}, 3.0), (POINT, 2.0)])
    write_database(second, KERNEL, [({}, 30.0), ({"lanes": 16}, 10.0)])
    write_database(second, linear(), [({}, 5.0)])
    family = "x86-64-v3"
    assert records.merge([first / family, second / family], out / family) == 2
    kept = records.entries(out / family)
    assert kept[STRUCTURE].best.point["lanes"] == 16
    assert kept[STRUCTURE].gain == pytest.approx(3.0)
    assert records.merge([first / family], out / family) == 2
    assert records.entries(out / family)[STRUCTURE].best.point["lanes"] == 16
    write_database(tmp_path / "d", KERNEL, [({}, 1.0)], family="x86-64-v4")
    with pytest.raises(RecordError, match="expected records for x86-64-v3, got x86-64-v4"):
        records.merge([tmp_path / "d" / "x86-64-v4"], out / family)


def _rewrite(folder: Path, times: int) -> None:
    entries = records.entries(folder)
    for number in range(times):
        kept = list(entries.values())
        records.write(folder, kept if number % 2 else reversed(kept[:1]))


def test_a_reader_finds_a_whole_database_at_every_moment(tmp_path: Path) -> None:
    write_database(tmp_path, KERNEL, [({}, 3.0), (POINT, 2.0)])
    write_database(tmp_path, linear(), [({}, 5.0)])
    folder = tmp_path / "x86-64-v3"
    writer = multiprocessing.get_context("spawn").Process(target=_rewrite, args=(folder, 200))
    writer.start()
    seen = set()
    while writer.is_alive():
        found = records.read(folder)
        seen.add(len(found))
        assert {each.structure.kernel for each in found} <= {
            KERNEL.structure(),
            linear().structure(),
        }
    writer.join()
    assert writer.exitcode == 0
    assert seen <= {1, 2, 3}


def test_shipped_databases_are_found_and_read() -> None:
    folder = records.shipped_folder()
    assert folder in records.search_path()
    assert {"x86-64-v3", "x86-64-v4"} <= set(records.families(folder))
    for family in records.families(folder):
        assert len(records.entries(folder / family)) >= 10
