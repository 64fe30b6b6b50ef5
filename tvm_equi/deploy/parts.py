"""The parts that run a model without this package: headers, two libraries, a file for CMake.

In: this environment. Out: where its parts are, or a folder with copies of them that works on
another machine of its kind. Neither torch nor TVM is imported.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tvm_equi.errors import ArgumentError, ArtifactError

FFI_LIBRARY, RUNTIME_LIBRARY = "libtvm_ffi.so", "libtvm_runtime.so"

LIBRARY_FOLDER, CMAKE_FOLDER = Path("lib"), Path("lib/cmake/tvm_equi")
"""Of the copied parts."""

README = """\
What runs model files (*.tvmeq) of tvm_equi, for C++ and for Python without torch.

- C++: find_package(tvm_equi REQUIRED PATHS <this folder>), link tvm_equi::tvm_equi,
  #include <tvm_equi/tvm_equi.hpp>.
- Python: pip install apache-tvm-ffi=={ffi}, set TVM_EQUI_RUNTIME=<this folder>/lib.
- To ship beside a program: lib/libtvm_ffi.so and lib/libtvm_runtime.so.

Versions: {versions}.
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the parts are.

    Args:
        includes: folders of headers: ours, and those of tvm_ffi and DLPack.
        ffi: the path of libtvm_ffi.so.
        runtime: the path of libtvm_runtime.so.
    """

    includes: tuple[Path, ...]
    ffi: Path
    runtime: Path


def include_folder() -> Path:
    """The folder of our C++ headers."""
    return Path(__file__).parent / "include"


def cmake_folder() -> Path:
    """The folder that `find_package(tvm_equi)` looks for."""
    return Path(__file__).parent / "cmake"


def find_parts() -> Parts:
    """The parts that this environment has.

    Raises:
        ArtifactError: one is missing.
    """
    ffi = _package("tvm_ffi", "apache-tvm-ffi")
    runtimes = (
        ffi / "lib" / RUNTIME_LIBRARY,
        _package("tvm", "apache-tvm") / "lib" / RUNTIME_LIBRARY,
    )
    parts = Parts(
        (include_folder(), ffi / "include"),
        ffi / "lib" / FFI_LIBRARY,
        next((path for path in runtimes if path.is_file()), runtimes[-1]),
    )
    for path in (*parts.includes, parts.ffi, parts.runtime):
        if not path.exists():
            raise ArtifactError(f"runtime: expected {path}, got none; reinstall its package")
    return parts


def copy_parts(folder: str | Path) -> Mapping[str, int]:
    """Writes the parts to a folder that is moved as it is.

    Args:
        folder: new, or empty.

    Returns:
        Sizes in bytes of what a program needs at run time, by name.

    Raises:
        ArgumentError: the folder has something in it.
        ArtifactError: a part is missing, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentError(f"runtime: folder: expected a new or empty folder, got {folder}")
    parts = find_parts()
    try:
        for include in parts.includes:
            ignored = shutil.ignore_patterns("tvm_ffi_python*", "__pycache__")
            shutil.copytree(include, folder / "include", ignore=ignored, dirs_exist_ok=True)
        shutil.copytree(cmake_folder(), folder / CMAKE_FOLDER)
        for library in (parts.ffi, parts.runtime):
            shutil.copy2(library, folder / LIBRARY_FOLDER / library.name)
        licenses = folder / "licenses"
        licenses.mkdir()
        for package in ("apache-tvm", "apache-tvm-ffi", "tvm_equi"):
            _copy_licenses(package, licenses)
        versions = {name: _version(name) for name in ("tvm_equi", "apache-tvm", "apache-tvm-ffi")}
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        text = README.format(ffi=versions["apache-tvm-ffi"], versions=listed)
        (folder / "README").write_text(text, encoding="utf-8")
    except (OSError, shutil.Error) as error:
        raise ArtifactError(f"runtime: {folder}: expected room for the parts: {error}") from error
    copied = (folder / LIBRARY_FOLDER / library.name for library in (parts.ffi, parts.runtime))
    return {path.name: path.stat().st_size for path in copied}


def _package(name: str, distribution_name: str) -> Path:
    """The folder of a package, which is not imported.

    Raises:
        ArtifactError: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    for location in (spec.submodule_search_locations if spec else None) or ():
        return Path(location)
    raise ArtifactError(f"runtime: expected the package {name}; pip install {distribution_name}")


def _version(name: str) -> str:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return "unknown"


def _copy_licenses(name: str, folder: Path) -> None:
    """Copies what a package's wheel has of licences."""
    try:
        files = distribution(name).files or ()
    except PackageNotFoundError:
        return
    for file in files:
        if ".dist-info" in str(file.parent) and file.name.startswith(("LICENSE", "NOTICE")):
            shutil.copy2(file.locate(), folder / f"{name}-{file.name}")
