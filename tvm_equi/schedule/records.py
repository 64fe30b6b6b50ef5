"""Records of tuned kernels: found by structure, read as data; no TVM in it.

In: the structure of a kernel, a dtype and a family of targets. Out: the decisions of the fastest
record, or None. A database is a folder `<family>/` with the two files of a MetaSchedule JSON
database; it is data, and nothing in it is run. Users' databases ($TVM_EQUI_SCHEDULES, then the
user's own folder) come before the shipped ones. A run of `tune` may be writing: a last line without
its end is not read.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from tvm_equi.errors import RecordError

logger = logging.getLogger("tvm_equi.records")

WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"
VARIABLE = "TVM_EQUI_SCHEDULES"
"""Environment variable: folders of databases, searched in order before the user's own."""

_LENGTH_BYTES = 8
"""TVM writes a module's JSON after its length."""

_PREFIX = "tvm_equi."
_SPACE = f"{_PREFIX}space"


@dataclass(frozen=True, slots=True)
class Structure:
    """What a record is found by.

    Args:
        kernel: the structure of the kernel (`Kernel.structure`).
        dtype: of its values.
        family: of targets, such as "x86-64-v4".
    """

    kernel: str
    dtype: str
    family: str


@dataclass(frozen=True, slots=True)
class Record:
    """One measured point of a design space.

    Args:
        structure: of the kernel.
        plan: from which `Kernel.from_plan` makes the kernel.
        point: a value for each choice.
        seconds: measured, median; infinite where the candidate failed.
        path: of the database.
        line: in its file of records, from 1.
    """

    structure: Structure
    plan: str
    point: dict[str, Any] = field(hash=False)
    seconds: float
    path: Path
    line: int


def user_folder() -> Path:
    """The folder of the user's own databases, where `tune` writes by default."""
    return Path(platformdirs.user_data_dir("tvm_equi")) / "schedules"


def shipped_folder() -> Path:
    """The folder of the databases that come with the package, installed or not."""
    package = Path(__file__).parent.parent
    installed = package / "_schedules"
    return installed if installed.is_dir() else package.parent / "schedules"


def search_path() -> list[Path]:
    """Folders of databases, those that win first."""
    given = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return [*given, user_folder(), shipped_folder()]


def find(structure: Structure) -> Record | None:
    """The fastest record of the first database that has any.

    Args:
        structure: of the kernel.

    Raises:
        RecordError: a database is malformed.
    """
    for folder in search_path():
        records = _by_structure(folder / structure.family).get(structure, ())
        working = [record for record in records if record.seconds < float("inf")]
        if working:
            return min(working, key=lambda record: record.seconds)
    logger.debug("%s: no record for kernel %s; the rule decides", structure.family, structure)
    return None


def elsewhere(kernel: str, dtype: str) -> list[Record]:
    """The records of a kernel for any family of targets, those that win first.

    Args:
        kernel: its structure.
        dtype: of its values.

    Raises:
        RecordError: a database is malformed.
    """
    found: list[Record] = []
    for folder in search_path():
        for family in families(folder):
            found += _by_structure(folder / family).get(Structure(kernel, dtype, family), ())
    return found


def _by_structure(folder: Path) -> dict[Structure, list[Record]]:
    """The records of a database; read again when its files change."""
    try:
        stamps = tuple(
            (facts.st_mtime_ns, facts.st_size)
            for facts in ((folder / name).stat() for name in (WORKLOADS, RECORDS))
        )
    except OSError:
        return {}
    return _grouped(folder, stamps)


@lru_cache(maxsize=64)
def _grouped(folder: Path, stamps: tuple[tuple[int, int], ...]) -> dict[Structure, list[Record]]:
    del stamps  # part of the cache's key
    found: dict[Structure, list[Record]] = {}
    for record in read(folder):
        found.setdefault(record.structure, []).append(record)
    return found


def families(folder: Path) -> list[str]:
    """The families of targets that a folder of databases holds.

    Args:
        folder: of databases.
    """
    return sorted(path.parent.name for path in folder.glob(f"*/{WORKLOADS}"))


def read(folder: Path) -> list[Record]:
    """Every record of a database, in the order in which they were written.

    Args:
        folder: with the two files of the database; nothing is found where there are none.

    Raises:
        RecordError: a file is malformed; says where.
    """
    workloads = [_workload(*where) for where in _lines(folder / WORKLOADS)]
    return [
        _record(path, number, line, workloads) for path, number, line in _lines(folder / RECORDS)
    ]


def _lines(path: Path) -> Iterator[tuple[Path, int, Any]]:
    """(path, number, JSON) of the lines of a file that are written to their end.

    Raises:
        RecordError: a line is not JSON, or the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: expected a file of JSON lines, got: {error}") from error
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            yield path, number, json.loads(line)
        except ValueError as error:
            raise RecordError(f"{path}, line {number}: expected JSON, got: {error}") from error


def _workload(path: Path, number: int, line: Any) -> tuple[Structure, str]:
    """(structure, plan) of a line [hash, module in base64].

    Raises:
        RecordError: it is no workload of ours.
    """
    try:
        _, encoded = line
        data = base64.b64decode(encoded, validate=True)
        nodes = json.loads(data[_LENGTH_BYTES:])["nodes"]
        facts = _facts(nodes)
        kernel, dtype, family = (facts[name] for name in ("kernel", "dtype", "family"))
        plan = facts["plan"]
    except (ValueError, TypeError, KeyError, IndexError, binascii.Error) as error:
        raise RecordError(
            f"{path}, line {number}: expected [hash, module] of a tvm_equi kernel, "
            f"got: {type(error).__name__} {error}"
        ) from error
    if not re.fullmatch("[0-9a-f]{64}", kernel):
        raise RecordError(f"{path}, line {number}: expected a kernel's structure, got {kernel!r}")
    return Structure(kernel, dtype, family), plan


def _facts(nodes: list[Any]) -> dict[str, str]:
    """The attributes of ours in a module's JSON: the strings that one of its maps holds."""
    facts: dict[str, str] = {}
    for node in nodes:
        if node["type"] != "ffi.Map":
            continue
        numbers = node.get("data", [])
        for key, value in zip(numbers[::2], numbers[1::2], strict=True):
            name = nodes[key].get("data")
            if isinstance(name, str) and name.startswith(_PREFIX):
                facts[name.removeprefix(_PREFIX)] = str(nodes[value]["data"])
    return facts


def _record(path: Path, number: int, line: Any, workloads: list[tuple[Structure, str]]) -> Record:
    """The record of a line [workload, [trace, seconds, target, arguments]].

    Raises:
        RecordError: it is no record of ours.
    """
    try:
        index, (trace, seconds, *_) = line
        structure, plan = workloads[_natural(index)]
        times = sorted(float(each) for each in seconds)
        median = times[len(times) // 2] if times else float("inf")
        point = _point(trace)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise RecordError(
            f"{path}, line {number}: expected [workload, [trace, seconds, ...]], "
            f"got: {type(error).__name__} {error}"
        ) from error
    failed = not 0 < median < FAILED_SECONDS
    return Record(structure, plan, point, float("inf") if failed else median, path.parent, number)


def _natural(index: Any) -> int:
    """A number of a workload, which must not count from the end.

    Raises:
        ValueError: it is none.
    """
    if type(index) is not int or index < 0:
        raise ValueError(f"expected the number of a workload, got {index!r}")
    return index


FAILED_SECONDS = 1e9
"""MetaSchedule writes 1e10 for a candidate that failed."""


def _point(trace: Any) -> dict[str, Any]:
    """The values that a trace decides: each choice's annotation names a sample's outcome.

    Raises:
        ValueError: an annotation names no sample, or a decision is none of the space's.
    """
    instructions, decisions = trace
    outcome_of = dict(decisions)
    samples: dict[str, int] = {}
    space: dict[str, list[Any]] = {}
    point: dict[str, Any] = {}
    for number, (kind, inputs, attributes, outputs) in enumerate(instructions):
        if kind == "SampleCategorical":
            samples[outputs[0]] = outcome_of[number]
        elif kind == "Annotate" and attributes[0] == _SPACE:
            space = json.loads(inputs[1].removeprefix('"').removesuffix('"'))
        elif kind == "Annotate":
            name = attributes[0].removeprefix(_PREFIX)
            index = samples[inputs[1]]
            if not 0 <= index < len(space[name]):
                raise ValueError(f"{name}: outcome {index} of {len(space[name])}")
            point[name] = space[name][index]
    if point.keys() != space.keys():
        raise ValueError(f"expected values of {sorted(space)}, got {sorted(point)}")
    return point


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel's records, as lines of the files.

    Args:
        workload: JSON [hash, module].
        records: each JSON [trace, seconds, target, arguments].
        best: the fastest.
        gain: how many times as fast the best is as the slowest, which is the rule's where a run
            has raced the two.
    """

    workload: Any = field(hash=False)
    records: tuple[Any, ...] = field(hash=False)
    best: Record
    gain: float


def entries(folder: Path) -> dict[Structure, Entry]:
    """The records of a database by structure, to be written again.

    Args:
        folder: of the database.

    Raises:
        RecordError: a file is malformed.
    """
    workloads = [line for _, _, line in _lines(folder / WORKLOADS)]
    lines = [line for _, _, line in _lines(folder / RECORDS)]
    grouped: dict[Structure, list[tuple[Record, Any]]] = {}
    for record, line in zip(read(folder), lines, strict=True):
        if record.seconds < float("inf"):
            grouped.setdefault(record.structure, []).append((record, line))
    found: dict[Structure, Entry] = {}
    for structure, pairs in grouped.items():
        best = min((record for record, _ in pairs), key=lambda record: record.seconds)
        slowest = max(record.seconds for record, _ in pairs)
        found[structure] = Entry(
            workloads[pairs[0][1][0]],
            tuple(line[1] for _, line in pairs),
            best,
            slowest / best.seconds,
        )
    return found


def write(folder: Path, kept: Iterable[Entry]) -> None:
    """Writes a database so that whoever reads it meanwhile finds the old one or the new one.

    Args:
        folder: of the database; it is made.
        kept: all that it is to hold.

    Raises:
        RecordError: the folder cannot be written.
    """
    ordered = sorted(kept, key=lambda entry: entry.best.structure.kernel)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = [line for _, _, line in _lines(folder / WORKLOADS)]
        # Records name workloads by number: numbers that are in use keep their meaning throughout.
        workloads = old + [entry.workload for entry in ordered if entry.workload not in old]
        _replace(folder / WORKLOADS, [_dumps(line) for line in workloads])
        lines = [
            _dumps([workloads.index(entry.workload), record])
            for entry in ordered
            for record in entry.records
        ]
        _replace(folder / RECORDS, lines)
    except OSError as error:
        raise RecordError(
            f"{folder}: expected a folder that can be written, got: {error}"
        ) from error


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
    write(destination, kept.values())
    return len(kept)
