"""The convolution of published models over graphs: this package against its peers and the machine.

Run as `python -m bench.convolution`; `--help` lists the options. Everything is measured in one run:
contestants take turns on the same data, their values are compared with e3nn's before they are
timed, and the limits are this machine's own copy and matrix product at the same number of threads.
`bench.convolvers` says who takes part and how.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench import machine, report
from bench.contestants import E3NN, OURS, Case, Unavailable
from bench.convolvers import FORMS, HIDDEN, PER_EDGE, RADIAL, STORED, convolution_case, rows_of
from bench.counts import kernel_work
from bench.graphs import Graph, names, select_graphs
from bench.kernels import convolution_calls
from bench.limits import Yardsticks, gemm_rates
from bench.options import DTYPES, Options, add_options, read_options, say, warn_if_busy
from bench.passes import PASSES
from bench.race import time_kernels, time_pass
from bench.results import KernelRecord, PassRecord, Setting, summarise
from bench.timing import Timing, num_threads, samples
from bench.workloads import Workload

SCALING_TURNS = 5


@dataclass(frozen=True, slots=True)
class Run:
    """What to run.

    Args:
        options: that every table has.
        graphs: to run on.
        passes: names.
        forms: how weights come.
        kernels: whether our kernels are timed alone, too.
    """

    options: Options
    graphs: tuple[Graph, ...]
    passes: tuple[str, ...]
    forms: tuple[str, ...]
    kernels: bool


@dataclass(slots=True)
class Found:
    """What a run found."""

    passes: list[PassRecord] = field(default_factory=list)
    kernels: list[KernelRecord] = field(default_factory=list)
    scaling: list[dict[str, Any]] = field(default_factory=list)


def parse(arguments: list[str] | None = None) -> Run:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.convolution", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a tenth of the edges, short turns")
    add("--graphs", nargs="+", metavar="NAME", help=", ".join(names()))
    add("--passes", nargs="+", choices=list(PASSES), default=list(PASSES), metavar="PASS")
    add("--weights", nargs="+", choices=FORMS, default=list(FORMS), help="how weights come")
    add("--no-kernels", action="store_true", help="do not time our kernels alone")
    add_options(parser, "convolution.json")
    given = parser.parse_args(arguments)
    options = read_options(parser, given, dtypes=["float32"], threads="1")
    try:
        graphs = select_graphs(given.graphs, small=given.quick)
    except ValueError as error:
        parser.error(str(error))
    return Run(options, graphs, tuple(given.passes), tuple(given.weights), not given.no_kernels)


def measure(
    run: Run, setting: Setting, workload: Workload, graph: Graph, form: str, gemm_size: int
) -> Found:
    """One workload over one graph, with weights in one form: every pass of every contestant."""
    options, dtype, found = run.options, DTYPES[setting.dtype], Found()
    case = convolution_case(workload, graph, dtype, options.budget, form)
    hidden = HIDDEN if form == RADIAL else None
    work = kernel_work(case.module, rows_of(graph), dtype.itemsize, hidden)
    sticks = Yardsticks.of(work, gemm_size, dtype)
    contestants = (E3NN, STORED, OURS) if form == RADIAL else options.contestants
    if form == PER_EDGE and run.kernels and not workload.shared_weights:
        calls = partial(convolution_calls, case.module, case.tensors, graph)
        found.kernels = time_kernels(case, setting, options.seconds, sticks, calls, graph.name)
    for name in run.passes:
        record = PassRecord(
            setting, workload.name, workload.kind, name, graph=graph.name, form=form
        )
        time_pass(case, record, contestants, sticks, options.seconds, options.min_rounds)
        found.passes.append(record)
        if OURS in record.timings and form == PER_EDGE:
            found.scaling += scaling(case, record)
    return found


def scaling(case: Case, record: PassRecord) -> list[dict[str, Any]]:
    """Our pass with one thread and with every core, in turns; nothing on a single core."""
    counts = (1, machine.num_cores())
    if counts[1] == 1:
        return []
    try:
        call, _ = case.call(OURS, record.pass_name)
    except Unavailable:
        return []
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(SCALING_TURNS):
        for count in counts:
            with num_threads(count):
                times[count] += samples(call)
    one, all_cores = (Timing.of(times[count]).median for count in counts)
    return [
        {
            "dtype": record.setting.dtype,
            "workload": record.workload,
            "graph": record.graph,
            "pass": record.pass_name,
            "threads": counts[1],
            "ratio": one / all_cores,
        }
    ]


def time_setting(setting: Setting, run: Run, facts: dict[str, Any]) -> Found:
    """Every workload on every graph at one number of threads, in one dtype."""
    found = Found()
    with num_threads(setting.threads):
        rates = gemm_rates(DTYPES[setting.dtype], run.options.seconds)
        best = max(rates, key=lambda size: rates[size])
        facts["gemm"].append(
            {"threads": setting.threads, "dtype": setting.dtype, "madds_per_second": rates}
        )
        say(f"{setting}: matrix product {rates[best] / 1e9:.1f} G multiply-adds/s")
        for workload in run.options.workloads:
            for graph in run.graphs:
                start = time.perf_counter()
                for form in run.forms:
                    if form == RADIAL and workload.shared_weights:
                        continue
                    new = measure(run, setting, workload, graph, form, int(best))
                    found.passes += new.passes
                    found.kernels += new.kernels
                    found.scaling += new.scaling
                say(f"  {workload.name}, {graph.name}: {time.perf_counter() - start:.1f} s")
    return found


def print_tables(setting: Setting, found: Found) -> None:
    """The tables of one setting."""
    console = report.console()
    titles = {PER_EDGE: "convolution", RADIAL: f"convolution, weights = h @ last, {HIDDEN} hidden"}
    for form, title in titles.items():
        records = [record for record in found.passes if record.form == form]
        if not records:
            continue
        others = {"others": (E3NN, STORED)} if form == RADIAL else {}
        console.print(report.pass_table(setting, records, what=title, **others))
        console.print(report.summary_table(summarise(records), title))
    if found.kernels:
        console.print(report.kernel_table(setting, found.kernels))
    if found.scaling:
        console.print(report.scaling_line(found.scaling))


def main(arguments: list[str] | None = None) -> None:
    """Times everything, prints tables and writes JSON."""
    run = parse(arguments)
    options = run.options
    facts: dict[str, Any] = {
        "processor": machine.processor(),
        "versions": machine.versions(),
        "load_before": machine.load(),
        "graphs": [str(graph) for graph in run.graphs],
        "seconds_per_contestant": options.seconds,
        "gemm": [],
    }
    warn_if_busy()
    console, whole, start = report.console(), Found(), time.perf_counter()
    for graph in run.graphs:
        console.print(str(graph))
    for setting in options.settings:
        found = time_setting(setting, run, facts)
        print_tables(setting, found)
        whole.passes += found.passes
        whole.kernels += found.kernels
        whole.scaling += found.scaling
    for dtype, worst in report.worst_errors(whole.passes).items():
        errors = ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
        console.print(f"largest relative difference to e3nn, {dtype}: {errors or 'nobody'}")
    for line in report.notes(whole.passes):
        console.print(f"note: {line}", markup=False)
    facts["scaling"] = whole.scaling
    facts["compile_seconds"] = options.budget.spent
    facts["wall_seconds"] = time.perf_counter() - start
    summaries = [
        summary
        for form in run.forms
        for summary in summarise([record for record in whole.passes if record.form == form])
    ]
    report.write_json(options.json, facts, whole.passes, whole.kernels, summaries)
    console.print(f"{facts['wall_seconds']:.0f} s; data in {options.json}")
    if any(OURS in record.reasons for record in whole.passes):
        sys.exit(1)


if __name__ == "__main__":
    main()
