"""The rule against tuned records, kernel by kernel, side by side on the same data.

Run as `python -m bench.tuned`. For each kernel the rule's library and that of the record which
compiling would use are built anew, checked against the oracle, and timed in turns, so that what
else the machine does hits both. They are in several processes, at several places in memory, on
which the time of a kernel depends; the ratio is the geometric mean over those. Beside them: the
bytes that the kernel must move, over this run's copy rate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from bench import machine, report
from bench.limits import copy_call
from bench.options import RESULTS, say, warn_if_busy
from bench.schedules import FORMS, Entry, entries
from bench.timing import num_threads, samples
from bench.workloads import select
from tvm_equi.schedule.databases import geometric_mean

TIMEOUT = 300.0
PROCESSES, PLACES = 3, 4
"""Places in memory for operands and libraries, in each of some processes."""

WORSE = 0.97
"""A ratio below this counts as worse: what repeated runs differ by."""


def compare(entry: Entry, dtype: str, target: str, seconds: float, helpers: Any) -> dict[str, Any]:
    """Times of the rule and of the record, and the share of the copy rate.

    Args:
        entry: the kernel.
        dtype: of its values.
        target: to compile for.
        seconds: to spend on each.
        helpers: processes that build and measure.
    """
    from tvm_equi.algebra.kernel import Kernel
    from tvm_equi.artifact.codegen import tuned
    from tvm_equi.tuning.operands import make_case, representative_rows

    kernel = Kernel.from_plan(entry.plan)
    record = next(iter(tuned(kernel, dtype, target)), None)
    points = [{}, {} if record is None else record.point]
    rows = representative_rows(kernel, dtype)
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{name}.so" for name in ("rule", "record")]
        facts = {"plan": entry.plan, "dtype": dtype}
        for point, path in zip(points, paths, strict=True):
            helpers[0].build(TIMEOUT, **facts, target=target, point=point, path=path)
        timing = {"rows": rows, "seconds": seconds / PROCESSES, "places": PLACES, "min_rounds": 3}
        found = [
            helper.measure(TIMEOUT, **facts, libraries=paths, device="cpu", **timing)
            for helper in helpers
        ]
    rule, record_times = ([*chain(*times)] for times in zip(*found, strict=True))
    ratios = [a / b for a, b in zip(rule, record_times, strict=True)]
    case = make_case(kernel, dtype, rows)
    num_bytes = sum(array.nbytes for array in (*case.inputs, *case.outputs))
    with num_threads(1):
        copy = statistics.median(samples(copy_call(num_bytes, getattr(torch, dtype))))
    return {
        "workload": entry.workload,
        "form": entry.form,
        "kernel": entry.kernel,
        "part": entry.part,
        "rows": rows,
        "has_record": record is not None,
        "rule": rule,
        "record": record_times,
        "ratio": geometric_mean(ratios),
        "copy_share": copy / statistics.median(record_times),
        "decisions": points[1],
    }


def table(found: list[dict[str, Any]]) -> Table:
    """A row per kernel."""
    shown = Table(title="ms per call: median [10th-90th percentile] of places; rule / record")
    for header in ("workload", "form", "kernel", "rows"):
        shown.add_column(header, no_wrap=True)
    for header in ("rule", "record", "ratio", "of copy rate"):
        shown.add_column(header, justify="right", no_wrap=True)
    for each in found:
        kernel = each["kernel"] + (f" {each['part']}" if each["part"] else "")
        shown.add_row(
            each["workload"],
            each["form"],
            kernel,
            str(each["rows"]),
            _ms(each["rule"]),
            _ms(each["record"]) if each["has_record"] else "no record",
            f"{each['ratio']:.3f}",
            f"{each['copy_share']:.0%}",
        )
    return shown


def _ms(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return f"{1e3 * statistics.median(ordered):.3f} [{1e3 * low:.3f}-{1e3 * high:.3f}]"


def by_workload(found: list[dict[str, Any]]) -> dict[str, float]:
    """The geometric mean over the kernels of each workload."""
    names = dict.fromkeys(each["workload"] for each in found)
    return {
        name: geometric_mean([each["ratio"] for each in found if each["workload"] == name])
        for name in names
    }


def main(arguments: list[str] | None = None) -> None:
    """Times everything, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.tuned", description=__doc__)
    add = parser.add_argument
    add("--target", default="host", help="host, or an x86-64 level that this machine runs")
    add("--dtype", default="float32", choices=("float32", "float64"))
    add("--seconds", type=float, default=0.6, help="to spend on each library")
    add("--workload", action="append", help="by name; may be given several times")
    add("--kernel", action="append", help="forward, backward or double backward")
    add("--json", type=Path, default=RESULTS / "tuned.json")
    given = parser.parse_args(arguments)
    from tvm_equi.tuning.helper import Helper

    warn_if_busy()
    start, found, helpers = time.perf_counter(), [], [Helper() for _ in range(PROCESSES)]
    for entry in entries(select(given.workload)):
        if given.kernel is None or entry.kernel in given.kernel:
            found.append(compare(entry, given.dtype, given.target, given.seconds, helpers))
            say(f"  {entry.name}: {found[-1]['ratio']:.3f}")
    for helper in helpers:
        helper.close()
    console = report.console()
    console.print(table(found))
    for form in FORMS:
        some = by_workload([each for each in found if each["form"] == form])
        console.print(
            f"{form}: geometric mean over workloads {geometric_mean(some.values()):.3f}; "
            + ", ".join(f"{name} {ratio:.2f}" for name, ratio in some.items())
        )
    every = geometric_mean(by_workload(found).values())
    console.print(f"all: geometric mean over workloads {every:.3f}")
    worse = [each for each in found if each["ratio"] < WORSE]
    console.print(f"worse than the rule by more than {1 - WORSE:.0%}: {len(worse)} of {len(found)}")
    facts = {"processor": machine.processor(), "versions": machine.versions(), "kernels": found}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    console.print(f"{time.perf_counter() - start:.0f} s; data in {given.json}")


if __name__ == "__main__":
    main()
