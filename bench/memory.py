"""Peak memory of a convolution: ours against e3nn's, which keeps values per edge.

Run as `python -m bench.memory`. Each number is taken in a process of its own, with one thread:
after imports, compilation and a first call on a graph of a few edges, and with all inputs in place,
it is the most memory that one call held above what the process held before the call. That counts
the results, intermediate values, and what a library keeps for later. `python -m bench.memory child`
is what those processes run. It needs Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from bench import machine, report
from bench.contestants import E3NN, OURS, CompileBudget, Unavailable
from bench.convolvers import FORMS, PER_EDGE, RADIAL, STORED, convolution_case
from bench.graphs import names, select_graphs, skewed
from bench.options import DTYPES, RESULTS, say
from bench.passes import PASSES
from bench.timing import no_gc, num_threads
from bench.workloads import load, select

WARM_UP_EDGES = 8

PEERS = {PER_EDGE: (E3NN, OURS), RADIAL: (E3NN, STORED, OURS)}
"""Who is measured in each form of weights."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one process measures: a pass of a contestant."""

    workload: str
    graph: str
    small: bool
    dtype: str
    form: str
    contestant: str
    pass_name: str


def peak_bytes(question: Question) -> int:
    """Bytes that one call holds at most above what this process held before, in this process.

    Raises:
        Unavailable: the contestant can not run the pass.
        OSError: the system does not count a peak.
    """
    (workload,) = select([question.workload])
    (graph,) = select_graphs([question.graph], small=question.small)
    dtype, budget = DTYPES[question.dtype], CompileBudget(0.0, 0.0)

    with num_threads(1), no_gc():
        edges = skewed(WARM_UP_EDGES)
        warm = convolution_case(workload, edges, dtype, budget, question.form)
        warm.call(question.contestant, question.pass_name)
        case = convolution_case(workload, graph, dtype, budget, question.form)
        case.check(question.contestant, question.pass_name)
        product = case.product(question.contestant)
        # What is free in the heap would hide some of the growth.
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)
        machine.reset_peak_memory()
        before = machine.resident_memory() or 0
        results = PASSES[question.pass_name](product, case.tensors)
        peak = (machine.peak_memory() or 0) - before
        del results
    return peak


def ask(question: Question) -> int | str:
    """The answer of a process of its own: bytes, or why there are none."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.memory", "child", json.dumps(asdict(question))],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return int(lines[-1])
    errors = done.stderr.strip().splitlines()
    return errors[-1] if errors else f"exit status {done.returncode}"


def answer(text: str) -> None:
    """What a child does: prints the bytes, or ends with the reason."""
    try:
        print(peak_bytes(Question(**json.loads(text))))
    except (Unavailable, OSError) as error:
        sys.exit(str(error))


def result_bytes(question: Question) -> int:
    """Bytes of what a pass returns, which every contestant must hold."""
    (workload,) = select([question.workload])
    (graph,) = select_graphs([question.graph], small=question.small)
    dtype = DTYPES[question.dtype]
    case = convolution_case(workload, graph, dtype, CompileBudget(0.0, 0.0), question.form)
    inputs = sum(tensor.numel() for tensor in case.tensors.inputs)
    z = case.tensors.g.numel()
    elements = {
        "forward": z,
        "forward+backward": z + inputs,
        "training step": 2 * (z + inputs),
    }
    return elements[question.pass_name] * dtype.itemsize


def questions(given: argparse.Namespace) -> list[Question]:
    """Everything that a command line asks for."""
    workloads = {workload.name: workload for workload in load()}
    return [
        Question(workload, graph, given.small, given.dtype, form, contestant, pass_name)
        for workload in given.only
        for graph in given.graphs
        for form in FORMS
        if form == PER_EDGE or not workloads[workload].shared_weights
        for pass_name in given.passes
        for contestant in PEERS[form]
    ]


def table_of(answers: dict[Question, int | str]) -> Table:
    """One line per workload, graph, form and pass: megabytes, and ours over e3nn's."""
    table = Table(title="peak memory of one call above its inputs, MB")
    for name in ("workload", "weights", "pass"):
        table.add_column(name)
    for name in ("results", E3NN, STORED, OURS, "ours / e3nn"):
        table.add_column(name, justify="right", no_wrap=True)
    lines: dict[tuple[str, str, str], dict[str, Question]] = {}
    for question in answers:
        key = (f"{question.workload}, {question.graph}", question.form, question.pass_name)
        lines.setdefault(key, {})[question.contestant] = question
    for key, line in lines.items():
        found = {name: answers[question] for name, question in line.items()}
        ours, theirs = found.get(OURS), found.get(E3NN)
        share = report.MISSING
        if isinstance(ours, int) and isinstance(theirs, int):
            share = f"{ours / theirs:.2f}"
        cells = [_megabytes(found.get(name)) for name in (E3NN, STORED, OURS)]
        table.add_row(*key, _megabytes(result_bytes(line[E3NN])), *cells, share)
    return table


def _megabytes(value: int | str | None) -> str:
    return f"{value / 1e6:.0f}" if isinstance(value, int) else report.MISSING


def main(arguments: list[str] | None = None) -> None:
    """Prints a table and writes JSON, or, in a child process, answers one question."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    add = parser.add_argument
    known = [workload.name for workload in load()]
    add("--only", nargs="+", default=["mace-large"], choices=known, metavar="NAME")
    add("--graphs", nargs="+", default=["carbon"], choices=names(), metavar="NAME")
    add("--passes", nargs="+", default=list(PASSES), choices=list(PASSES), metavar="PASS")
    add("--dtype", default="float32", choices=sorted(DTYPES))
    add("--small", action="store_true", help="a tenth of the edges")
    add("--json", type=Path, default=RESULTS / "memory.json")
    given = parser.parse_args(arguments)
    answers: dict[Question, int | str] = {}
    for question in questions(given):
        answers[question] = ask(question)
        if isinstance(reason := answers[question], str):
            say(f"{question.contestant}, {question.form}, {question.pass_name}: {reason}")
    report.console().print(table_of(answers))
    data = [asdict(question) | {"peak_bytes": found} for question, found in answers.items()]
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        answer(sys.argv[2])
    else:
        main()
