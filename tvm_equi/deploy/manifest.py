"""The manifest of a model file: what is in it, for which machines, and how it is called.

In: facts. Out: frozen data, and its fields in JSON's types. `manifest_reader.py` reads and checks
them. Sections are the container's (`container.py`); here they are names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm_equi.deploy.fields import listed, shown
from tvm_equi.errors import ArtifactError

SCHEMA_KEY = "tvm_equi_model"
SCHEMA = 1

KERNEL_DTYPES = ("float32", "float64", "float16", "bfloat16")
VALUE_DTYPES = (*KERNEL_DTYPES, "int64", "int32", "bool")
OPERATORS = ("run", "convolve")
ROWS = ("row", "shared", "sender", "receiver")
ORDERS = ("", "sender", "receiver")


@dataclass(frozen=True, slots=True)
class Target:
    """What libraries were compiled for: a kind of CPU, or some GPUs.

    Args:
        name: "x86-64-v3", "host" or "sm_80,sm_90".
        machine: the kind of machine, such as "x86_64"; "" for GPUs.
        features: CPU features that the code may use, as Linux names them.
        architectures: the GPUs; none for a CPU.
    """

    name: str
    machine: str = ""
    features: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()

    @property
    def is_gpu(self) -> bool:
        """Whether it is for GPUs."""
        return bool(self.architectures)


@dataclass(frozen=True, slots=True)
class KernelEntry:
    """A compiled kernel.

    Args:
        key: sha256 of its content.
        dtype: of its values.
        libraries: sections by target; one for every target.
    """

    key: str
    dtype: str
    libraries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PassEntry:
    """A call of a kernel within a plan.

    Args:
        kernel: its key.
        order: of the edges that it wants: "sender" or "receiver"; "" without edges.
        outputs: numbers of the plan's outputs that it computes.
        copied: numbers of the inputs that it needs room for a copy of, on CPUs.
        summed: columns of each sum over nodes that its tasks share, on CPUs.
    """

    kernel: str
    order: str
    outputs: tuple[int, ...]
    copied: tuple[int, ...]
    summed: tuple[int, ...]


Operand = tuple[int, str]
"""(columns, rows) of an input or output; rows are "row", "shared", "sender" or "receiver"."""


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """What the torch operator must know of a plan to run it without Python.

    Args:
        plan: the text that names it.
        operator: "run", or "convolve" over the edges of a graph.
        inputs: of the operator.
        outputs: of the operator.
        passes: in order.
    """

    plan: str
    operator: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    passes: tuple[PassEntry, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of a program.

    Args:
        name: in calls and errors.
        dtype: "float32", "int64" and so on.
        shape: numbers, and names of sizes that differ from call to call.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class ProgramEntry:
    """A whole model as one function.

    Args:
        name: of the program.
        inputs: in order.
        outputs: in order.
        parameters: names of those that are passed first, in order.
        libraries: the program's own section by target.
        kernels: the sections of the kernels that it calls, by target.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    parameters: tuple[str, ...]
    libraries: Mapping[str, str]
    kernels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a model file.

    Args:
        versions: of the packages that made it.
        dtype: of the model.
        derivatives: the highest order that its kernels cover.
        targets: that there is code for.
        kernels: compiled.
        plans: that are made of them.
        parameters: the section of parameters, a safetensors file; None without.
        graph: the section of the graph; None without.
        programs: that run with no torch.
    """

    versions: Mapping[str, str]
    dtype: str
    derivatives: int
    targets: tuple[Target, ...]
    kernels: tuple[KernelEntry, ...] = ()
    plans: tuple[PlanEntry, ...] = ()
    parameters: str | None = None
    graph: str | None = None
    programs: tuple[ProgramEntry, ...] = ()

    def program(self, where: str, name: str = "main") -> ProgramEntry:
        """A program by name.

        Args:
            where: names the file in errors.
            name: of the program.

        Raises:
            ArtifactError: there is no such program; says which there are.
        """
        for entry in self.programs:
            if entry.name == name:
                return entry
        known = listed([entry.name for entry in self.programs])
        raise ArtifactError(f"{where}: program: expected one of {known}, got {shown(name)}")


def manifest_fields(manifest: Manifest) -> dict[str, Any]:
    """The fields of a manifest in JSON's types, without the table of sections.

    Args:
        manifest: to write.
    """
    return {
        SCHEMA_KEY: SCHEMA,
        "versions": dict(manifest.versions),
        "dtype": manifest.dtype,
        "derivatives": manifest.derivatives,
        "targets": [_target_fields(target) for target in manifest.targets],
        "kernels": [
            {"key": entry.key, "dtype": entry.dtype, "libraries": dict(entry.libraries)}
            for entry in manifest.kernels
        ],
        "plans": [_plan_fields(plan) for plan in manifest.plans],
        "parameters": manifest.parameters,
        "graph": manifest.graph,
        "programs": [_program_fields(program) for program in manifest.programs],
    }


def _target_fields(target: Target) -> dict[str, Any]:
    if target.is_gpu:
        return {"name": target.name, "architectures": list(target.architectures)}
    return {"name": target.name, "machine": target.machine, "features": list(target.features)}


def _plan_fields(plan: PlanEntry) -> dict[str, Any]:
    return {
        "plan": plan.plan,
        "operator": plan.operator,
        "inputs": [list(operand) for operand in plan.inputs],
        "outputs": [list(operand) for operand in plan.outputs],
        "passes": [
            {
                "kernel": part.kernel,
                "order": part.order,
                "outputs": list(part.outputs),
                "copied": list(part.copied),
                "summed": list(part.summed),
            }
            for part in plan.passes
        ],
    }


def _program_fields(program: ProgramEntry) -> dict[str, Any]:
    def values(given: tuple[Value, ...]) -> list[dict[str, Any]]:
        return [{"name": v.name, "dtype": v.dtype, "shape": list(v.shape)} for v in given]

    return {
        "name": program.name,
        "inputs": values(program.inputs),
        "outputs": values(program.outputs),
        "parameters": list(program.parameters),
        "libraries": dict(program.libraries),
        "kernels": {name: list(sections) for name, sections in program.kernels.items()},
    }
