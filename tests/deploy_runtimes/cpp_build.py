"""Builds C++ projects with CMake, each once for all workers of a test run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock

from tvm_equi.deploy.parts import cmake_folder


def environment() -> dict[str, str]:
    """Variables under which this Python and its tools come first."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def build(source: Path, folder: Path, config: Path | None = None) -> Path:
    """Builds a project, unless another worker did.

    Args:
        source: folder of its CMakeLists.txt.
        folder: to build in.
        config: the folder of CMake's file of tvm_equi; this environment's by default.

    Returns:
        The folder with what was built.
    """
    done = folder / "built"
    with filelock.FileLock(f"{folder}.lock"):
        if done.exists():
            return folder
        generator = ["-G", "Ninja"] if shutil.which("ninja", path=environment()["PATH"]) else []
        where = f"-Dtvm_equi_DIR={config or cmake_folder()}"
        python = f"-DPython3_EXECUTABLE={sys.executable}"
        for command in (
            ["cmake", "-S", str(source), "-B", str(folder), where, python, *generator],
            ["cmake", "--build", str(folder), "--parallel", "2"],
        ):
            run = subprocess.run(command, capture_output=True, text=True, env=environment())
            assert run.returncode == 0, f"{' '.join(command)}\n{run.stdout}\n{run.stderr}"
        done.touch()
    return folder
