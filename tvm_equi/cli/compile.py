"""The command `tvm-equi compile`: a model ahead of time, in one file.

In: a command line. Out: a model file, and what is in it on the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tvm_equi.cli.source import Source, check_dtype, read_source, readable_errors
from tvm_equi.errors import ArgumentError

Targets = Annotated[
    list[str],
    typer.Option(
        "--target",
        help="host (this CPU), x86-64-v2, x86-64-v3 or x86-64-v4; sm_80, sm_90 or another GPU, "
        "here or not; cuda, for the GPUs here. May be given several times: loading takes the best.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the command to an app.

    Args:
        app: `tvm-equi`.
    """
    app.command(name="compile")(compile_command)


@readable_errors
def compile_command(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the model: NAME.tvmeq.")],
    target: Targets = ["host"],  # noqa: B006 (typer copies it)
    dtype: Annotated[
        str | None, typer.Option(help="float32 or float64; the graph's own by default.")
    ] = None,
    derivatives: Annotated[int, typer.Option(help="Highest order to compile for.", min=0)] = 2,
    gradient: Annotated[
        list[str],
        typer.Option(
            help="A further output of the program, NAME=OUTPUT:INPUT: the gradient of an output's "
            "sum to an input, such as d_vectors=energy:vectors. May be given several times."
        ),
    ] = [],  # noqa: B006 (typer copies it)
    program: Annotated[
        bool, typer.Option(help="Whether C++ and Python without torch can run the file.")
    ] = True,
) -> None:
    """Compile a graph, module or captured model ahead of time, into one file for all targets."""
    import tvm_equi
    from tvm_equi.cli.graph import print_graph
    from tvm_equi.cli.model import print_model
    from tvm_equi.deploy.container import check_place, read

    if dtype is not None:
        check_dtype(dtype)
    wanted = read_gradients(gradient)
    check_place(out)  # not after minutes of compiling
    model, console = read_source(source), Console()
    if is_captured(model) and (dtype is not None or wanted):
        raise ArgumentError(
            "tvm-equi: --dtype, --gradient: expected neither with a captured model, whose dtype "
            "and outputs are decided, got one"
        )
    options: dict[str, Any] = {}
    if not is_captured(model):
        # Programs are for CPUs; without one among the targets, only torch runs the file.
        makes_program = program and (bool(wanted) or not all(map(is_for_gpu, target)))
        options = {"dtype": dtype, "derivatives": derivatives}
        options["gradients"] = wanted if makes_program else None
    columns = (TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("compiling", total=None)

        def watch(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        compiled = tvm_equi.compile(model, target, progress=watch, **options)
    path = compiled.save(out)
    if isinstance(compiled, tvm_equi.Artifact):
        print_graph(compiled.graph, console)
    console.print(f"{path}:", markup=False)
    print_model(read(path), console)


def is_captured(model: Any) -> bool:
    """Whether a source is a captured model.

    Args:
        model: that a command line names.
    """
    from tvm_equi.export.capture import Captured

    return isinstance(model, Captured)


def is_for_gpu(target: str) -> bool:
    """Whether a target is GPUs.

    Args:
        target: its name.
    """
    from tvm_equi.schedule.targets import CUDA, is_gpu

    return target == CUDA or is_gpu(target)


def read_gradients(texts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Further outputs of a program: (output, input) by name.

    Args:
        texts: each NAME=OUTPUT:INPUT.

    Raises:
        ArgumentError: a text of another form, or a name twice.
    """
    found: dict[str, tuple[str, str]] = {}
    for text in texts:
        parts = re.fullmatch("([^=:]+)=([^=:]+):([^=:]+)", text)
        if parts is None or parts[1] in found:
            raise ArgumentError(
                "tvm-equi: --gradient: expected NAME=OUTPUT:INPUT, each name once, such as "
                f"d_vectors=energy:vectors, got {text!r}"
            )
        found[parts[1]] = (parts[2], parts[3])
    return found
