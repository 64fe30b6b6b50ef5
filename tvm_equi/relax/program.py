"""Whole models compiled for runtimes without torch.

In: a captured model and names of CPU targets. Out: for each target a library that TVM's Relax
virtual machine runs, and the libraries of the kernels that it calls by name; parameters by name.
The same model gives the same bytes each time.

Who loads a program registers two kinds of functions in tvm_ffi's registry before the virtual
machine is initialised: each kernel's `tvm_equi_kernel` under `library_name(its bytes)`, and
`tvm_equi.index_error`, a function of (what: str, count: int, index: int) that raises an error such
as "senders: expected indices from 0 to 9, got 12". `main` takes parameters, then inputs, and
returns a tuple of tensors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tvm_equi.deploy.manifest import Value
from tvm_equi.errors import ArtifactError
from tvm_equi.export.capture import Captured
from tvm_equi.relax.lower import compile_kernels
from tvm_equi.relax.pipeline import build
from tvm_equi.relax.translate import translate
from tvm_equi.schedule.targets import HOST, cpu_target


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled model.

    Args:
        libraries: bytes of the library for the virtual machine, by target.
        kernels: paths of the libraries of kernels that it calls, by target; each once.
        parameters: values by name, in the order in which `main` takes them.
        inputs: what `main` takes after them.
        outputs: what it gives.
    """

    libraries: Mapping[str, bytes]
    kernels: Mapping[str, tuple[Path, ...]]
    parameters: Mapping[str, torch.Tensor]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def build_program(captured: Captured, targets: Sequence[str] = (HOST,)) -> Program:
    """A model, compiled.

    Args:
        captured: the model.
        targets: "host" and x86-64 levels.

    Raises:
        ArgumentError: an unknown target.
        ArtifactError: a compiler is missing or fails.
        UnsupportedError: an operator that has no converter.
    """
    translated = translate(captured)
    libraries: dict[str, bytes] = {}
    kernels: dict[str, tuple[Path, ...]] = {}
    for target in targets:
        entries = compile_kernels(translated.module, target)
        kernels[target] = tuple(dict.fromkeys(entry.library for entry in entries))
        executable = build(translated.module, cpu_target(target).tvm_target(), "packed", target)
        libraries[target] = _library(executable)
    return Program(libraries, kernels, translated.parameters, captured.inputs, captured.outputs)


def _library(executable: Any) -> bytes:
    """The bytes of an executable's library.

    Raises:
        ArtifactError: no linker.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.so"
        try:
            executable.export_library(str(path), options=["-Wl,--strip-all"])  # 1.1 MB to 0.6
        except RuntimeError as error:
            raise ArtifactError(
                f"build: expected a working linker (gcc or clang) to link a program, got: {error}"
            ) from error
        return path.read_bytes()
