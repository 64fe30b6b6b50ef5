"""Builds the torch operators for processes without Python: `libtvm_equi_torch.so`.

In: a folder. Out: the folder with the library, those of TVM that it needs, a header, and a file for
CMake, to link to programs or to load with `dlopen`, `torch.ops.load_library` or `LD_PRELOAD`.
Refused: a machine without CMake or a C++ compiler; says what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from tvm_equi.errors import ArtifactError

LIBRARY = "libtvm_equi_torch.so"
SOURCE = Path(__file__).parent / "cpp"

_COMPILERS = ("c++", "g++", "clang++")


def build_torch_ops(folder: str | Path) -> Path:
    """Builds the library against the torch of this environment; programs need the same release.

    Args:
        folder: to write lib/, include/ and CMake's file to; what is there is replaced.

    Returns:
        The path of the library.

    Raises:
        ArtifactError: CMake, a compiler or TVM's runtime is missing, or the build fails; says why.
    """
    cmake, folder = _cmake(), Path(folder).resolve()
    _check_compiler()
    with tempfile.TemporaryDirectory(prefix="tvm_equi-") as build:
        ninja = ["-G", "Ninja"] if _tool("ninja") else []
        torch_folder = Path(torch.__file__).parent
        _run(
            [
                *(cmake, "-S", str(SOURCE), "-B", build, *ninja),
                f"-DTorch_FOLDER={torch_folder}",
                f"-DPython3_EXECUTABLE={sys.executable}",
                f"-DCMAKE_INSTALL_PREFIX={folder}",
            ]
        )
        _run([cmake, "--build", build, "--target", "install", "--parallel"])
    return folder / "lib" / LIBRARY


def _tool(name: str) -> str | None:
    """The path of a program on the PATH, or in this environment."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _cmake() -> str:
    """The path of CMake.

    Raises:
        ArtifactError: it is missing.
    """
    found = _tool("cmake")
    if found is None:
        raise ArtifactError(
            "build_torch_ops: expected cmake 3.18 or newer, got none; pip install cmake, or "
            "install the system's package"
        )
    return found


def _check_compiler() -> None:
    """Refuses a machine without a compiler.

    Raises:
        ArtifactError: with what to install.
    """
    named = os.environ.get("CXX")
    if not any(map(shutil.which, named.split()[:1] if named else _COMPILERS)):
        raise ArtifactError(
            f"build_torch_ops: expected a C++ compiler, {' or '.join(_COMPILERS)}, got "
            f"{f'CXX={named}' if named else 'none'}; install g++, or set CXX to one"
        )


def _run(command: list[str]) -> None:
    """Runs a step of the build.

    Raises:
        ArtifactError: it failed; with the end of what it said.
    """
    # A process of Python that CMake starts finds this package where this one does.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-30:])
        raise ArtifactError(
            f"build_torch_ops: expected {' '.join(command[:2])} to succeed, got:\n{end}"
        )
