"""What the commands share: how a source is read, and how errors are shown.

In: texts of a command line. Out: graphs and modules; errors of the package as one line.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from tvm_equi.errors import ArgumentError, TvmEquiError, UnsupportedError

P = ParamSpec("P")
T = TypeVar("T")

Source = Annotated[
    str,
    typer.Argument(
        help="SPEC.json, or module.py:name of a graph, a module, a captured model, or a function "
        "that makes one."
    ),
]


def readable_errors(command: Callable[P, T]) -> Callable[P, T]:
    """The command, with errors of the package as one line and exit code 2.

    Args:
        command: to wrap.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except TvmEquiError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error

    return wrapped


def check_dtype(dtype: str) -> None:
    """Refuses an unknown dtype.

    Raises:
        ArgumentError: with those that are known.
    """
    if dtype not in ("float32", "float64"):
        raise ArgumentError(f"tvm-equi: --dtype: expected float32 or float64, got {dtype!r}")


def read_source(source: str) -> Any:
    """The graph or module that a command line names.

    Args:
        source: SPEC.json, or module.py:name.

    Raises:
        ArgumentError: there is no such file or name.
        UnsupportedError: the file cannot be imported.
    """
    from tvm_equi.graph.short_form import read_spec

    if ".py:" not in source:
        try:
            return read_spec(Path(source).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ArgumentError(
                f"tvm-equi: source: expected SPEC.json or module.py:name, got {source!r} ({error})"
            ) from error
    file, _, name = source.rpartition(":")
    found = getattr(_import_file(Path(file)), name, None)
    if found is None:
        raise ArgumentError(f"tvm-equi: source: expected a name that {file} defines, got {name!r}")
    return found() if callable(found) and not hasattr(found, "forward") else found


def is_captured(model: Any) -> bool:
    """Whether a source was a captured model.

    Args:
        model: of `read_source`.
    """
    from tvm_equi.export.capture import Captured

    return isinstance(model, Captured)


def _import_file(path: Path) -> Any:
    """The Python module in a file.

    Raises:
        ArgumentError: there is no such file.
        UnsupportedError: a package that it imports is missing.
    """
    import importlib.util

    if not path.is_file():
        raise ArgumentError(f"tvm-equi: source: expected a Python file, got {str(path)!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ArgumentError(f"tvm-equi: source: expected a Python file, got {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise UnsupportedError(
            f"tvm-equi: source: {path}: expected its imports, got: {error}"
        ) from error
    return module
