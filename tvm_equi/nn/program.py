"""A whole model, compiled: tensors of torch in and out, values and the gradients that it was given.

In: the content of a model file that holds a program and no graph, such as that of a model of
another code base. Out: a `Program`, which is called, saved and loaded. Refused: tensors that are
not on the CPU, or that require a gradient, which a program would drop without a word.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tvm_equi.deploy.libraries import load_program, register_kernel
from tvm_equi.deploy.machine import Machine
from tvm_equi.deploy.manifest import ProgramEntry, Value
from tvm_equi.deploy.model import MAIN, Model
from tvm_equi.deploy.targets import best_cpu_target
from tvm_equi.deploy.tensors import aligned_tensor
from tvm_equi.errors import ArgumentError, ArgumentTypeError, ArtifactError
from tvm_equi.runtime.compiled import CompiledProgram
from tvm_equi.runtime.model_file import Content, save_model, stored_tensor


class Program:
    """A compiled model: call it with tensors, save it, load it.

    Args:
        content: has a program of that name.
        where: names it in errors.
        name: of the program.

    Attributes:
        content: as it was given.

    Raises:
        ArtifactError: there is no such program, or this CPU is none of its targets.
    """

    def __init__(self, content: Content, where: str = "program", name: str = MAIN) -> None:
        self.content = content
        self._where = where
        self._model = _model(content, where, name)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What it takes, in order."""
        return self._model.inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What it gives."""
        return self._model.outputs

    @property
    def target(self) -> str:
        """The names of what it was compiled for, with commas between."""
        return ",".join(target.name for target in self.content.targets)

    def __call__(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs by name, on as many threads as torch has.

        Args:
            *args: inputs in order.
            **kwargs: inputs by name.

        Raises:
            ArgumentError: inputs are missing, unknown or given twice, of a wrong shape, on a GPU,
                or require a gradient.
            ArgumentTypeError: an input of a wrong type or dtype.
            ArtifactError: the program fails.
        """
        given = [_array(f"inputs[{number}]", value) for number, value in enumerate(args)]
        named = {name: _array(name, value) for name, value in kwargs.items()}
        self._model.threads = torch.get_num_threads()
        found = self._model(*given, **named)
        return {name: torch.from_numpy(np.asarray(value)) for name, value in found.items()}

    def save(self, path: str | Path) -> Path:
        """Writes a file that `tvm_equi.load` and the runtimes without torch read.

        Args:
            path: of the file; by custom it ends in ".tvmeq".

        Returns:
            The path.

        Raises:
            ArtifactError: the file cannot be written, or something else is there.
        """
        return save_model(path, self.content)

    def __repr__(self) -> str:
        return repr(self._model).replace("Model(", "Program(", 1)


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    """The array of a tensor.

    Raises:
        ArgumentError: it is on a GPU, or requires a gradient.
        ArgumentTypeError: it is no tensor.
    """
    if not isinstance(value, torch.Tensor):
        raise ArgumentTypeError(f"program: {name}: expected a tensor, got {type(value).__name__}")
    if value.device.type != "cpu":
        raise ArgumentError(
            f"program: {name}: expected a tensor on the CPU, got one on {value.device}"
        )
    if value.requires_grad:
        raise ArgumentError(
            f"program: {name}: expected a tensor that requires no gradient, which a program does "
            "not record, got one that does; detach it, and capture the gradient as an output"
        )
    try:
        return value.resolve_conj().resolve_neg().numpy()
    except (RuntimeError, TypeError) as error:
        raise ArgumentTypeError(
            f"program: {name}: expected a dense tensor of a dtype that numpy has, got "
            f"{value.dtype} ({error})"
        ) from error


def _model(content: Content, where: str, name: str) -> Model:
    """The program on the best target for this CPU.

    Raises:
        ArtifactError: there is no such program, or this CPU is none of its targets.
    """
    program = next((each for each in content.programs if each.name == name), None)
    if program is None:
        known = ", ".join(each.name for each in content.programs) or "none"
        raise ArtifactError(f"{where}: program: expected one of {known}, got {name!r}")
    targets = [target for target in content.targets if target.name in program.libraries]
    best = best_cpu_target(where, targets)
    make = _load(where, program, best.name)
    arrays = [stored_tensor(content.parameters[each]).array for each in program.parameters]
    machine = partial(
        Machine,
        where,
        make,
        [aligned_tensor(array) for array in arrays],
        len(program.inputs),
        program.outputs,
    )
    entry = ProgramEntry(name, program.inputs, program.outputs, program.parameters, {}, {})
    others = [target for target in content.targets if target is not best]
    return Model(where, entry, (best, *others), torch.get_num_threads(), machine)


def _load(where: str, program: CompiledProgram, target: str) -> Any:
    """What makes machines with a program, after its kernels were registered."""
    for number, library in enumerate(program.kernels[target]):
        register_kernel(f"{where}: kernel {number}", library.data, library.sha256)
    library = program.libraries[target]
    return load_program(f"{where}: {program.name}", library.data, library.sha256)
