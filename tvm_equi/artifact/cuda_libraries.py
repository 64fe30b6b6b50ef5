"""The shared libraries that kernels for GPUs need at run time: NVIDIA's, and TVM's for CUDA.

In: this machine. Out: what is there, what is missing, and what to do about it.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

from tvm_equi.errors import ArtifactError

DRIVER, RUNTIME = "libcuda.so.1", "libcudart.so.13"
MIN_DRIVER = 13000
"""CUDA's version that the driver must support; code of CUDA 13 runs on no driver of CUDA 12."""

TVM_RUNTIME, TVM_CUDA_RUNTIME = "libtvm_runtime.so", "libtvm_runtime_cuda.so"


def package_folder() -> Path | None:
    """The folder of NVIDIA's Python packages for CUDA 13, None where there are none."""
    spec = importlib.util.find_spec("nvidia")
    for location in (spec.submodule_search_locations if spec else None) or ():
        if (folder := Path(location) / "cu13").is_dir():
            return folder
    return None


def missing_runtime() -> list[str]:
    """Shared libraries that kernels need at run time and that this machine lacks."""
    return [name for name in (DRIVER, RUNTIME) if _open(name) is None]


def driver_version() -> int:
    """CUDA's version that the driver supports, such as 13000; 0 without a driver."""
    library = _open(DRIVER)
    version = ctypes.c_int(0)
    if library is None or library.cuDriverGetVersion(ctypes.byref(version)):
        return 0
    return version.value


def check_runtime() -> Path:
    """The path of TVM's runtime for CUDA, after NVIDIA's libraries were found and loaded.

    Raises:
        ArtifactError: a library is missing, or the driver is too old.
    """
    missing, version = missing_runtime(), driver_version()
    if DRIVER in missing:
        raise ArtifactError(f"load: expected {DRIVER}, got none; install NVIDIA's driver")
    if not version:
        raise ArtifactError(
            f"load: expected {DRIVER} of NVIDIA's driver, got one that tells no version (a stub?)"
        )
    if version < MIN_DRIVER:
        raise ArtifactError(
            "load: expected a driver for CUDA 13 (580 or newer), got one for CUDA "
            f"{version_text(version)}; update NVIDIA's driver"
        )
    if RUNTIME in missing:
        raise ArtifactError(f"load: expected {RUNTIME}, got none; pip install 'tvm_equi[cuda]'")
    path = tvm_library(TVM_CUDA_RUNTIME)
    if path is None:
        raise ArtifactError(
            f"load: expected {TVM_CUDA_RUNTIME} in the tvm package, got none; install a wheel "
            "of apache-tvm with CUDA"
        )
    return path


def version_text(version: int) -> str:
    """CUDA's way to write a version: 12.8 of 12080."""
    return f"{version // 1000}.{version % 1000 // 10}"


def tvm_library(name: str) -> Path | None:
    """The path of a library in the tvm package, which is not imported; None where it is missing.

    Args:
        name: of the file.
    """
    spec = importlib.util.find_spec("tvm")
    for location in (spec.submodule_search_locations if spec else None) or ():
        if (path := Path(location) / "lib" / name).exists():
            return path
    return None


def _open(name: str) -> ctypes.CDLL | None:
    """A shared library of the system or of NVIDIA's Python packages, None where it is missing."""
    folder = package_folder()
    for candidate in (name, str(folder / "lib" / name) if folder else ""):
        try:
            if candidate:
                return ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    return None
