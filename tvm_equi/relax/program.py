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
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tvm_equi.deploy.model import MAIN
from tvm_equi.errors import ArtifactError
from tvm_equi.export.capture import Captured
from tvm_equi.relax.lower import compile_kernels
from tvm_equi.relax.pipeline import build
from tvm_equi.relax.translate import translate
from tvm_equi.runtime.compiled import CompiledProgram, Library
from tvm_equi.schedule.targets import HOST, cpu_target


class Built(NamedTuple):
    """A compiled model.

    Args:
        program: its code for each target.
        parameters: values by name, in the order in which `main` takes them.
    """

    program: CompiledProgram
    parameters: Mapping[str, torch.Tensor]


def build_program(captured: Captured, targets: Sequence[str] = (HOST,)) -> Built:
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
    libraries: dict[str, Library] = {}
    kernels: dict[str, list[Library]] = {}
    for target in targets:
        entries = compile_kernels(translated.module, target)
        paths = dict.fromkeys(entry.library for entry in entries)
        kernels[target] = [Library.of(path.read_bytes()) for path in paths]
        executable = build(translated.module, cpu_target(target).tvm_target(), "packed", target)
        libraries[target] = Library.of(_library(executable))
    parameters = translated.parameters
    program = CompiledProgram(
        MAIN, captured.inputs, captured.outputs, tuple(parameters), libraries, kernels
    )
    return Built(program, parameters)


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
