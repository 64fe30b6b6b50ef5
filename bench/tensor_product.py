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
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine, report
from bench.contestants import OURS, product_case
from bench.counts import kernel_work
from bench.kernels import kernel_calls
from bench.limits import Yardsticks, gemm_rates
from bench.options import DTYPES, RESULTS, Options, add_options, read_options, say, warn_if_busy
from bench.passes import PASSES
from bench.race import time_kernels, time_pass
from bench.results import KernelRecord, PassRecord, Setting, summarise
from bench.timing import num_threads


@dataclass(frozen=True, slots=True)
class Run:
    """What to run.

    Args:
        options: that every table has.
        rows: of every tensor.
        plot: where the plot goes.
    """

    options: Options
    rows: int
    plot: Path


def parse(arguments: list[str] | None = None) -> Run:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.tensor_product", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="float32, one thread, 400 rows: two minutes")
    add("--rows", type=int, help="of every tensor (default 1000)")
    add("--plot", type=Path, default=RESULTS / "tensor_product.png")
    add_options(parser, "tensor_product.json")
    given = parser.parse_args(arguments)
    options = read_options(
        parser,
        given,
        dtypes=["float32"] if given.quick else ["float32", "float64"],
        threads="1" if given.quick else "1,all",
    )
    return Run(options, given.rows or (400 if given.quick else 1000), given.plot)


def time_setting(
    setting: Setting, run: Run, facts: dict[str, Any]
) -> tuple[list[PassRecord], list[KernelRecord]]:
    """Every workload at one number of threads, in one dtype."""
    dtype, options = DTYPES[setting.dtype], run.options
    passes: list[PassRecord] = []
    kernels: list[KernelRecord] = []
    with num_threads(setting.threads):
        rates = gemm_rates(dtype, options.seconds)
        best = max(rates, key=lambda size: rates[size])
        facts["gemm"].append(
            {"threads": setting.threads, "dtype": setting.dtype, "madds_per_second": rates}
        )
        say(f"{setting}: matrix product {rates[best] / 1e9:.1f} G multiply-adds/s")
        for workload in options.workloads:
            start = time.perf_counter()
            case = product_case(workload, dtype, run.rows, options.budget)
            work = kernel_work(case.module, run.rows, dtype.itemsize)
            sticks = Yardsticks.of(work, best, dtype)
            ours = partial(kernel_calls, case.module, case.tensors)
            kernels += time_kernels(case, setting, options.seconds, sticks, ours)
            for pass_name in PASSES:
                record = PassRecord(setting, workload.name, workload.kind, pass_name)
                passes.append(record)
                time_pass(
                    case, record, options.contestants, sticks, options.seconds, options.min_rounds
                )
            say(f"  {workload.name}: {time.perf_counter() - start:.1f} s")
    return passes, kernels


def main(arguments: list[str] | None = None) -> None:
    """Times everything, prints tables, writes JSON and a plot."""
    run = parse(arguments)
    options = run.options
    console = report.console()
    facts: dict[str, Any] = {
        "processor": machine.processor(),
        "versions": machine.versions(),
        "load_before": machine.load(),
        "rows": run.rows,
        "seconds_per_contestant": options.seconds,
        "gemm": [],
    }
    warn_if_busy()
    passes: list[PassRecord] = []
    kernels: list[KernelRecord] = []
    start = time.perf_counter()
    for setting in options.settings:
        new_passes, new_kernels = time_setting(setting, run, facts)
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
    report.plot(run.plot, passes)
    console.print(f"{facts['wall_seconds']:.0f} s; data in {options.json}, plot in {run.plot}")
    if any(OURS in record.reasons for record in passes):
        sys.exit(1)


if __name__ == "__main__":
    main()
