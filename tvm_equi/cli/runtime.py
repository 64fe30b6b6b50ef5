"""The command `tvm-equi runtime`: the parts that run a model elsewhere.

In: a folder's name. Out: the folder, and the sizes of what is in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_equi.cli.source import readable_errors


def register(app: typer.Typer) -> None:
    """Adds the command to the main one.

    Args:
        app: the main command.
    """
    app.command()(readable_errors(runtime))


def runtime(
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder to write.")],
) -> None:
    """Copy what runs model files without torch or this package: headers and two libraries."""
    from tvm_equi.deploy.parts import copy_parts

    sizes = copy_parts(out)
    listed = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())
    typer.echo(f"runtime: {out} ({listed}; {sum(sizes.values()) / 1e6:.1f} MB in all)")
