"""The command `tvm-equi`: demo, compile, inspect, doctor, and those of `cli_tune`, `cli_runtime`.

In: a command line. Out: text on the terminal, artifacts on disk. An error of the package is one
line and exit code 2; `doctor` exits with 1 if something needed is missing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tvm_equi import cli_runtime, cli_tune
from tvm_equi.cli_source import Source, check_dtype, read_source, readable_errors

app = typer.Typer(
    help="Compile O(3)-equivariant tensor products.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Target = Annotated[
    str,
    typer.Option(help="host (this CPU), x86-64-v2, x86-64-v3, x86-64-v4, or a GPU such as sm_90."),
]
Targets = Annotated[
    list[str],
    typer.Option(
        "--target",
        help="host (this CPU), x86-64-v2, x86-64-v3 or x86-64-v4; sm_80, sm_90 or another GPU, "
        "here or not; cuda, for the GPUs here. May be given several times: loading takes the best.",
    ),
]


@app.command()
@readable_errors
def demo(
    atoms: Annotated[int, typer.Option(help="Atoms of the crystal.", min=8)] = 64,
    threads: Annotated[int, typer.Option(help="Threads of both models.", min=1)] = 1,
    out: Annotated[Path, typer.Option(help="File of the model.")] = Path("tvm_equi_demo.tvmeq"),
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    channels: Annotated[int, typer.Option(help="Channels of each irrep.", min=1)] = 64,
    seconds: Annotated[float, typer.Option(help="To spend on each timing.")] = 0.5,
) -> None:
    """Compile an interatomic potential, and run it beside e3nn on a crystal and a molecule."""
    from tvm_equi.demo.model import Settings
    from tvm_equi.demo.run import Options, run_demo

    check_dtype(dtype)
    settings = Settings(num_channels=channels)
    run_demo(Options(atoms, threads, out, dtype, settings, seconds), Console())  # type: ignore[arg-type]


@app.command(name="compile")
@readable_errors
def compile_command(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the model: NAME.tvmeq.")],
    target: Targets = ["host"],  # noqa: B006 (typer copies it)
    dtype: Annotated[
        str | None, typer.Option(help="float32 or float64; the graph's own by default.")
    ] = None,
    derivatives: Annotated[int, typer.Option(help="Highest order to compile for.", min=0)] = 2,
) -> None:
    """Compile a graph or a module ahead of time, into one file for all targets."""
    import tvm_equi

    if dtype is not None:
        check_dtype(dtype)
    console = Console()
    columns = (TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("compiling", total=None)
        artifact = tvm_equi.compile(
            read_source(source),
            target,
            dtype=dtype,  # type: ignore[arg-type]
            derivatives=derivatives,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    path = artifact.save(out)
    print_graph(artifact.graph, console)
    size = path.stat().st_size / 1e6
    console.print(
        f"artifact: {path} ({len(artifact.kernels)} kernels for {artifact.target}, {size:.1f} MB)"
    )


cli_tune.register(app)
cli_runtime.register(app)


@app.command()
@readable_errors
def inspect(
    source: Annotated[str, typer.Argument(help="NAME.tvmeq, SPEC.json or module.py:name.")],
    tir: Annotated[bool, typer.Option("--tir", help="Print the TensorIR of each product.")] = False,
    asm: Annotated[bool, typer.Option("--asm", help="Print the assembly, or CUDA source.")] = False,
    target: Target = "host",
    picture: Annotated[
        Path | None,
        typer.Option("--graph", help="Draw the network and its sparsity: out.svg or out.html."),
    ] = None,
) -> None:
    """Show a graph: paths, nonzeros, counted work, bytes; on request its picture or its code.

    Of a model file also its targets, programs and sizes, after every checksum.
    """
    from tvm_equi.artifact.codegen import assembly, tensorir
    from tvm_equi.cli_model import is_model_file, print_model
    from tvm_equi.compiler import as_graph
    from tvm_equi.deploy.container import read
    from tvm_equi.graph import DEFAULT_PIPELINE, from_json
    from tvm_equi.graph.dtypes import graph_dtype
    from tvm_equi.graph.operations import Linear, SymmetricContraction, TensorProduct
    from tvm_equi.graph.regions import kernel_of
    from tvm_equi.runtime.model_file import read_content

    console = Console()
    if Path(source).is_dir():
        graph = _artifact_graph(Path(source), console)
    elif is_model_file(Path(source)):
        container = read(source)
        print_model(container, console)
        text = read_content(container).graph
        if text is None:
            return
        graph = from_json(text)
    else:
        given = as_graph(read_source(source), None)[0]
        graph = DEFAULT_PIPELINE(given)
        print_removals(given, console)
    print_graph(graph, console)
    if picture is not None:
        from tvm_equi.graph.draw import draw

        console.print(f"picture: {draw(graph, picture)}", markup=False)
    for node in graph.nodes:
        if not isinstance(node.operation, TensorProduct | Linear | SymmetricContraction) or not (
            tir or asm
        ):
            continue
        kernel = kernel_of(node.operation)
        for wanted, show in ((tir, tensorir), (asm, assembly)):
            if wanted:
                typer.echo(f"# {node.name}: {show.__name__}")
                typer.echo(show(kernel, graph_dtype(graph), target))


@app.command()
def doctor() -> None:
    """Show versions and targets, and what is missing and how to get it."""
    from tvm_equi.artifact.doctor import examine

    findings = examine()
    table = Table(title="tvm_equi")
    for header in ("what", "found", "verdict"):
        table.add_column(header, overflow="fold")
    for finding in findings:
        table.add_row(finding.what, finding.found, finding.advice or "ok")
    Console().print(table)
    if any(finding.is_missing for finding in findings):
        raise typer.Exit(1)


def _artifact_graph(path: Path, console: Console) -> Any:
    """The graph of a saved artifact; prints what its manifest says."""
    from tvm_equi.artifact.manifest import read_manifest
    from tvm_equi.graph import from_json

    manifest = read_manifest(path)
    versions = ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    console.print(
        f"{path}: target {manifest['target']} ({manifest['machine']}), {manifest['dtype']}, "
        f"derivatives to order {manifest['derivatives']}, {len(manifest['kernels'])} kernels, "
        f"every checksum right; {versions}"
    )
    return from_json((path / "graph.json").read_text(encoding="utf-8"))


def print_graph(graph: Any, console: Console) -> None:
    """Prints a graph: its inputs and parameters, and a table of the operations.

    Args:
        graph: to show.
        console: to print on.
    """
    from tvm_equi.graph.graph import TABLE_HEADER, table_rows
    from tvm_equi.graph.types import simplify_irreps

    for name in graph.inputs:
        console.print(f"input {name}: {graph.types[name]}", markup=False)
    numbers = sum(graph.types[name].dim for name in graph.parameters)
    console.print(f"{len(graph.parameters)} parameters: {numbers:,} numbers")
    table = Table(title="counts are per row of the value", box=SIMPLE, padding=(0, 1, 0, 0))
    for header, width in (("node", 12), ("operation", 13), ("value", 12)):
        table.add_column(header, overflow="fold", min_width=width)
    for header in TABLE_HEADER[4:]:
        table.add_column(header, justify="right", no_wrap=True)
    for name, kind, _, _, *counts in table_rows(graph):
        if name not in graph.inputs and name not in graph.parameters:
            value = graph.types[name]
            shown = str(replace(value, irreps=simplify_irreps(value.irreps)))
            table.add_row(*map(escape, (name, kind, shown, *counts)))
    console.print(table)
    console.print(f"outputs: {', '.join(graph.outputs)}", markup=False)


def print_removals(graph: Any, console: Console, limit: int = 12) -> None:
    """Prints what pruning takes from a graph, and why.

    Args:
        graph: before it was pruned.
        console: to print on.
        limit: lines.
    """
    from tvm_equi.graph.removals import removals

    found = removals(graph)
    for removal in found[:limit]:
        console.print(f"pruned {removal}", markup=False)
    if len(found) > limit:
        console.print(f"pruned {len(found) - limit} more")


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
