"""Compiled models as files: what torch and compilers know, in the terms of a model file.

In: kernels, programs and parameters. Out: a `.tvmeq` file, the same in every byte for the same
content; and from a file, tensors of torch and kernels. `docs/format.md` has the format.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from tvm_equi import __version__
from tvm_equi.artifact.cpu import required_features
from tvm_equi.deploy.container import Container, write
from tvm_equi.deploy.manifest import KernelEntry, Manifest, ProgramEntry, Target
from tvm_equi.deploy.safetensors import Tensor, write_tensors
from tvm_equi.errors import ArtifactError
from tvm_equi.runtime.compiled import CompiledKernel, CompiledProgram, Library
from tvm_equi.runtime.plan_records import plan_record
from tvm_equi.schedule.targets import HOST, gpu_target, is_gpu

GRAPH, PARAMETERS = "graph.json", "parameters.safetensors"


@dataclass(frozen=True, slots=True)
class Content:
    """What a model file is made of.

    Args:
        dtype: of the model.
        derivatives: the highest order that its kernels cover.
        targets: that there is code for.
        kernels: each for every target.
        plans: that are made of them.
        programs: whole models.
        parameters: values by name.
        graph: its text; None without.
        versions: of the packages that compiled it; those that are installed, where empty.
    """

    dtype: str
    derivatives: int
    targets: tuple[Target, ...]
    kernels: tuple[CompiledKernel, ...] = ()
    plans: tuple[str, ...] = ()
    programs: tuple[CompiledProgram, ...] = ()
    parameters: Mapping[str, torch.Tensor] = field(default_factory=dict)
    graph: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def installed_versions() -> dict[str, str]:
    """The versions of the packages that shape compiled code, "none" for those that are missing."""
    found = {"tvm_equi": __version__}
    for package in ("apache-tvm", "apache-tvm-ffi", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def described(target: str) -> Target:
    """What a model file says of a target.

    Args:
        target: its name: "host", an x86-64 level, or GPUs such as "sm_80,sm_90".
    """
    if is_gpu(target):
        return Target(target, architectures=gpu_target(target).architectures)
    machine = platform.machine() if target == HOST else "x86_64"
    return Target(target, machine, tuple(required_features(target)))


def save_model(path: str | Path, content: Content) -> Path:
    """Writes a model file in one step; a model file there is replaced.

    Args:
        path: of the file.
        content: to write.

    Returns:
        The path.

    Raises:
        ArtifactError: the file cannot be written, or the content does not fit together.
    """
    sections: dict[str, bytes] = {}

    def store(target: str, library: Library) -> str:
        name = f"kernels/{_part(target)}/{library.sha256[:32]}.so"
        sections[name] = library.data
        return name

    libraries: dict[tuple[str, str], dict[str, str]] = {}
    for kernel in content.kernels:
        found = libraries.setdefault((kernel.key, kernel.dtype), {})
        found[kernel.target] = store(kernel.target, kernel.library)
    programs = []
    for program in content.programs:
        own = {name: f"programs/{program.name}/{_part(name)}.so" for name in program.libraries}
        sections |= {own[target]: library.data for target, library in program.libraries.items()}
        called = {
            target: tuple(store(target, library) for library in some)
            for target, some in program.kernels.items()
        }
        shape = (program.name, program.inputs, program.outputs, program.parameters)
        programs.append(ProgramEntry(*shape, own, called))
    if content.parameters:
        tensors = {name: stored_tensor(value) for name, value in content.parameters.items()}
        sections[PARAMETERS] = write_tensors(tensors)
    if content.graph is not None:
        sections[GRAPH] = content.graph.encode()
    manifest = Manifest(
        content.versions or installed_versions(),
        content.dtype,
        content.derivatives,
        content.targets,
        tuple(KernelEntry(key, dtype, found) for (key, dtype), found in libraries.items()),
        tuple(plan_record(plan) for plan in content.plans),
        PARAMETERS if content.parameters else None,
        None if content.graph is None else GRAPH,
        tuple(programs),
    )
    return write(path, manifest, sections)


def _part(target: str) -> str:
    """A target's name as part of a section's name, which has no commas."""
    return target.replace(",", "-").replace("+", "-")


def read_content(container: Container) -> Content:
    """The content of a model file, in memory of its own.

    Args:
        container: the file.

    Raises:
        ArtifactError: the text of the graph is no text.
    """
    manifest = container.manifest

    @cache  # entries may share a section
    def library(name: str) -> Library:
        return Library(bytes(container.section(name)), container.sections[name].sha256)

    try:
        graph = manifest.graph and bytes(container.section(manifest.graph)).decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{container.where}: {manifest.graph}: expected UTF-8") from error
    return Content(
        manifest.dtype,
        manifest.derivatives,
        manifest.targets,
        tuple(
            CompiledKernel(
                entry.key, entry.dtype, target.name, library(entry.libraries[target.name])
            )
            for target in manifest.targets
            for entry in manifest.kernels
        ),
        tuple(entry.plan for entry in manifest.plans),
        tuple(_program(entry, library) for entry in manifest.programs),
        {name: torch_tensor(tensor) for name, tensor in container.parameters().items()},
        graph,
        manifest.versions,
    )


def _program(entry: ProgramEntry, library: Callable[[str], Library]) -> CompiledProgram:
    return CompiledProgram(
        entry.name,
        entry.inputs,
        entry.outputs,
        entry.parameters,
        {target: library(name) for target, name in entry.libraries.items()},
        {target: tuple(map(library, names)) for target, names in entry.kernels.items()},
    )


def stored_tensor(value: torch.Tensor) -> Tensor:
    """A tensor of torch as a model file stores it.

    Args:
        value: on any device.

    Raises:
        ArtifactError: a dtype that model files have none for, or a tensor that is sparse or has no
            values.
    """
    dtype = str(value.dtype).removeprefix("torch.")
    try:
        given = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        if given.dtype == torch.bfloat16:
            return Tensor(dtype, given.view(torch.int16).numpy().view(np.uint16))
        return Tensor(dtype, given.numpy())
    except (RuntimeError, TypeError) as error:
        raise ArtifactError(
            f"save: parameters: expected real numbers, got {dtype} ({error})"
        ) from error


def torch_tensor(stored: Tensor) -> torch.Tensor:
    """A tensor of torch with the values of a stored one, in memory of its own.

    Args:
        stored: in a model file.
    """
    if stored.dtype == "bfloat16":
        return torch.from_numpy(stored.array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(stored.array.copy())
