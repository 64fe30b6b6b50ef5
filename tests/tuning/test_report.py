"""What a run shows."""

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.kernels import product
from tvm_equi.tuning import report
from tvm_equi.tuning.task import Outcome, Task

TASK = Task("1 value kernel", product(), "float32", "x86-64-v3", 512)
DONE = Outcome(TASK, 4, 0, [0.004, 0.002, float("inf")], 0.004, 1.9, True, {"lanes": 4})
BEGUN = Outcome(TASK, 4)


def text(*shown: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(*shown)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_table() -> None:
    lines = text(report.table([DONE, BEGUN])).splitlines()
    done, begun = [line.split() for line in lines if "value kernel" in line]
    for word in ("512", "3/4", "1", "4.000", "2.000", "1.900"):
        assert word in done
    assert "0/4" in begun
    assert "inf" not in " ".join(lines)


def test_mean_counts_raced_kernels_alone() -> None:
    assert report.mean_gain([DONE, BEGUN]) == 1.9
    assert report.mean_gain([BEGUN]) == 1.0
    other = Outcome(TASK, 1, 0, [1.0], 1.0, 1.0, True)
    assert abs(report.mean_gain([DONE, other]) - 1.9**0.5) < 1e-12


def test_progress_says_what_is_left(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(report, "LINE_SECONDS", 0.0)
    console = Console(file=io.StringIO(), width=120)
    with report.progress(console) as watch:
        watch([DONE, BEGUN])
        watch([replace(DONE, resumed=2), BEGUN])
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "3 trials measured, 5 left, about 00:00:" in said
    assert "1 trials measured, 5 left, about 00:00:" in said  # in this run


def test_progress_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with report.progress(console) as watch:
        watch([DONE])
    assert "value kernel" in console.file.getvalue()  # type: ignore[attr-defined]


def test_plot(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    assert report.plot([DONE, BEGUN], path)
    assert path.read_bytes().startswith(b"\x89PNG")
