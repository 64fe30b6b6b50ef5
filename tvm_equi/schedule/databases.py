"""Databases of records as a whole: what each kernel has, written anew and put together.

In: folders of databases (`schedule/records.py`). Out: entries by structure, and files that change
in one step: whoever reads meanwhile finds the old database or the new one. No TVM in it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from tvm_equi.errors import RecordError
from tvm_equi.schedule.records import RECORDS, WORKLOADS, Record, Structure, read_json, read_lines

LOCK = ".lock"
LOCK_SECONDS = 60.0
"""To wait for another process that writes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel's records, as lines of the files.

    Args:
        lines: for each record (workload [hash, module], [trace, seconds, target, arguments]).
        best: the fastest.
        gain: how many times as fast the best is as the slowest, which is the rule's where a run
            has raced the two.
    """

    lines: tuple[tuple[Any, Any], ...] = field(hash=False)
    best: Record
    gain: float


def entries(folder: Path) -> dict[Structure, Entry]:
    """The records of a database by structure; those of candidates that failed are left out.

    Args:
        folder: of the database.

    Raises:
        RecordError: a file is malformed.
    """
    grouped: dict[Structure, list[tuple[Record, tuple[Any, Any]]]] = {}
    for record, line in read_lines(folder):
        if record.seconds < float("inf"):
            grouped.setdefault(record.structure, []).append((record, line))
    found: dict[Structure, Entry] = {}
    for structure, pairs in grouped.items():
        best = min((record for record, _ in pairs), key=lambda record: record.seconds)
        slowest = max(record.seconds for record, _ in pairs)
        found[structure] = Entry(tuple(line for _, line in pairs), best, slowest / best.seconds)
    return found


def geometric_mean(gains: Iterable[float]) -> float:
    """The geometric mean; 1 of none.

    Args:
        gains: above 0.
    """
    logarithms = [math.log(gain) for gain in gains]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else 1.0


def replace_entries(folder: Path, changed: Iterable[Entry]) -> None:
    """Puts entries in the place of those of the same kernels.

    Args:
        folder: of the database; it is made.
        changed: entries.

    Raises:
        RecordError: the database is malformed, or cannot be written.
    """
    with _locked(folder):
        kept = entries(folder) | {entry.best.structure: entry for entry in changed}
        _write(folder, kept.values())


def merge(sources: Iterable[Path], destination: Path) -> int:
    """Adds databases of one family to another: of two entries for a kernel the larger gain stays.

    Args:
        sources: folders of databases.
        destination: folder of the database that is written; made where there is none.

    Returns:
        The number of kernels that it holds.

    Raises:
        RecordError: a database is malformed, or of another family, or cannot be written.
    """
    with _locked(destination):
        kept = entries(destination)
        for source in sources:
            for structure, entry in entries(source).items():
                known = {each.family for each in kept} or {structure.family}
                if structure.family not in known:
                    raise RecordError(
                        f"{source}: expected records for {', '.join(known)}, got {structure.family}"
                    )
                if structure not in kept or kept[structure].gain < entry.gain:
                    kept[structure] = entry
        _write(destination, kept.values())
    return len(kept)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else writes a database meanwhile.

    Raises:
        RecordError: somebody does, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / LOCK, timeout=LOCK_SECONDS):
            yield
    except filelock.Timeout as error:
        raise RecordError(
            f"{folder}: expected it to be free, got: another process writes it"
        ) from error
    except OSError as error:
        raise RecordError(
            f"{folder}: expected a folder that can be written, got: {error}"
        ) from error


def _write(folder: Path, kept: Iterable[Entry]) -> None:
    """Writes a database."""
    ordered = sorted(kept, key=lambda entry: entry.best.structure.kernel)
    # Records name workloads by number: numbers that are in use keep their meaning throughout.
    old = [line for _, _, line in read_json(folder / WORKLOADS)]
    numbers = {_dumps(workload): number for number, workload in enumerate(old)}
    lines = []
    for entry in ordered:
        for workload, record in entry.lines:
            number = numbers.setdefault(_dumps(workload), len(numbers))
            lines.append(_dumps([number, record]))
    _replace(folder / WORKLOADS, list(numbers))
    _replace(folder / RECORDS, lines)


def _dumps(line: Any) -> str:
    return json.dumps(line, separators=(",", ":"))


def _replace(path: Path, lines: list[str]) -> None:
    """Writes a file in one step."""
    staging = path.with_suffix(".tmp")
    with staging.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
