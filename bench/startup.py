"""What a new process waits for: imports, the first compilation, and a warm cache.

Run as `python -m bench.startup`. Each time is taken inside a fresh process, several times;
medians are printed. `python -m bench.startup first-call NAME` is what those processes run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.table import Table

IMPORTS = {
    "import torch": "import torch",
    "import torch, tvm_equi": "import torch, tvm_equi",
    "import torch, tvm_equi; use a module": "import torch, tvm_equi; tvm_equi.TensorProduct",
}

GOALS = {"import": 1.5, "cold": 10.0, "warm": 0.3}
"""Seconds: import above torch alone; first forward and backward of mace-large, cold and warm."""

ROWS = 8


def import_seconds(code: str) -> float:
    """Seconds that a fresh process takes for an import."""
    timed = f"import time; s = time.perf_counter(); {code}; print(time.perf_counter() - s)"
    return float(_child(["-c", timed], {}))


def first_call_seconds(workload: str, cache: Path) -> float:
    """Seconds of the first forward and backward in a fresh process with this cache folder."""
    command = ["-m", "bench.startup", "first-call", workload]
    return float(_child(command, {"TVM_EQUI_CACHE_DIR": str(cache)}))


def _child(arguments: list[str], variables: dict[str, str]) -> str:
    """The last line that a Python process prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | variables,
        cwd=Path(__file__).parent.parent,
    )
    return done.stdout.strip().splitlines()[-1]


def first_call(workload: str) -> float:
    """Seconds of this process's first forward and backward, without imports and e3nn's module."""
    import torch

    import tvm_equi
    from bench.passes import forward_backward, random_tensors
    from bench.workloads import select

    module = select([workload])[0].build()
    tensors = random_tensors(module, ROWS, torch.float32)
    start = time.perf_counter()
    forward_backward(tvm_equi.from_e3nn(module), tensors)
    return time.perf_counter() - start


def measure(workload: str, repeats: int) -> dict[str, tuple[float, float | None]]:
    """(median seconds, goal) of each thing that a new process waits for."""
    found: dict[str, tuple[float, float | None]] = {}
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, code in IMPORTS.items():
            times[name].append(import_seconds(code))
    medians = {name: statistics.median(values) for name, values in times.items()}
    first, *others = medians
    found[first] = (medians[first], None)
    for name in others:
        found[f"{name}, above torch"] = (medians[name] - medians[first], GOALS["import"])
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(first_call_seconds(workload, Path(folder)))
            warm.append(first_call_seconds(workload, Path(folder)))
    found[f"{workload}: first forward+backward, cold"] = (statistics.median(cold), GOALS["cold"])
    found[f"{workload}: first forward+backward, warm"] = (statistics.median(warm), GOALS["warm"])
    return found


def main(arguments: list[str] | None = None) -> None:
    """Prints a table, or, in a child process, one number."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("all", "first-call"), default="all")
    parser.add_argument("workload", nargs="?", default="mace-large")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each (default 3)")
    given = parser.parse_args(arguments)
    if given.what == "first-call":
        print(first_call(given.workload))
        return
    from bench.report import console

    table = Table(title=f"seconds, median of {given.repeats} processes")
    for name in ("what", "seconds", "goal"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for name, (seconds, goal) in measure(given.workload, given.repeats).items():
        table.add_row(name, f"{seconds:.2f}", "" if goal is None else f"{goal:.1f}")
    console().print(table)


if __name__ == "__main__":
    main()
