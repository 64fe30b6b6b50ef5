"""The commands about models in C++ with libtorch: build-torch-ops, add-kernels.

In: a command line. Out: the library of the operators; packages with kernels inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_equi.cli.source import readable_errors


def register(app: typer.Typer) -> None:
    """Adds the commands to the main one.

    Args:
        app: the main command.
    """
    for command in (build_torch_ops, add_kernels):
        app.command()(readable_errors(command))


def build_torch_ops(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
) -> None:
    """Build torch's operators for processes without Python, against the torch that is here."""
    from tvm_equi.export import torch_ops

    library = torch_ops.build_torch_ops(out)
    folder = library.parent
    size = sum(path.stat().st_size for path in folder.glob("*.so")) / 1e6
    typer.echo(f"built {library} ({size:.1f} MB with TVM's libraries beside it)")


def add_kernels(
    package: Annotated[Path, typer.Argument(help="A .pt2 file of AOTInductor; it is changed.")],
    dtype: Annotated[
        list[str] | None,
        typer.Option(help="float32 or float64; by default what a package of nequip says."),
    ] = None,
    target: Annotated[
        list[str],
        typer.Option(
            help="host (this CPU), x86-64-v2, x86-64-v3 or x86-64-v4. May be given several times."
        ),
    ] = ["host"],  # noqa: B006 (typer copies it)
) -> None:
    """Put the kernels that a package's operators call into it."""
    from tvm_equi.export import pt2

    pt2.add_kernels(package, dtype=dtype or None, target=target)
    plans = len(pt2.package_plans(package))
    typer.echo(f"added the kernels of {plans} plans to {package}")
