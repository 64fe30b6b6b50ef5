"""The command of a benchmark of whole models: its options, its rows, what it prints and writes.

In: a benchmark's contestants and the function that makes their calls. Out: options that are the
same for all, a line for each structure and use, a table and JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench import machine, report
from bench.models.measure import Call, Line, Question, as_json, ask, differences, race, table
from bench.models.structures import STRUCTURES
from bench.options import DTYPES, RESULTS, say

FORCES, TRAINING = "energy and forces", "training step"


def options(name: str, doc: str | None, *, small: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks of models have.

    Args:
        name: of the benchmark's module in `bench.models`.
        doc: of the module.
        small: what the small model is.
    """
    parser = argparse.ArgumentParser(prog=f"python -m bench.models.{name}", description=doc)
    add = parser.add_argument
    add("--structures", nargs="+", default=list(STRUCTURES), choices=list(STRUCTURES))
    add("--uses", nargs="+", default=[FORCES, TRAINING], choices=[FORCES, TRAINING])
    add("--atoms", type=int, default=500)
    add("--dtype", default="float32", choices=sorted(DTYPES))
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=5, help="timed calls of each contestant")
    add("--small", action="store_true", help=small)
    add("--no-memory", action="store_true", help="measure no memory")
    add("--json", type=Path, default=RESULTS / f"models_{name}.json")
    return parser


def compare(
    module: str,
    make_call: Callable[[Question], Call],
    question: Question,
    names: Sequence[str],
    rounds: int,
    has_memory: bool,
) -> Line:
    """Times, differences and memory of one use.

    Args:
        module: of the benchmark, which answers in processes of its own, too.
        make_call: the call that a question is about.
        question: which use; its contestant does not count.
        names: of the contestants; the first is the reference.
        rounds: timed calls of each contestant.
        has_memory: whether memory is measured, in further processes.
    """
    asked = {name: replace(question, contestant=name) for name in names}
    peaks = {name: ask(module, q) for name, q in asked.items() if has_memory}
    calls = {name: make_call(q) for name, q in asked.items()}
    timings = race(calls, rounds)
    wanted = calls[names[0]]()
    errors = {name: differences(calls[name](), wanted) for name in names[1:]}
    return Line(question.structure, question.use, timings, errors, peaks)


def run(
    title: str,
    given: argparse.Namespace,
    uses: Sequence[str],
    measure: Callable[[Question], Line],
) -> None:
    """Measures every structure and use, prints a table and writes JSON.

    Args:
        title: the model's name, for the table.
        given: the options.
        uses: of the model.
        measure: a line, of a question whose contestant does not count.
    """
    torch.set_num_threads(given.threads)
    lines = []
    for structure in given.structures:
        for use in uses:
            say(f"{structure}, {use}")
            size = (given.atoms, given.dtype, given.threads, given.small)
            lines.append(measure(Question("", use, structure, *size)))
            medians = [f"{name} {t.median:.2f}" for name, t in lines[-1].timings.items()]
            say(f"  seconds: {', '.join(medians)}")
    heading = f"{title}, {given.atoms} atoms, {given.dtype}, {given.threads} threads"
    report.console().print(table(heading, lines))
    data = {"machine": machine.processor(), "versions": machine.versions()}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data | {"lines": [as_json(line) for line in lines]}, indent=1)
    given.json.write_text(text + "\n", encoding="utf-8")
