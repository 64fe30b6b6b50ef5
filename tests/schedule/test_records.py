"""Databases as data: what is found, what wins, what is refused, what a reader sees meanwhile."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kernels import linear, product
from tests.tuning.databases import write_database
from tvm_equi.artifact.codegen import build, cache_key, tensorir
from tvm_equi.errors import RecordError
from tvm_equi.schedule import databases, records
from tvm_equi.schedule.records import Structure

KERNEL = product()
STRUCTURE = Structure(KERNEL.structure(), "float32", "x86-64-v3")
POINT = {"lanes": 4}


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that compiling searches first."""
    monkeypatch.setenv(records.VARIABLE, str(tmp_path))
    return tmp_path


def test_the_fastest_record_of_each_database_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_database(first, KERNEL, [({}, 3.0), (POINT, 2.0), ({"lanes": 16}, 1e10)])
    write_database(second, KERNEL, [({"lanes": 16}, 1.0)])
    monkeypatch.setenv(records.VARIABLE, f"{first}:{second}")
    found = records.find(STRUCTURE)
    assert [(each.point["lanes"], each.seconds) for each in found] == [(4, 2.0), (16, 1.0)]
    assert (found[0].line, found[0].path) == (2, first / "x86-64-v3")
    monkeypatch.setenv(records.VARIABLE, str(second))
    assert [each.point["lanes"] for each in records.find(STRUCTURE)] == [16]
    assert records.find(Structure(linear().structure(), "float32", "x86-64-v3")) == []
    assert records.find(Structure(KERNEL.structure(), "float64", "x86-64-v3")) == []


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
    assert "the rule decides: stale" in stale
    assert "line 1: record: expected decisions among" in stale
    assert "the rule decides: no record" in missing


def test_a_stale_record_does_not_hide_one_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_database(first, KERNEL, [({"lanes": 16}, 2.0)])
    write_database(second, KERNEL, [(POINT, 2.0)])
    path = first / "x86-64-v3" / records.RECORDS
    path.write_text(path.read_text().replace("is_staged", "is_stayed"))
    monkeypatch.setenv(records.VARIABLE, f"{first}:{second}")
    assert "float32x8" not in tensorir(KERNEL, "float32", "x86-64-v3")
    entry = build(KERNEL, "float32", "x86-64-v2")
    assert entry.manifest["decisions"] == {}  # of another family
    entry = build(KERNEL, "float32", "x86-64-v3")
    assert entry.manifest["decisions"]["lanes"] == 4  # type: ignore[index]


def test_kernels_that_differ_in_factors_share_a_record(search: Path) -> None:
    form = KERNEL.contractions[0]
    paths = tuple(replace(path, scale=3 * path.scale) for path in form.paths)
    other = replace(KERNEL, contractions=(replace(form, paths=paths), *KERNEL.contractions[1:]))
    write_database(search, KERNEL, [({}, 3.0), (POINT, 2.0)])
    assert "float32x8" not in tensorir(other, "float32", "x86-64-v3")


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
        (records.WORKLOADS, "[1, 2]\n", "line 1: expected .hash, module"),
        (records.RECORDS, f"[0, [[[], []], [{'9' * 400}], {{}}, []]]\n", "OverflowError"),
        (
            records.RECORDS,
            '[0, [[[["Annotate", ["b0", 5], ["tvm_equi.space"], []]], []], [1.0]]]\n',
            "AttributeError",
        ),
        (
            records.RECORDS,
            '[0, [[[["Annotate", ["b0", "[]"], ["tvm_equi.space"], []]], []], [1.0]]]\n',
            "AttributeError",
        ),
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


def test_shipped_databases_are_found_and_read() -> None:
    folder = records.shipped_folder()
    assert folder in records.search_path()
    assert {"x86-64-v3", "x86-64-v4"} <= set(records.families(folder))
    for family in records.families(folder):
        assert len(databases.entries(folder / family)) >= 10
