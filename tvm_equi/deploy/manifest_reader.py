"""A manifest from JSON's data: every field checked, alone and against the others.

In: data, and the names of the file's sections. Out: a `Manifest`. Refused, with the field's name:
keys that are missing or unknown, names of no section, target or kernel, and signatures that do not
fit together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from tvm_equi.deploy.fields import (
    as_choice,
    as_count,
    as_list,
    as_name,
    as_object,
    as_text,
    check_unique,
    listed,
    shown,
)
from tvm_equi.deploy.manifest import (
    KERNEL_DTYPES,
    OPERATORS,
    ORDERS,
    ROWS,
    SCHEMA,
    SCHEMA_KEY,
    VALUE_DTYPES,
    KernelEntry,
    Manifest,
    Operand,
    PassEntry,
    PlanEntry,
    ProgramEntry,
    Target,
    Value,
)
from tvm_equi.errors import ArtifactError

FIELDS = (
    *(SCHEMA_KEY, "versions", "dtype", "derivatives", "targets", "kernels", "plans"),
    *("parameters", "graph", "programs", "sections"),
)

_target_name = as_name(
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,+-]*"), "a name of letters, digits and _ . , + -"
)
_machine = as_name(re.compile(r"[A-Za-z0-9_]+"), "a machine such as 'x86_64'")
_feature = as_name(re.compile(r"[A-Za-z0-9_.:-]+"), "a CPU feature such as 'avx2'")
_architecture = as_name(re.compile(r"sm_[0-9]{2,4}[a-z]?"), "a GPU such as 'sm_90'")
_key = as_name(re.compile(r"[0-9a-f]{64}"), "64 hexadecimal digits")
_name = as_name(
    re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*"), "a name of letters, digits and _ . - after a letter"
)
_size_name = as_name(re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), "a number, or the name of a size")

Entry = TypeVar("Entry")


def check_schema(where: str, data: Any) -> None:
    """Refuses a manifest of another schema, or none at all.

    Args:
        where: names the manifest in errors.
        data: in JSON's types.

    Raises:
        ArtifactError: another schema; a newer one says what to do.
    """
    schema = as_object(where, data).get(SCHEMA_KEY)
    if type(schema) is not int or schema != SCHEMA:
        advice = "; update tvm_equi" if type(schema) is int and schema > SCHEMA else ""
        raise ArtifactError(
            f"{where}: {SCHEMA_KEY}: expected schema {SCHEMA}, got {shown(schema)}{advice}"
        )


def read_manifest(where: str, data: Any, sections: Collection[str]) -> Manifest:
    """The manifest of a model file.

    Args:
        where: names the manifest in errors.
        data: in JSON's types.
        sections: names of the file's sections.

    Raises:
        ArtifactError: see the module.
    """
    check_schema(where, data)
    fields = as_object(where, data, FIELDS)
    versions = {
        name: as_text(f"{where}: versions: {shown(name)}", text)
        for name, text in as_object(f"{where}: versions", fields["versions"]).items()
    }
    targets = as_list(f"{where}: targets", fields["targets"], _target)
    if not targets:
        raise ArtifactError(f"{where}: targets: expected one or more, got none")
    check_unique(f"{where}: targets", [target.name for target in targets])
    section = partial(_section, sections)
    names = [target.name for target in targets]
    kernels = as_list(f"{where}: kernels", fields["kernels"], partial(_kernel, names, section))
    check_unique(f"{where}: kernels", [f"{entry.key} {entry.dtype}" for entry in kernels])
    keys = frozenset(entry.key for entry in kernels)
    plans = as_list(f"{where}: plans", fields["plans"], partial(_plan, keys))
    check_unique(f"{where}: plans", [entry.plan for entry in plans])
    cpus = [target.name for target in targets if not target.is_gpu]
    programs = as_list(f"{where}: programs", fields["programs"], partial(_program, cpus, section))
    check_unique(f"{where}: programs", [entry.name for entry in programs])
    parameters = _optional(f"{where}: parameters", fields["parameters"], section)
    for program in programs:
        if program.parameters and parameters is None:
            raise ArtifactError(
                f"{where}: parameters: expected a section, since program {shown(program.name)} "
                "has parameters, got null"
            )
    return Manifest(
        versions,
        as_choice(f"{where}: dtype", fields["dtype"], KERNEL_DTYPES),
        as_count(f"{where}: derivatives", fields["derivatives"]),
        targets,
        kernels,
        plans,
        parameters,
        _optional(f"{where}: graph", fields["graph"], section),
        programs,
    )


def _section(sections: Collection[str], where: str, value: Any) -> str:
    """The name of a section that is there."""
    name = as_text(where, value)
    if name not in sections:
        raise ArtifactError(f"{where}: expected the name of a section, got {shown(name)}")
    return name


def _optional(where: str, value: Any, read: Callable[[str, Any], str]) -> str | None:
    return None if value is None else read(where, value)


def _target(where: str, value: Any) -> Target:
    is_gpu = isinstance(value, dict) and "architectures" in value
    keys = ("name", "architectures") if is_gpu else ("name", "machine", "features")
    fields = as_object(where, value, keys)
    name = _target_name(f"{where}: name", fields["name"])
    if not is_gpu:
        machine = _machine(f"{where}: machine", fields["machine"])
        features = as_list(f"{where}: features", fields["features"], _feature)
        check_unique(f"{where}: features", features)
        return Target(name, machine, features)
    architectures = as_list(f"{where}: architectures", fields["architectures"], _architecture)
    if name != ",".join(architectures):
        raise ArtifactError(
            f"{where}: architectures: expected those of {shown(name)}, "
            f"got {shown(','.join(architectures))}"
        )
    check_unique(f"{where}: architectures", architectures)
    return Target(name, architectures=architectures)


def _by_target(
    where: str, value: Any, targets: Sequence[str], read: Callable[[str, Any], Entry]
) -> Mapping[str, Entry]:
    """What there is for each of some targets."""
    found = as_object(where, value)
    unknown = sorted(found.keys() - set(targets))
    if unknown:
        raise ArtifactError(
            f"{where}: expected targets among {listed(targets)}, got {shown(unknown[0])}"
        )
    return {name: read(f"{where}: {shown(name)}", each) for name, each in found.items()}


def _kernel(
    targets: Sequence[str], section: Callable[[str, Any], str], where: str, value: Any
) -> KernelEntry:
    fields = as_object(where, value, ("key", "dtype", "libraries"))
    libraries = _by_target(f"{where}: libraries", fields["libraries"], targets, section)
    missing = [name for name in targets if name not in libraries]
    if missing:
        raise ArtifactError(f"{where}: libraries: expected one for {missing[0]!r}, got none")
    return KernelEntry(
        _key(f"{where}: key", fields["key"]),
        as_choice(f"{where}: dtype", fields["dtype"], KERNEL_DTYPES),
        libraries,
    )


def _operand(operator: str, where: str, value: Any) -> Operand:
    if not isinstance(value, list) or len(value) != 2:
        raise ArtifactError(f"{where}: expected [columns, rows], got {shown(value)}")
    rows = ROWS if operator == "convolve" else ROWS[:2]
    return as_count(f"{where}: columns", value[0]), as_choice(f"{where}: rows", value[1], rows)


def _plan(keys: frozenset[str], where: str, value: Any) -> PlanEntry:
    fields = as_object(where, value, ("plan", "operator", "inputs", "outputs", "passes"))
    operator = as_choice(f"{where}: operator", fields["operator"], OPERATORS)
    operand = partial(_operand, operator)
    entry = PlanEntry(
        as_text(f"{where}: plan", fields["plan"]),
        operator,
        as_list(f"{where}: inputs", fields["inputs"], operand),
        as_list(f"{where}: outputs", fields["outputs"], operand),
        as_list(f"{where}: passes", fields["passes"], partial(_pass, keys, operator)),
    )
    for number, part in enumerate(entry.passes):
        here = f"{where}: passes[{number}]"
        _check_numbers(f"{here}: outputs", part.outputs, len(entry.outputs))
        _check_numbers(f"{here}: copied", part.copied, len(entry.inputs))
    computed = sorted(number for part in entry.passes for number in part.outputs)
    if computed != list(range(len(entry.outputs))):
        raise ArtifactError(
            f"{where}: passes: expected each of {len(entry.outputs)} outputs once, got outputs "
            f"{', '.join(map(str, computed[:20])) or 'none'}"
        )
    return entry


def _check_numbers(where: str, numbers: Sequence[int], count: int) -> None:
    """Refuses numbers of operands that do not exist."""
    wrong = [number for number in numbers if number >= count]
    if wrong:
        raise ArtifactError(f"{where}: expected numbers below {count}, got {wrong[0]}")


def _pass(keys: frozenset[str], operator: str, where: str, value: Any) -> PassEntry:
    fields = as_object(where, value, ("kernel", "order", "outputs", "copied", "summed"))
    kernel = _key(f"{where}: kernel", fields["kernel"])
    if kernel not in keys:
        raise ArtifactError(f"{where}: kernel: expected the key of a kernel, got {shown(kernel)}")
    orders = ORDERS[1:] if operator == "convolve" else ORDERS[:1]
    return PassEntry(
        kernel,
        as_choice(f"{where}: order", fields["order"], orders),
        as_list(f"{where}: outputs", fields["outputs"], as_count),
        as_list(f"{where}: copied", fields["copied"], as_count),
        as_list(f"{where}: summed", fields["summed"], as_count),
    )


def _value(where: str, value: Any) -> Value:
    fields = as_object(where, value, ("name", "dtype", "shape"))
    return Value(
        _name(f"{where}: name", fields["name"]),
        as_choice(f"{where}: dtype", fields["dtype"], VALUE_DTYPES),
        as_list(f"{where}: shape", fields["shape"], _size),
    )


def _size(where: str, value: Any) -> int | str:
    return _size_name(where, value) if isinstance(value, str) else as_count(where, value)


def _program(
    targets: Sequence[str], section: Callable[[str, Any], str], where: str, value: Any
) -> ProgramEntry:
    keys = ("name", "inputs", "outputs", "parameters", "libraries", "kernels")
    fields = as_object(where, value, keys)

    def kernels(where: str, value: Any) -> tuple[str, ...]:
        return as_list(where, value, section)

    entry = ProgramEntry(
        _name(f"{where}: name", fields["name"]),
        as_list(f"{where}: inputs", fields["inputs"], _value),
        as_list(f"{where}: outputs", fields["outputs"], _value),
        as_list(f"{where}: parameters", fields["parameters"], as_text),
        _by_target(f"{where}: libraries", fields["libraries"], targets, section),
        _by_target(f"{where}: kernels", fields["kernels"], targets, kernels),
    )
    check_unique(f"{where}: inputs", [value.name for value in entry.inputs])
    check_unique(f"{where}: outputs", [value.name for value in entry.outputs])
    if not entry.outputs:
        raise ArtifactError(f"{where}: outputs: expected one or more, got none")
    if not entry.libraries:
        raise ArtifactError(f"{where}: libraries: expected one for a target, got none")
    if entry.libraries.keys() != entry.kernels.keys():
        wanted, found = listed(sorted(entry.libraries)), listed(sorted(entry.kernels))
        raise ArtifactError(
            f"{where}: kernels: expected the targets of libraries, {wanted}, got {found}"
        )
    return entry
