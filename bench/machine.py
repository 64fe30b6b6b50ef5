"""What the numbers were taken on: processor, memory, versions. Never the machine's name."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "torch",
    "e3nn",
    "numpy",
    "apache-tvm",
    "apache-tvm-ffi",
    "cuequivariance",
    "cuequivariance-torch",
    "tvm_equi",
)

NOTABLE_FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512dq",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_tile",
)


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float | None:
    """Processes that were running or waiting over the last minute; None where it is not known."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def free_memory() -> int | None:
    """Bytes of memory that a process can still get; None where it is not known."""
    return _kilobytes("/proc/meminfo", "MemAvailable")


def resident_memory() -> int | None:
    """Bytes of memory that this process holds now; None where it is not known."""
    return _kilobytes("/proc/self/status", "VmRSS")


def peak_memory() -> int | None:
    """Bytes that this process held at most since `reset_peak_memory`; None where not known."""
    return _kilobytes("/proc/self/status", "VmHWM")


def reset_peak_memory() -> None:
    """Starts the count of `peak_memory` again, from what is held now.

    Raises:
        OSError: the system has no such counter.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _kilobytes(file: str, field: str) -> int | None:
    """A field of a file of the Linux kernel, in bytes; None where it is missing."""
    if not Path(file).exists():
        return None
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter; those that are missing are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def processor() -> dict[str, object]:
    """Architecture, model, cores, and which vector extensions there are."""
    facts = _cpuinfo()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return {
        "architecture": platform.machine(),
        "system": platform.system(),
        "model": facts.get("model name", "unknown"),
        "cores": num_cores(),
        "flags": [flag for flag in NOTABLE_FLAGS if flag in flags],
    }


def _cpuinfo() -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; nothing where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}
