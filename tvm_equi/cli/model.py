"""What `tvm-equi inspect` says of a model file.

In: a file that was read, so that every checksum is right. Out: lines and tables on a console.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tvm_equi.deploy.container import Container
from tvm_equi.deploy.header import MAGIC
from tvm_equi.deploy.manifest import SCHEMA, ProgramEntry, Value
from tvm_equi.deploy.targets import best_cpu_target
from tvm_equi.errors import ArtifactError


def is_model_file(path: Path) -> bool:
    """Whether to read a file as a model: by its name, or by its first bytes.

    Args:
        path: of the file, which may be missing.
    """
    if path.suffix == ".tvmeq":
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def print_model(container: Container, console: Console) -> None:
    """Prints what a model file holds.

    Args:
        container: the file.
        console: to print on.
    """
    manifest = container.manifest
    versions = ", ".join(f"{name} {number}" for name, number in manifest.versions.items())
    say = console.print
    say(
        f"model file, schema {SCHEMA}, {_size(len(container.data))} in {len(container.sections)} "
        f"sections, every checksum right; {versions}",
        markup=False,
    )
    numbers = sum(tensor.array.size for tensor in container.parameters().values())
    say(
        f"{manifest.dtype}, derivatives to order {manifest.derivatives}, "
        f"{len(manifest.kernels)} kernels, {len(manifest.plans)} plans, {numbers:,} parameters, "
        f"{'a graph' if manifest.graph else 'no graph'}"
    )
    say(_targets(container))
    for program in manifest.programs:
        say(f"program {_signature(program)}", markup=False)


def _targets(container: Container) -> Table:
    """The table of targets."""
    manifest = container.manifest
    try:
        best = best_cpu_target("inspect", manifest.targets).name
    except ArtifactError:
        best = ""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for header in ("target", "machine", "here"):
        table.add_column(header, overflow="fold")
    for header in ("kernels", "programs"):
        table.add_column(header, justify="right", no_wrap=True)
    for target in manifest.targets:
        kernels = {entry.libraries[target.name] for entry in manifest.kernels}
        programs = set()
        for program in manifest.programs:
            kernels |= set(program.kernels.get(target.name, ()))
            programs |= {name for key, name in program.libraries.items() if key == target.name}
        table.add_row(
            target.name,
            target.machine or "GPU",
            "best here" if target.name == best else "",
            _count(container, kernels),
            _count(container, programs),
        )
    return table


def _count(container: Container, names: set[str]) -> str:
    """How many sections, and how large."""
    return f"{len(names)}, {_size(sum(container.sections[name].size for name in names))}"


def _size(count: int) -> str:
    """A number of bytes, to read."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count:,} bytes"


def _signature(program: ProgramEntry) -> str:
    """A program's name, inputs and outputs."""

    def values(given: Sequence[Value]) -> str:
        return ", ".join(f"{v.name}: {v.dtype}[{', '.join(map(str, v.shape))}]" for v in given)

    return (
        f"{program.name}({values(program.inputs)}) -> {values(program.outputs)}; "
        f"{len(program.parameters)} parameters"
    )
