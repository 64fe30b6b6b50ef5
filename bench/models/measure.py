"""What the benchmarks of whole models share: times in turns, differences, peak memory, a table.

In: for each use of a model (energy and forces, a training step) one call per contestant, on the
same data; the first contestant is the reference. Out: medians with their spread, the largest
difference from the reference, and the peak memory of a call, each in a process of its own.

A benchmark `bench.models.NAME` has a function that makes a call from a `Question`, and a `main`
that begins with `if answer_as_child(make_call): return`. Then `ask` can run it for one question.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.table import Table

from bench import machine
from bench.timing import Timing, no_gc

Call = Callable[[], Mapping[str, torch.Tensor]]
"""One use of a model: what it computed, by name."""

CHILD = "child"

WARM_UPS = 2
"""Calls before the first timed one: TorchScript, of which e3nn's modules are, profiles in its first
and optimises in its second."""
ROOT = Path(__file__).parents[2]
MISSING = "-"


@dataclass(frozen=True, slots=True)
class Question:
    """What a process measures: one use of a contestant.

    Args:
        contestant: a name that the benchmark knows.
        use: likewise, such as "training step".
        structure: likewise, such as "water".
        num_atoms: wanted; the benchmark may round.
        dtype: "float32" or "float64".
        threads: of torch.
        small: whether the model is a small one, for a quick look.
    """

    contestant: str
    use: str
    structure: str
    num_atoms: int
    dtype: str
    threads: int
    small: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """What was found about one use of a model.

    Args:
        label: for the first column, such as the structure.
        use: of the model.
        timings: of contestants by name.
        differences: of each contestant but the first: by name of what was computed, the largest
            difference over the largest magnitude.
        peaks: bytes that a call held above what was held before it, or why they are not known.
    """

    label: str
    use: str
    timings: Mapping[str, Timing]
    differences: Mapping[str, Mapping[str, float]]
    peaks: Mapping[str, int | str]


def race(calls: Mapping[str, Call], rounds: int) -> dict[str, Timing]:
    """Times contestants in turns, after calls of each that do not count.

    Args:
        calls: by name.
        rounds: in which each has one call.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(WARM_UPS):
            call()
    with no_gc():
        for _ in range(rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                found[name].append(time.perf_counter() - start)
    return {name: Timing.of(seconds) for name, seconds in found.items()}


def differences(
    found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> dict[str, float]:
    """For each value the largest difference over the largest magnitude of the wanted one.

    Args:
        found: by name.
        wanted: with the same names.

    Raises:
        ValueError: names or shapes differ.
    """
    if found.keys() != wanted.keys():
        raise ValueError(f"found: expected {sorted(wanted)}, got {sorted(found)}")
    result = {}
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise ValueError(
                f"{name}: expected {list(tensor.shape)}, got {list(found[name].shape)}"
            )
        scale = float(tensor.abs().max()) if tensor.numel() else 0.0
        error = float((found[name] - tensor).abs().max()) if tensor.numel() else 0.0
        result[name] = error / scale if scale else error
    return result


def peak_bytes(call: Call) -> int:
    """Bytes that one call holds at most above what this process held before, after a first call.

    Args:
        call: to measure; the first call, which loads and compiles, does not count.

    Raises:
        OSError: the system does not count a peak.
    """
    call()
    with no_gc():
        # What is free in the heap would hide some of the growth.
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)
        machine.reset_peak_memory()
        before = machine.resident_memory() or 0
        results = call()
        peak = (machine.peak_memory() or 0) - before
        del results
    return peak


def ask(module: str, question: Question) -> int | str:
    """The peak memory of one use, in a process of its own: bytes, or why there are none.

    Args:
        module: of the benchmark, such as "bench.models.mace".
        question: what to measure.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, CHILD, json.dumps(asdict(question))],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return int(lines[-1])
    errors = done.stderr.strip().splitlines()
    return errors[-1] if errors else f"exit status {done.returncode}"


def answer_as_child(make_call: Callable[[Question], Call]) -> bool:
    """Whether this process was started by `ask`; then the answer is printed.

    Args:
        make_call: the call that a question is about.
    """
    if sys.argv[1:2] != [CHILD]:
        return False
    question = Question(**json.loads(sys.argv[2]))
    torch.set_num_threads(question.threads)
    print(peak_bytes(make_call(question)))
    return True


def table(title: str, lines: list[Line]) -> Table:
    """A row for each use: times, the ratio to the first contestant's, memory, differences.

    Args:
        title: of the table.
        lines: its rows, all with the same contestants.
    """
    found = Table(title=title)
    names = list(lines[0].timings) if lines else []
    reference = names[0] if names else ""
    found.add_column("structure")
    found.add_column("use")
    for name in names:
        found.add_column(f"{name}, s (p10 to p90)", justify="right")
    for _ in names[1:]:
        found.add_column(f"x {reference}", justify="right")
    for name in names:
        found.add_column(f"{name}, MB", justify="right")
    for _ in names[1:]:
        found.add_column("largest relative difference", justify="right")
    for line in lines:
        times = [_seconds(line.timings[name]) for name in names]
        slow = line.timings[reference].median
        ratios = [f"{slow / line.timings[name].median:.2f}" for name in names[1:]]
        peaks = [_megabytes(line.peaks.get(name)) for name in names]
        errors = [_differences(line.differences[name]) for name in names[1:]]
        found.add_row(line.label, line.use, *times, *ratios, *peaks, *errors)
    return found


def as_json(line: Line) -> dict[str, object]:
    """A line as plain data.

    Args:
        line: of a table.
    """
    return {
        "label": line.label,
        "use": line.use,
        "seconds": {name: timing.as_json() for name, timing in line.timings.items()},
        "differences": {name: dict(found) for name, found in line.differences.items()},
        "peak_bytes": dict(line.peaks),
    }


def _seconds(timing: Timing) -> str:
    return f"{timing.median:.3f} ({timing.p10:.3f} to {timing.p90:.3f})"


def _megabytes(value: int | str | None) -> str:
    return f"{value / 1e6:.0f}" if isinstance(value, int) else MISSING


def _differences(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {error:.0e}" for name, error in found.items())
