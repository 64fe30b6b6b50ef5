"""Tensor products of published models: this package against its peers and this machine's limits.

Run as `python -m bench.tensor_product`; `--help` lists the options. Everything is measured in one
run: contestants take turns, their values are compared with e3nn's before they are timed, and the
limits are this machine's own copy and matrix product at the same number of threads.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench import machine, report
from bench.contestants import (
    COMPILE,
    CONTESTANTS,
    CUE,
    E3NN,
    FAILURES,
    OURS,
    Case,
    CompileBudget,
    Unavailable,
    reason,
)
from bench.counts import KERNELS, kernel_work
from bench.kernels import kernel_calls
from bench.limits import Yardsticks, gemm_rates, total
from bench.passes import KERNELS_OF, PASSES, relative_error
from bench.results import KernelRecord, PassRecord, Setting, summarise
from bench.timing import Call, interleave, num_threads
from bench.workloads import Workload, select

DTYPES = {"float32": torch.float32, "float64": torch.float64}

BUSY = 0.5
"""A load, in processes, above which a run begins with a warning."""

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Options:
    """What to run.

    Args:
        workloads: to time.
        rows: of every tensor.
        settings: threads and dtypes, one table each.
        contestants: who takes part.
        min_rounds: the fewest turns of a slow contestant.
        seconds: of timing for each contestant in each pass.
        json: where the data goes.
        plot: where the plot goes.
    """

    workloads: tuple[Workload, ...]
    rows: int
    settings: tuple[Setting, ...]
    contestants: tuple[str, ...]
    min_rounds: int
    seconds: float
    budget: CompileBudget
    json: Path
    plot: Path


def parse(arguments: list[str] | None = None) -> Options:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.tensor_product", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="float32, one thread, 400 rows: two minutes")
    add("--rows", type=int, help="of every tensor (default 1000)")
    add("--only", nargs="+", metavar="NAME", help=", ".join(w.name for w in select(None)))
    add("--threads", help="comma-separated numbers, or all (default 1,all)")
    add("--dtype", nargs="+", choices=sorted(DTYPES), help="default: both")
    add("--seconds", type=float, help="to time each contestant in each pass (default 0.6)")
    add("--compile-seconds", type=float, help="torch.compile may take in all (default 360)")
    add("--json", type=Path, default=RESULTS / "tensor_product.json")
    add("--plot", type=Path, default=RESULTS / "tensor_product.png")
    add("--no-cue", action="store_true", help="leave out cuEquivariance")
    add("--no-compile", action="store_true", help="leave out e3nn under torch.compile")
    given = parser.parse_args(arguments)
    dtypes = given.dtype or (["float32"] if given.quick else ["float32", "float64"])
    try:
        workloads = select(given.only)
        counts = _threads(given.threads or ("1" if given.quick else "1,all"))
    except ValueError as error:
        parser.error(str(error))
    left_out = {CUE: given.no_cue, COMPILE: given.no_compile}
    compile_seconds = given.compile_seconds or (45.0 if given.quick else 360.0)
    return Options(
        workloads=workloads,
        rows=given.rows or (400 if given.quick else 1000),
        settings=tuple(Setting(count, dtype) for dtype in dtypes for count in counts),
        contestants=tuple(name for name in CONTESTANTS if not left_out.get(name)),
        min_rounds=2 if given.quick else 3,
        seconds=given.seconds or (0.1 if given.quick else 0.6),
        budget=CompileBudget(per_pass=min(90.0, compile_seconds / 3), left=compile_seconds),
        json=given.json,
        plot=given.plot,
    )


def _threads(text: str) -> list[int]:
    """Numbers of threads, without repetition.

    Raises:
        ValueError: an entry that is no number above zero and not "all".
    """
    counts = [machine.num_cores() if part == "all" else int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise ValueError(f"--threads: expected numbers above zero, or all, got {text!r}")
    return list(dict.fromkeys(counts))


def time_kernels(
    case: Case, setting: Setting, seconds: float, sticks: Yardsticks
) -> list[KernelRecord]:
    """Our kernels alone, beside the yardsticks; these alone where ours can not run."""
    calls = sticks.calls_for(KERNELS)
    try:
        calls |= kernel_calls(case.module, case.tensors)
    except FAILURES as error:
        _say(f"  our kernels: {reason(error)}")
    timings = interleave(calls, seconds)
    return [
        KernelRecord(
            setting=setting,
            workload=case.workload.name,
            kind=case.workload.kind,
            kernel=kernel,
            num_bytes=sticks.work[kernel].num_bytes,
            macs=sticks.work[kernel].macs,
            limit=sticks.limit(kernel, timings),
            ours=timings.get(kernel),
        )
        for kernel in KERNELS
    ]


def time_pass(
    case: Case, setting: Setting, pass_name: str, options: Options, sticks: Yardsticks
) -> PassRecord:
    """One pass of every contestant that can run it, compared with e3nn and then timed."""
    record = PassRecord(setting, case.workload.name, case.workload.kind, pass_name)
    calls: dict[str, Call] = {}
    reference: tuple[torch.Tensor, ...] = ()
    for name in options.contestants:
        try:
            call, outputs = case.call(name, pass_name)
            if name == E3NN:
                reference = outputs
            else:
                record.errors[name] = relative_error(outputs, reference)
            calls[name] = call
        except (Unavailable, ValueError) as error:
            record.reasons[name] = str(error)
    kernels = KERNELS_OF[pass_name]
    timings = interleave(calls | sticks.calls_for(kernels), options.seconds, options.min_rounds)
    record.timings = {name: timings[name] for name in calls}
    record.limit = total(sticks.limit(kernel, timings) for kernel in kernels)
    if OURS in calls:
        # Once more, now that results lie in memory that earlier ones have used.
        again = relative_error(case.call(OURS, pass_name)[1], reference)
        record.errors[OURS] = max(record.errors[OURS], again)
    return record


def time_setting(
    setting: Setting, options: Options, facts: dict[str, Any]
) -> tuple[list[PassRecord], list[KernelRecord]]:
    """Every workload at one number of threads, in one dtype."""
    dtype = DTYPES[setting.dtype]
    passes: list[PassRecord] = []
    kernels: list[KernelRecord] = []
    with num_threads(setting.threads):
        rates = gemm_rates(dtype, options.seconds)
        best = max(rates, key=lambda size: rates[size])
        facts["gemm"].append(
            {"threads": setting.threads, "dtype": setting.dtype, "madds_per_second": rates}
        )
        _say(f"{setting}: matrix product {rates[best] / 1e9:.1f} G multiply-adds/s")
        for workload in options.workloads:
            start = time.perf_counter()
            case = Case(workload, dtype, options.rows, options.budget)
            work = kernel_work(case.module, case.rows, dtype.itemsize)
            sticks = Yardsticks.of(work, best, dtype)
            kernels += time_kernels(case, setting, options.seconds, sticks)
            for pass_name in PASSES:
                passes.append(time_pass(case, setting, pass_name, options, sticks))
            _say(f"  {workload.name}: {time.perf_counter() - start:.1f} s")
    return passes, kernels


def main(arguments: list[str] | None = None) -> None:
    """Times everything, prints tables, writes JSON and a plot."""
    options = parse(arguments)
    console = report.console()
    facts: dict[str, Any] = {
        "processor": machine.processor(),
        "versions": machine.versions(),
        "load_before": machine.load(),
        "rows": options.rows,
        "seconds_per_contestant": options.seconds,
        "gemm": [],
    }
    if (load := machine.load() or 0.0) > BUSY:
        _say(f"the machine was busy over the last minute (load {load:.1f}): expect noise")
    passes: list[PassRecord] = []
    kernels: list[KernelRecord] = []
    start = time.perf_counter()
    for setting in options.settings:
        new_passes, new_kernels = time_setting(setting, options, facts)
        passes, kernels = passes + new_passes, kernels + new_kernels
        console.print(report.pass_table(setting, new_passes))
        console.print(report.kernel_table(setting, new_kernels))
    summaries = summarise(passes)
    console.print(report.summary_table(summaries))
    for dtype, worst in report.worst_errors(passes).items():
        errors = ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
        console.print(
            f"largest relative difference to e3nn, {dtype}: {errors or 'nobody to compare'}"
        )
    for line in report.notes(passes):
        console.print(f"note: {line}", markup=False)
    facts["compile_seconds"] = options.budget.spent
    facts["wall_seconds"] = time.perf_counter() - start
    report.write_json(options.json, facts, passes, kernels, summaries)
    report.plot(options.plot, passes)
    console.print(f"{facts['wall_seconds']:.0f} s; data in {options.json}, plot in {options.plot}")
    if any(OURS in record.reasons for record in passes):
        sys.exit(1)


def _say(text: str) -> None:
    """Progress, beside the tables."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
