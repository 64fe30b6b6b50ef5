"""Records of tuned kernels: found by structure, read as data; no TVM in it.

In: the structure of a kernel, a dtype and a family of targets. Out: the decisions of the fastest
record, or None. A database is a folder `<family>/` with the two files of a MetaSchedule JSON
database; it is data, and nothing in it is run. Users' databases ($TVM_EQUI_SCHEDULES, then the
user's own folder) come before the shipped ones. A run of `tune` may be writing: a last line without
its end is not read.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
from collections.abc import Iterator
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

PREFIX = "tvm_equi."
"""Of the attributes of a workload and the annotations of its block."""

SPACE = f"{PREFIX}space"
"""Annotation: the values of every choice, so that a record's numbers keep their meaning."""

FAILED = 1e10
"""Seconds of a candidate that failed, as MetaSchedule writes them."""


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
        conditions: of the measurement, by name, such as rows and threads.
        point: a value for each choice.
        seconds: measured, median; infinite where the candidate failed.
        path: of the database.
        line: in its file of records, from 1.
    """

    structure: Structure
    plan: str
    conditions: dict[str, Any] = field(hash=False)
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


def find(structure: Structure) -> list[Record]:
    """The fastest record of each database that has any, those that win first.

    Args:
        structure: of the kernel.

    Raises:
        RecordError: a database is malformed.
    """
    found = []
    for folder in search_path():
        records = _by_structure(folder / structure.family).get(structure, ())
        working = [record for record in records if record.seconds < float("inf")]
        if working:
            found.append(min(working, key=lambda record: record.seconds))
    return found


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
    return [record for record, _ in read_lines(folder)]


def read_lines(folder: Path) -> list[tuple[Record, tuple[Any, Any]]]:
    """Every record of a database, and (workload, record) as the files have them.

    Args:
        folder: as for `read`.

    Raises:
        RecordError: a file is malformed.
    """
    # Whoever writes adds workloads before records that name them, and never takes one away.
    records = list(read_json(folder / RECORDS))
    lines = list(read_json(folder / WORKLOADS))
    workloads = [_workload(*where) for where in lines]
    found = []
    for path, number, line in records:
        record = _record(path, number, line, workloads)
        found.append((record, (lines[line[0]][2], line[1])))
    return found


def read_json(path: Path) -> Iterator[tuple[Path, int, Any]]:
    """(path, number, JSON) of the lines of a file that are written to their end.

    Args:
        path: of the file; there are no lines where there is none.

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


_Workload = tuple[Structure, str, dict[str, Any]]
"""(structure, plan, conditions)."""

_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What reading data of another form raises; base64 and JSON raise kinds of ValueError."""


def _workload(path: Path, number: int, line: Any) -> _Workload:
    """What a line [hash, module in base64] says.

    Raises:
        RecordError: it is no workload of ours.
    """
    try:
        _, encoded = line
        data = base64.b64decode(encoded, validate=True)
        nodes = json.loads(data[_LENGTH_BYTES:])["nodes"]
        facts = _facts(nodes)
        kernel, dtype, family = (facts[name] for name in ("kernel", "dtype", "family"))
        plan, conditions = facts["plan"], dict(json.loads(facts["conditions"]))
    except _MALFORMED as error:
        raise RecordError(
            f"{path}, line {number}: expected [hash, module] of a tvm_equi kernel, "
            f"got: {type(error).__name__} {error}"
        ) from error
    if not re.fullmatch("[0-9a-f]{64}", kernel):
        raise RecordError(f"{path}, line {number}: expected a kernel's structure, got {kernel!r}")
    return Structure(kernel, dtype, family), plan, conditions


def _facts(nodes: list[Any]) -> dict[str, str]:
    """The attributes of ours in a module's JSON: the strings that one of its maps holds."""
    facts: dict[str, str] = {}
    for node in nodes:
        if node["type"] != "ffi.Map":
            continue
        numbers = node.get("data", [])
        for key, value in zip(numbers[::2], numbers[1::2], strict=True):
            name = nodes[key].get("data")
            if isinstance(name, str) and name.startswith(PREFIX):
                facts[name.removeprefix(PREFIX)] = str(nodes[value]["data"])
    return facts


def _record(path: Path, number: int, line: Any, workloads: list[_Workload]) -> Record:
    """The record of a line [workload, [trace, seconds, target, arguments]].

    Raises:
        RecordError: it is no record of ours.
    """
    try:
        index, (trace, seconds, *_) = line
        structure, plan, conditions = workloads[_natural(index)]
        times = sorted(float(each) for each in seconds)
        median = times[len(times) // 2] if times else float("inf")
        point = _point(trace)
    except _MALFORMED as error:
        raise RecordError(
            f"{path}, line {number}: expected [workload, [trace, seconds, ...]], "
            f"got: {type(error).__name__} {error}"
        ) from error
    seconds = median if 0 < median < FAILED / 10 else float("inf")
    return Record(structure, plan, conditions, point, seconds, path.parent, number)


def _natural(index: Any) -> int:
    """A number of a workload, which must not count from the end.

    Raises:
        ValueError: it is none.
    """
    if type(index) is not int or index < 0:
        raise ValueError(f"expected the number of a workload, got {index!r}")
    return index


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
        elif kind == "Annotate" and attributes[0] == SPACE:
            space = json.loads(inputs[1].removeprefix('"').removesuffix('"'))
        elif kind == "Annotate":
            name = attributes[0].removeprefix(PREFIX)
            index = samples[inputs[1]]
            if not 0 <= index < len(space[name]):
                raise ValueError(f"{name}: outcome {index} of {len(space[name])}")
            point[name] = space[name][index]
    if point.keys() != space.keys():
        raise ValueError(f"expected values of {sorted(space)}, got {sorted(point)}")
    return point
