"""Tensor products and convolutions of published models on a CUDA GPU, against their peers.

Run as `python -m bench.gpu`; `--help` lists the options, `--plan-only` shows what would be run and
needs no GPU. Everything is measured in one run on the same data: contestants are compared with
e3nn in float64 first, and take turns; the limits are this GPU's own copy and matrix product.
`bench.gpu_contestants` says who takes part and how, `bench.gpu_timing` how calls are timed. The
data are written after every case, so that a run that is cut off loses one case.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench import machine, report
from bench.contestants import FAILURES, OURS, reason
from bench.gpu_contestants import DEFAULT, MAKERS
from bench.gpu_limits import measure
from bench.gpu_plan import DEFAULT_SHAPES, QUICK_SHAPES, SHAPES, GpuCase, cases, plan_table
from bench.gpu_results import (
    WRONG,
    GpuRecord,
    notes,
    pass_table,
    summarise,
    summary_table,
)
from bench.gpu_run import Bench, Pool
from bench.gpu_timing import CudaTimer, Effort, Timer, WallTimer
from bench.options import DTYPES, RESULTS, say
from bench.passes import PASSES
from bench.workloads import Workload, select

QUICK_WORKLOADS = ("mace-medium", "sevennet-l3i5-main", "diffdock-l2")

PEERS = ("openequivariance", "cuequivariance-ops-torch-cu13", "cuda-bindings", "triton")

H100_GB = 80.0

WIDTH = 184
"""Columns of the table of times."""


@dataclass(frozen=True, slots=True)
class Run:
    """What to run.

    Args:
        workloads: to time.
        shapes: names of graphs, or "rows".
        dtypes: names.
        contestants: who takes part.
        passes: names.
        rows: of a product without a graph.
        effort: how often calls are timed.
        replays: whether the forward pass is replayed, too.
        deadline: seconds after which no case begins.
        device: "cuda", or "cpu" to try the program out.
        json: where the data go.
        memory: bytes of the GPU that the plan is for.
        plan_only: whether to show the plan, and no more.
    """

    workloads: tuple[Workload, ...]
    shapes: tuple[str, ...]
    dtypes: tuple[str, ...]
    contestants: tuple[str, ...]
    passes: tuple[str, ...]
    rows: int
    effort: Effort
    replays: bool
    deadline: float
    device: str
    json: Path
    memory: float
    plan_only: bool


def parse(arguments: list[str] | None = None) -> Run:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="three workloads, small shapes, 10 repetitions")
    add("--workloads", nargs="+", metavar="NAME", help=", ".join(w.name for w in select(None)))
    add("--graphs", nargs="+", choices=SHAPES, metavar="SHAPE", help=", ".join(SHAPES))
    add("--dtype", nargs="+", choices=sorted(DTYPES), default=sorted(DTYPES))
    add("--contestants", nargs="+", choices=list(MAKERS), default=list(DEFAULT), metavar="NAME",
        help=f"{', '.join(MAKERS)} (default: {', '.join(DEFAULT)})")  # fmt: skip
    add("--passes", nargs="+", choices=list(PASSES), default=list(PASSES), metavar="PASS")
    add("--rows", type=int, help="of a product without a graph (default 100000)")
    add("--seconds", type=float, default=0.5, help="to time each contestant in each pass")
    add("--repetitions", type=int, help="of a slow call (default 30)")
    add("--no-replay", action="store_true", help="leave out replays of CUDA graphs")
    add("--deadline", type=float, default=float("inf"), help="seconds; then no case begins")
    add("--json", type=Path, default=RESULTS / "gpu.json")
    add("--plan-only", action="store_true", help="show what would be run; needs no GPU")
    add("--memory", type=float, default=H100_GB, help="GB of the GPU that the plan is for")
    add("--device", choices=("cuda", "cpu"), default="cuda", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    quick = given.quick
    try:
        workloads = select(given.workloads or (list(QUICK_WORKLOADS) if quick else None))
    except ValueError as error:
        parser.error(str(error).replace("--only", "--workloads"))
    least = given.repetitions if given.repetitions is not None else (10 if quick else 30)
    rows = given.rows if given.rows is not None else (10_000 if quick else 100_000)
    for name, value in (("--repetitions", least), ("--rows", rows)):
        if value < 1:
            parser.error(f"{name}: expected a number above zero, got {value}")
    return Run(
        workloads=workloads,
        shapes=tuple(given.graphs or (QUICK_SHAPES if quick else DEFAULT_SHAPES)),
        dtypes=tuple(dict.fromkeys(given.dtype)),
        contestants=tuple(name for name in MAKERS if name in given.contestants),
        passes=tuple(name for name in PASSES if name in given.passes),
        rows=rows,
        effort=Effort(0.1 if quick else given.seconds, least, max(200, least)),
        replays=not given.no_replay,
        deadline=given.deadline,
        device=given.device,
        json=given.json,
        memory=given.memory * 1e9,
        plan_only=given.plan_only,
    )


def show_plan(run: Run) -> None:
    """What would be run, with sizes."""
    console = report.console()
    found = list(cases(run.workloads, run.shapes, run.dtypes, run.rows))
    console.print(plan_table(found, run.passes, run.memory))
    names = ", ".join(run.contestants)
    calls = len(found) * (len(run.passes) + run.replays * ("forward" in run.passes))
    console.print(
        f"{len(found)} cases, {calls} tables' lines, each with up to {len(run.contestants)} "
        f"contestants ({names}), {run.effort.least} to {run.effort.most} repetitions, "
        f"about {run.effort.seconds:g} s for each contestant"
    )
    console.print("work: counted once for an ideal kernel; data: what a pass reads and returns;")
    console.print("unfused: what a contestant holds beside it that stores values per edge")


def facts_of(run: Run, device: torch.device) -> dict[str, Any]:
    """What the numbers were taken on, without the machine's name."""
    versions = machine.versions()
    for package in PEERS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    facts: dict[str, Any] = {
        "processor": machine.processor(),
        "versions": versions,
        "cuda": torch.version.cuda,
        "contestants": run.contestants,
        "effort": {"seconds": run.effort.seconds, "least": run.effort.least},
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        facts["gpu"] = {
            "name": gpu.name,
            "capability": f"{gpu.major}.{gpu.minor}",
            "memory_bytes": gpu.total_memory,
            "multiprocessors": gpu.multi_processor_count,
            "l2_bytes": gpu.L2_cache_size,
        }
    return facts


def run_cases(run: Run, bench: Bench, facts: dict[str, Any]) -> list[GpuRecord]:
    """Every case, until the deadline; the data are written after each."""
    found: list[GpuRecord] = []
    start = time.perf_counter()
    every = cases(run.workloads, run.shapes, run.dtypes, run.rows)

    def key(case: GpuCase) -> tuple[str, Workload]:
        return case.dtype, case.workload

    for (dtype, workload), group in itertools.groupby(every, key):
        pool = Pool(workload, DTYPES[dtype], bench.device)
        for case in group:
            if time.perf_counter() - start > run.deadline:
                facts.setdefault("left_out", []).append(case.label)
                continue
            before = time.perf_counter()
            found += bench.run(case, pool)
            say(f"  {case.label}: {time.perf_counter() - before:.1f} s")
            facts["wall_seconds"] = time.perf_counter() - start
            report.write_json(run.json, facts, found, [], summarise(found))  # type: ignore[arg-type]
            if broken := _broken(bench.device):
                facts["stopped"] = f"after {case.label}: {broken}"
                return found
    return found


def _broken(device: torch.device) -> str:
    """What a contestant did to the device so that nothing runs on it any more; "" if it runs."""
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except FAILURES as error:
        return reason(error)
    return ""


def show(run: Run, found: list[GpuRecord], facts: dict[str, Any]) -> None:
    """Tables and notes."""
    console = report.console()
    console.width = max(console.width, WIDTH)
    for dtype in run.dtypes:
        if records := [record for record in found if record.dtype == dtype]:
            console.print(pass_table(dtype, records, run.contestants))
    console.print(summary_table(summarise(found), run.contestants))
    for line in notes(found):
        console.print(f"note: {line}", markup=False)
    if left_out := facts.get("left_out"):
        console.print(f"left out at the deadline: {len(left_out)} cases, from {left_out[0]}")
    if stopped := facts.get("stopped"):
        console.print(f"stopped, the device runs nothing any more: {stopped}", markup=False)
    console.print(f"{facts.get('wall_seconds', 0.0):.0f} s; data in {run.json}")


def main(arguments: list[str] | None = None) -> int:
    """Times everything, prints tables and writes JSON; the exit code is 1 where ours is wrong."""
    run = parse(arguments)
    if run.plan_only:
        show_plan(run)
        return 0
    if run.device == "cuda" and not torch.cuda.is_available():
        why = "torch finds no GPU" if torch.version.cuda else "this torch was built without CUDA"
        say(f"bench.gpu: needs a CUDA device: {why}; --plan-only shows what would be run")
        return 1
    torch.set_float32_matmul_precision("highest")  # no TF32, for anybody
    device = torch.device("cuda", torch.cuda.current_device()) if run.device == "cuda" else None
    device = device or torch.device("cpu")
    timer: Timer = CudaTimer(device) if device.type == "cuda" else WallTimer()
    facts = facts_of(run, device)
    limits = measure(device, run.dtypes, timer, run.effort)
    facts["limits"] = limits.as_json()
    say(str(limits))
    bench = Bench(device, timer, run.effort, limits, run.contestants, run.passes, run.replays)
    found = run_cases(run, bench, facts)
    if "stopped" not in facts:
        again = measure(device, run.dtypes, timer, run.effort)
        facts["limits_at_the_end"] = again.as_json()
        say(f"at the end: {again}")
    report.write_json(run.json, facts, found, [], summarise(found))  # type: ignore[arg-type]
    show(run, found, facts)
    return int("stopped" in facts or any(_failed(record) for record in found))


def _failed(record: GpuRecord) -> bool:
    """Whether ours did not run where it should; too large a case is nobody's fault."""
    text = record.reasons.get(OURS, "")
    return text.startswith(WRONG) or (bool(text) and not text.startswith(("not tried", "replay")))


if __name__ == "__main__":
    sys.exit(main())
