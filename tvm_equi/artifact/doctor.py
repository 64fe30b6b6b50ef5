"""What `tvm-equi doctor` looks at: versions, compilers, CPU, cache, GPUs.

In: this machine. Out: findings, each with what to do where something is missing. Nothing here
raises for what is missing.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from tvm_equi.artifact import cache, cuda
from tvm_equi.artifact import cuda_libraries as libraries
from tvm_equi.artifact.codegen import PINS
from tvm_equi.deploy.targets import LEVELS, host_features
from tvm_equi.errors import TvmEquiError

REQUIRED = ("torch", "e3nn", "numpy", "networkx", "filelock", "platformdirs", "typer", "rich")
OPTIONAL = {
    "ase": "pip install 'tvm_equi[demo]' for the demo",
    "matscipy": "pip install 'tvm_equi[demo]' for faster neighbour lists",
    "cuequivariance": "pip install 'tvm_equi[bench]' for the benchmark",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: was looked at.
        found: there.
        advice: what to do; empty where all is well.
        is_missing: whether something needed is missing.
    """

    what: str
    found: str
    advice: str = ""
    is_missing: bool = False


def examine() -> list[Finding]:
    """Everything that is worth knowing."""
    return [
        Finding("Python", f"{platform.python_version()} on {platform.machine()}"),
        *_packages(),
        *_compiler(),
        _linker(),
        *_cpu(),
        _cache(),
        *_gpus(),
    ]


def _version(package: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _packages() -> Iterator[Finding]:
    """What Python packages there are."""
    for package in REQUIRED:
        found = _version(package)
        advice = "" if found else f"pip install {package}"
        yield Finding(package, found or "missing", advice, is_missing=found is None)
    for package, pin in PINS.items():
        found = _version(package)
        fits = found is not None and (found == pin or found.startswith(f"{pin}.post"))
        advice = "" if fits else f"pip install '{package}=={pin}.*': other releases are untested"
        yield Finding(package, found or "missing", advice, is_missing=not fits)
    for package, advice in OPTIONAL.items():
        found = _version(package)
        yield Finding(package, found or "missing", "" if found else f"optional: {advice}")


def _compiler() -> Iterator[Finding]:
    """What TVM can compile for."""
    try:
        import tvm
    except ImportError as error:
        yield Finding("TVM", f"does not import: {error}", "reinstall apache-tvm", is_missing=True)
        return
    enabled = bool(tvm.runtime.enabled("llvm"))
    yield Finding(
        "LLVM in TVM",
        f"version {tvm.target.codegen.llvm_version_major()}" if enabled else "missing",
        "" if enabled else "install a wheel of apache-tvm with LLVM",
        is_missing=not enabled,
    )
    if enabled:
        targets = tvm.target.codegen.llvm_get_targets()
        yield Finding("LLVM targets", ", ".join(sorted(map(str, targets))))
        yield Finding("host CPU", str(tvm.target.codegen.llvm_get_system_cpu()))


def _linker() -> Finding:
    """What links libraries."""
    found = shutil.which("g++") or shutil.which("gcc") or shutil.which("clang")
    advice = "" if found else "install gcc or clang; saved artifacts run without"
    return Finding("linker", found or "missing", advice, is_missing=found is None)


def _cpu() -> Iterator[Finding]:
    """Which x86-64 levels this CPU has."""
    features = host_features()
    if platform.machine() in ("x86_64", "AMD64") and features:
        levels = [name for name, wanted in LEVELS.items() if set(wanted.split()) <= features]
        yield Finding("x86-64 levels", ", ".join(levels) or "none")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("CPU cores", str(cores))


def _cache() -> Finding:
    """The state of the cache folder."""
    folder = cache.cache_folder()
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        advice = (
            "set TVM_EQUI_CACHE_DIR to a folder that can be written; kernels are rebuilt each time"
        )
        return Finding("cache", f"{folder} cannot be written", advice)
    try:
        entries, size = cache.size()
    except (OSError, TvmEquiError) as error:
        return Finding("cache", f"{folder}: {error}", "remove the folder")
    return Finding("cache", f"{folder}: {entries} kernels, {size / 1e6:.1f} MB")


def _gpus() -> Iterator[Finding]:
    """What compiling for GPUs and running there need; all of it is optional."""
    try:
        chosen = cuda.compiler()
        known = ", ".join(f"sm_{number}" for number in chosen.capabilities)
        yield Finding("CUDA compiler", f"{chosen.kind} {chosen.version}: {known}")
    except TvmEquiError as error:
        advice = "optional: pip install 'tvm_equi[cuda]' to compile for GPUs, here or not"
        is_choice = cuda.COMPILER_VARIABLE in str(error)
        yield Finding("CUDA compiler", "none", str(error) if is_choice else advice)
    version = libraries.driver_version()
    found = f"for CUDA {libraries.version_text(version)}" if version else "none"
    advice = "optional: NVIDIA's driver, 580 or newer, to run on GPUs"
    yield Finding("NVIDIA driver", found, "" if version >= libraries.MIN_DRIVER else advice)
    is_there = libraries.RUNTIME not in libraries.missing_runtime()
    advice = "optional: pip install 'tvm_equi[cuda]' to run on GPUs"
    yield Finding(libraries.RUNTIME, "there" if is_there else "none", "" if is_there else advice)
    path = libraries.tvm_library(libraries.TVM_CUDA_RUNTIME)
    advice = "" if path else "optional: a wheel of apache-tvm with CUDA to run on GPUs"
    yield Finding("CUDA in TVM", path.name if path else "none", advice)
    build = (_version("torch") or "").partition("+")[2]
    advice = "optional: a build of torch with CUDA to run on GPUs" if build == "cpu" else ""
    yield Finding("CUDA in torch", build or "as on PyPI", advice)
    yield Finding("CUDA devices", _devices())
    for what, found_at in (
        ("pyopencl", _version("pyopencl")),
        ("oclgrind", shutil.which("oclgrind")),
    ):
        advice = "" if found_at else "optional: for `make test-gpu-schedules`"
        yield Finding(what, found_at or "none", advice)


def _devices() -> str:
    """The GPUs that the driver's tool lists."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return "none"
    listed = subprocess.run([smi, "-L"], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or "none"


if __name__ == "__main__":
    sys.exit(any(finding.is_missing for finding in examine()))
