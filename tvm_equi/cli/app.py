"""The command `tvm-equi`: demo, inspect, doctor, and those of the modules beside it.

In: a command line. Out: text on the terminal, artifacts on disk. An error of the package is one
line and exit code 2; `doctor` exits with 1 if something needed is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tvm_equi.cli import compile, export, runtime, tune
from tvm_equi.cli.source import check_dtype, read_source, readable_errors

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


compile.register(app)
tune.register(app)
runtime.register(app)
export.register(app)


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
    from tvm_equi.cli.graph import print_graph, print_removals
    from tvm_equi.cli.model import is_model_file, print_model
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


def main() -> None:
    """Runs the command line."""
    app()
