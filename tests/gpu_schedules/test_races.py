"""Every kind of launch under Oclgrind: no race, no uninitialised read, nothing out of bounds.

The values are checked too, and wrong kernels are found, so that silence means something.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent

ROWS = (
    "couple",
    "couple-alone",
    "couple-loop",
    "couple-shared",
    "mix",
    "mix-shared",
    "product",
    "select",
)
EDGES = (
    "edges",
    "edges-alone",
    "edges-loop",
    "edges-mix",
    "edges-select",
    "edges-shared",
    "edges-inside",
)

LEFT_OUT = ("edges-alone", "edges-inside", "edges-loop", "edges-mix", "edges-select")
"""Cases whose double backward is left out: the same kinds of launches as before, and slow."""

SLOW = {
    "couple-shared": (2,),
    "edges-inside": (1,),
    "edges-loop": (1,),
    "edges-shared": (2,),
    "mix-shared": (1, 2),
    "product": (1,),
}
"""Orders of derivatives that run for long, by case."""


def orders() -> list[Any]:
    """Cases with orders of derivatives that one process takes; the slow ones by themselves."""
    found = []
    for case in ROWS + EDGES:
        slow = SLOW.get(case, ())
        quick = [n for n in range(2 if case in LEFT_OUT else 3) if n not in slow]
        found.append((case, ",".join(map(str, quick))))
        found += [pytest.param(case, str(order), marks=pytest.mark.slow) for order in slow]
    return found


def run(oclgrind: str, log: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a case under Oclgrind, whose complaints go to a log."""
    command = [oclgrind, "--data-races", "--uninitialized", "--log", str(log)]
    # Oclgrind counts the memory of all kernels of a program; ptxas says what each takes.
    command += ["--local-mem-size", str(1 << 20)]
    command += [sys.executable, "-m", "tests.gpu_schedules.small", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def complaints(oclgrind: str, log: Path, case: str, orders: str = "0") -> str:
    """What Oclgrind says of a case whose values are right."""
    done = run(oclgrind, log, case, orders)
    assert done.returncode == 0, done.stdout + done.stderr
    return log.read_text() if log.exists() else ""


@pytest.mark.parametrize(("case", "orders"), orders())
def test_clean(case: str, orders: str, oclgrind: str, opencl: None, tmp_path: Path) -> None:
    assert complaints(oclgrind, tmp_path / "log", case, orders) == ""


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("race", "data race at global memory address"),
        ("bounds", "Invalid write of size 4 at global memory address"),
        ("unset", "Uninitialized value"),
    ],
)
def test_wrong_kernels_are_found(
    case: str, message: str, oclgrind: str, opencl: None, tmp_path: Path
) -> None:
    assert message in complaints(oclgrind, tmp_path / "log", case)


@pytest.mark.parametrize("barrier", [0, 1])
@pytest.mark.parametrize(("case", "order"), [("product", 0), ("edges", 0), ("edges-alone", 1)])
def test_a_missing_barrier_is_found(
    case: str, order: int, barrier: int, oclgrind: str, opencl: None, tmp_path: Path
) -> None:
    """In the first launch of each case, which has tiles enough to show it."""
    run(oclgrind, tmp_path / "log", case, str(order), str(barrier))
    assert "data race at local memory address" in (tmp_path / "log").read_text()
