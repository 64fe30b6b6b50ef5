"""Packages of AOTInductor (`.pt2`) that carry the kernels which their operators call.

In: a captured model, or a package that somebody else made. Out: one file that libtorch runs in C++
with no Python, beside `libtvm_equi_torch.so` (`torch_ops.py` builds it). The kernels are inside of
the package, in the folder that AOTInductor unpacks and loads the model from; the operator finds
them there. Refused: files that are no packages, and packages without our operators.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tvm_equi.errors import ArgumentError, ArtifactError, UnsupportedError
from tvm_equi.export.capture import Captured
from tvm_equi.export.kernels import OPERATORS, UsedPlan, cpu_targets, program_plans, save_kernels
from tvm_equi.schedule.targets import HOST

KERNELS = "tvm_equi.tvmeq"
"""The name of the kernels' file in a package."""

MODELS = "data/aotinductor/"

_VECTOR_BITS = {"x86-64-v2": 1, "x86-64-v3": 256, "x86-64-v4": 512}
"""Of the vectors that AOTInductor's own loops use; 1 for none."""


def pt2(
    captured: Captured,
    path: str | Path,
    *,
    target: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Compiles a captured model with AOTInductor into a package with its kernels inside.

    Args:
        captured: the model; see `capture`.
        path: of the package; it ends in ".pt2".
        target: "host" (default): for CPUs like this one; or an x86-64 level.
        options: of AOTInductor, by its names; they come before what the target says.

    Returns:
        The path.

    Raises:
        ArgumentError: a path that does not end in ".pt2", an unknown target, one for a GPU, or a
            program that calls no kernels.
        ArtifactError: a compiler is missing or fails, or the file cannot be written.
        UnsupportedError: this release of torch compiles for this CPU alone.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ArgumentError(f"pt2: path: expected one that ends in .pt2, got {str(path)!r}")
    plans = program_plans(captured.program)
    configs = _target_options(target) | dict(options or {})
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        kernels = save_kernels(Path(folder) / KERNELS, plans, target)
        try:
            torch._inductor.aoti_compile_and_package(
                captured.program, package_path=str(made), inductor_configs=configs
            )
        except RuntimeError as error:  # of inductor, such as a missing compiler
            reason = str(error)[:2000]
            raise ArtifactError(f"pt2: expected AOTInductor to compile, got: {reason}") from error
        _put_in(made, kernels)
        _move(made, path)
    return path


def add_kernels(
    path: str | Path,
    *,
    dtype: str | Sequence[str] | None = None,
    target: str | Sequence[str] | None = None,
) -> Path:
    """Puts kernels into a package that was compiled elsewhere, such as by `nequip-compile`.

    Args:
        path: of the package; it is replaced in one step.
        dtype: "float32", "float64" or both: of the values that the operators get; by default what
            the package's metadata has as "model_dtype", as nequip's do.
        target: "host" (default), or one or several x86-64 levels.

    Returns:
        The path.

    Raises:
        ArgumentError: an unknown target or dtype, or a package without our operators.
        ArtifactError: the file is no package, the compiler fails, or the file cannot be written.
    """
    path = Path(path)
    if dtype is None:
        dtype = _model_dtype(path)
    dtypes = [dtype] if isinstance(dtype, str) else list(dtype)
    for name in dtypes:
        if name not in ("float32", "float64"):
            raise ArgumentError(f"add_kernels: dtype: expected float32 or float64, got {name!r}")
    plans = [UsedPlan(plan, name) for name in dtypes for plan in package_plans(path)]
    with tempfile.TemporaryDirectory() as folder:
        kernels = save_kernels(Path(folder) / KERNELS, plans, target)
        made = Path(folder) / path.name
        shutil.copyfile(path, made)
        _put_in(made, kernels)
        _move(made, path)
    return path


def package_plans(path: str | Path) -> list[str]:
    """The plans that the models in a package call, each once.

    Args:
        path: of the package.

    Raises:
        ArtifactError: the file is no package.
    """
    try:
        return list(dict.fromkeys(plan for data in _data(Path(path)) for plan in _plans(data)))
    except (AttributeError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"pt2: {path}: expected AOTInductor's lists of operators, got others: {error!r}"
        ) from error


def _data(path: Path) -> list[Any]:
    """What AOTInductor wrote in JSON of the models in a package."""
    with _opened(path, "r") as package:
        names = [name for name in package.namelist() if MODELS in name and name.endswith(".json")]
        try:
            return [json.loads(package.read(name)) for name in names]
        except ValueError as error:
            raise ArtifactError(f"pt2: {path}: expected JSON, got: {error}") from error


def _plans(data: Any) -> Iterator[str]:
    """The plans in AOTInductor's list of the operators that a model calls."""
    for node in data.get("nodes", ()) if isinstance(data, dict) else ():
        call = node["node"]
        if call["target"].removesuffix(".default") in OPERATORS:
            arguments = {each["name"]: each["arg"] for each in call["inputs"]}
            yield arguments["plan"]["as_string"]


def _model_dtype(path: Path) -> str:
    """The dtype that a package's metadata names.

    Raises:
        ArgumentError: it names none.
    """
    for data in _data(path):
        if isinstance(data, dict) and isinstance(data.get("model_dtype"), str):
            return str(data["model_dtype"])
    raise ArgumentError(
        f"add_kernels: dtype: expected float32 or float64, got none, and {path.name} does not say"
    )


def _target_options(target: str | None) -> dict[str, Any]:
    """What has AOTInductor compile for a target.

    Raises:
        ArgumentError: several targets.
        UnsupportedError: this release of torch compiles for this CPU alone.
    """
    name, *others = cpu_targets(target)
    if others:
        raise ArgumentError(
            f"pt2: target: expected one, since AOTInductor compiles for one CPU, got {target!r}"
        )
    if name == HOST:
        return {}
    if not _can_cross_compile():
        raise UnsupportedError(
            f"pt2: target: expected 'host' with torch {torch.__version__}, got {name!r}; later "
            "releases of torch compile for other CPUs"
        )
    return {"cpp.march": name, "cpp.simdlen": _VECTOR_BITS[name]}


def _can_cross_compile() -> bool:
    """Whether this release of torch takes the name of a CPU."""
    return hasattr(torch._inductor.config.cpp, "march")


@contextmanager
def _opened(path: Path, mode: Any) -> Iterator[zipfile.ZipFile]:
    """A package.

    Raises:
        ArtifactError: the file is no package, or it is damaged where it is read.
    """
    try:
        with zipfile.ZipFile(path, mode) as package:
            if not any(MODELS in name for name in package.namelist()):
                raise ArtifactError(
                    f"pt2: {path}: expected a package of AOTInductor, got none of its models inside"
                )
            yield package
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"pt2: {path}: expected a .pt2 file, got: {error}") from error


def _put_in(path: Path, kernels: Path) -> None:
    """Adds the kernels to each model of a package, in place of those that are there."""
    with _opened(path, "r") as package:
        names = package.namelist()
        parts = (name.partition(MODELS) for name in names)
        folders = {start + MODELS + rest.split("/")[0] for start, _, rest in parts if "/" in rest}
        is_there = any(Path(name).name == KERNELS for name in names)
    if is_there:
        _leave_out(path)
    with _opened(path, "a") as package:
        for folder in sorted(folders):
            entry = zipfile.ZipInfo(f"{folder}/{KERNELS}")  # of 1980, as torch's
            package.writestr(entry, kernels.read_bytes(), zipfile.ZIP_STORED)


def _leave_out(path: Path) -> None:
    """Writes a package again without kernels."""
    shorter = path.with_suffix(".without")
    with _opened(path, "r") as old, zipfile.ZipFile(shorter, "w") as new:
        for entry in old.infolist():
            if Path(entry.filename).name != KERNELS:
                new.writestr(entry, old.read(entry), zipfile.ZIP_STORED)
    shorter.replace(path)


def _move(made: Path, path: Path) -> None:
    """Puts a finished file in its place in one step.

    Raises:
        ArtifactError: the place cannot be written.
    """
    near = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(made, near)
            near.replace(path)
        finally:
            near.unlink(missing_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"pt2: {path}: expected a place that can be written, got: {error}"
        ) from error
