"""A model file as a function of numpy arrays, with neither torch nor a compiler.

In: the path of a file that `tvm-equi compile` made. Out: a `Model`. All of the file is checked
before any of its code is loaded. Refused: files that `container.read` refuses, that have no code
for this CPU, or that hold no program.

Example:
    model = tvm_equi.deploy.load("model.tvmeq")
    found = model(vectors=vectors, senders=senders, receivers=receivers, ...)
    found["energy"], found["d_vectors"]
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tvm_equi.deploy.arguments import Signature, array_dtype, describe
from tvm_equi.deploy.container import Container, read
from tvm_equi.deploy.libraries import load_program, register_kernel
from tvm_equi.deploy.machine import Machine
from tvm_equi.deploy.manifest import ProgramEntry, Target, Value
from tvm_equi.deploy.runtime import MAX_THREADS, default_threads, use_threads
from tvm_equi.deploy.targets import best_cpu_target
from tvm_equi.deploy.tensors import Array, aligned_tensor
from tvm_equi.errors import ArgumentError, ArgumentTypeError, unknown_choice

MAIN = "main"
"""The program that is loaded where the caller names none."""

SERIAL_ROWS = 16
"""A call all of whose sizes are smaller runs on one thread: waking others takes longer."""


class Model:
    """A compiled model: arrays in, arrays out. Made by `load`; several threads may call it at once.

    An input that is contiguous and starts at a multiple of 64 bytes is read where it is, any other
    one is copied first. Outputs have memory of their own, which the caller may keep and change.

    Args:
        where: names it in errors.
        entry: its program.
        targets: of the file, the one that is used first.
        threads: that its parallel loops use.
        make_machine: makes a machine for one thread.
    """

    def __init__(
        self,
        where: str,
        entry: ProgramEntry,
        targets: Sequence[Target],
        threads: int,
        make_machine: partial[Machine],
    ) -> None:
        self.where = where
        self.inputs: tuple[Value, ...] = entry.inputs
        self.outputs: tuple[Value, ...] = entry.outputs
        self.target: str = targets[0].name
        self.targets: tuple[str, ...] = tuple(target.name for target in targets)
        self.threads = threads
        self._signature = Signature(where, entry.inputs)
        for value in entry.outputs:
            array_dtype(where, value)
        self._names = tuple(value.name for value in entry.outputs)
        self._make_machine = make_machine
        self._local = threading.local()
        self._local.machine = make_machine()  # now, so that what cannot start is known

    def __call__(self, *inputs: Array, **named: Array) -> dict[str, Array]:
        """The outputs by name.

        Args:
            inputs: by position, in the order of `inputs`.
            named: by name.

        Raises:
            ArgumentError: an input is missing or unknown, has another shape than the manifest says,
                or a size that disagrees with another input's.
            ArgumentTypeError: an input is no array, or has another dtype.
            IndexRangeError: an index names a row that does not exist.
            ArtifactError: the program fails.
        """
        arrays, sizes = self._signature.bind(inputs, named)
        try:
            machine = self._local.machine
        except AttributeError:
            machine = self._local.machine = self._make_machine()
        is_small = max(sizes, default=SERIAL_ROWS) < SERIAL_ROWS
        use_threads(1 if is_small else self.threads)
        return dict(zip(self._names, machine.run(arrays, sizes), strict=True))

    def __repr__(self) -> str:
        lines = [f"Model({self.where}, {self.target}, {self.threads} threads)"]
        lines += [f"  {value.name}: {describe(value)}" for value in self.inputs]
        lines += [f"  -> {value.name}: {describe(value)}" for value in self.outputs]
        return "\n".join(lines)


def load(
    path: str | Path, *, program: str = MAIN, target: str | None = None, threads: int | None = None
) -> Model:
    """The model in a file; needs numpy, apache-tvm-ffi and TVM's runtime library.

    Args:
        path: of the file.
        program: its name, where the file has several.
        target: whose code to run; by default the best that this CPU can run.
        threads: that parallel loops use; by default TVM_NUM_THREADS, OMP_NUM_THREADS, or as many as
            there are cores for this process.

    Returns:
        A model that computes what the compiled one did.

    Raises:
        ArgumentError: no number of threads, or no such target.
        ArgumentTypeError: the number of threads is no whole number.
        ArtifactError: no model file, a damaged one, one of a newer schema, without code for this
            CPU or without this program; or the runtime library is missing.
    """
    count = default_threads() if threads is None else _checked(threads)
    found = read(path)
    entry = found.manifest.program(found.where, program)
    chosen = _target(found, entry, target)
    make = _load_code(found, entry, chosen)
    tensors = found.parameters()
    where = f"{Path(path).name}: {program}"
    parameters = [aligned_tensor(tensors[name].array) for name in entry.parameters]
    make_machine = partial(Machine, where, make, parameters, len(entry.inputs), entry.outputs)
    others = (other for other in found.manifest.targets if other is not chosen)
    return Model(where, entry, (chosen, *others), count, make_machine)


def _load_code(found: Container, entry: ProgramEntry, target: Target) -> Any:
    """What makes machines with a program, after its kernels were registered."""
    for name in entry.kernels[target.name]:
        register_kernel(f"{found.where}: {name}", found.section(name), found.sections[name].sha256)
    name = entry.libraries[target.name]
    return load_program(f"{found.where}: {name}", found.section(name), found.sections[name].sha256)


def _target(found: Container, entry: ProgramEntry, name: str | None) -> Target:
    """The target whose code is run.

    Raises:
        ArgumentError: the program has no such target.
    """
    there = (target for target in found.manifest.targets if target.name in entry.libraries)
    cpus = {target.name: target for target in there}
    if name is None:
        return best_cpu_target(found.where, tuple(cpus.values()))
    if name not in cpus:
        raise ArgumentError(unknown_choice(found.where, "target", cpus, name))
    return best_cpu_target(found.where, [cpus[name]])


def _checked(threads: int) -> int:
    """A number of threads.

    Raises:
        ArgumentError: it is not from 1 to `MAX_THREADS`.
        ArgumentTypeError: it is no whole number.
    """
    if not isinstance(threads, int):
        raise ArgumentTypeError(
            f"load: threads: expected a whole number, got {type(threads).__name__}"
        )
    if not 1 <= threads <= MAX_THREADS:
        raise ArgumentError(
            f"load: threads: expected a number from 1 to {MAX_THREADS}, got {threads}"
        )
    return threads
