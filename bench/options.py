"""Options that every table has: who takes part, at which threads and dtypes, for how long."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from bench import machine
from bench.contestants import COMPILE, CONTESTANTS, CUE, CompileBudget
from bench.results import Setting
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
        settings: threads and dtypes, one table each.
        contestants: who takes part.
        min_rounds: the fewest turns of a slow contestant.
        seconds: of timing for each contestant in each pass.
        budget: of torch.compile.
        json: where the data goes.
    """

    workloads: tuple[Workload, ...]
    settings: tuple[Setting, ...]
    contestants: tuple[str, ...]
    min_rounds: int
    seconds: float
    budget: CompileBudget
    json: Path


def add_options(parser: ArgumentParser, json: str) -> None:
    """Adds the options to a parser.

    Args:
        parser: of a command line.
        json: the default name of the data.
    """
    add = parser.add_argument
    add("--only", nargs="+", metavar="NAME", help=", ".join(w.name for w in select(None)))
    add("--threads", help="comma-separated numbers, or all")
    add("--dtype", nargs="+", choices=sorted(DTYPES))
    add("--seconds", type=float, help="to time each contestant in each pass (default 0.6)")
    add("--compile-seconds", type=float, help="torch.compile may take in all (default 360)")
    add("--json", type=Path, default=RESULTS / json)
    add("--no-cue", action="store_true", help="leave out cuEquivariance")
    add("--no-compile", action="store_true", help="leave out e3nn under torch.compile")


def read_options(
    parser: ArgumentParser, given: Namespace, *, dtypes: list[str], threads: str
) -> Options:
    """The options of a command line; what is wrong ends the program with a message.

    Args:
        parser: that `add_options` was called on.
        given: what it found, with `quick`.
        dtypes: the default.
        threads: the default.
    """
    try:
        workloads = select(given.only)
        counts = _threads(given.threads or threads)
    except ValueError as error:
        parser.error(str(error))
    left_out = {CUE: given.no_cue, COMPILE: given.no_compile}
    compile_seconds = given.compile_seconds or (45.0 if given.quick else 360.0)
    return Options(
        workloads=workloads,
        settings=tuple(
            Setting(count, dtype) for dtype in given.dtype or dtypes for count in counts
        ),
        contestants=tuple(name for name in CONTESTANTS if not left_out.get(name)),
        min_rounds=2 if given.quick else 3,
        seconds=given.seconds or (0.1 if given.quick else 0.6),
        budget=CompileBudget(per_pass=min(90.0, compile_seconds / 3), left=compile_seconds),
        json=given.json,
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


def warn_if_busy() -> None:
    """Says so where other work disturbs the times."""
    if (load := machine.load() or 0.0) > BUSY:
        say(f"the machine was busy over the last minute (load {load:.1f}): expect noise")


def say(text: str) -> None:
    """Progress, beside the tables."""
    print(text, file=sys.stderr, flush=True)
