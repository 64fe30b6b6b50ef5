"""Targets by name: what a user writes, what LLVM is told, and the vector registers that follow.

In: "host", "x86-64-v2" to "x86-64-v4", "sm_80" and other GPUs. Out: a TVM target and what schedules
must know of it.
Anything else is refused with the list of what there is.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tvm_equi.errors import ArgumentError

HOST = "host"
X86_LEVELS = {"x86-64-v2": 128, "x86-64-v3": 256, "x86-64-v4": 512}
"""Bits in a vector register of each microarchitecture level (System V psABI, x86-64 supplement)."""

_LEVEL_FLAGS = {
    "x86-64-v2": {"sse4_2", "ssse3", "popcnt", "cx16"},
    "x86-64-v3": {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
"""What Linux calls the features that a level adds, some of them."""


@dataclass(frozen=True, slots=True)
class CpuTarget:
    """A CPU that kernels are compiled for.

    Args:
        name: as the user gave it, "host" resolved to LLVM's name of this CPU.
        mcpu: LLVM's CPU name.
        vector_bits: bits in a vector register.
        num_registers: vector registers.
        is_x86: whether it is an x86-64 CPU.
    """

    name: str
    mcpu: str
    vector_bits: int
    num_registers: int
    is_x86: bool = True

    def lanes(self, dtype: str) -> int:
        """Vector lanes of a dtype."""
        return self.vector_bits // int(dtype.removeprefix("bfloat").removeprefix("float"))

    def tvm_target(self) -> Any:
        """The TVM target."""
        import tvm

        return tvm.target.Target({"kind": "llvm", "mcpu": self.mcpu})


GPU_ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
"""Some of NVIDIA's compute capabilities: T4, A100, RTX 30, L4, H100, B200, RTX 50."""

CUDA = "cuda"
"""The GPUs of this machine, whatever they are."""

OPENCL = "opencl"
"""Runs the TensorIR for GPUs where there is none; for tests."""

_MIN_CAPABILITY = 75


@dataclass(frozen=True, slots=True)
class GpuTarget:
    """GPUs that kernels are compiled for.

    Args:
        kind: "cuda", or "opencl" for running the same TensorIR where there is no GPU.
        architectures: NVIDIA's names of compute capabilities, in order; none for OpenCL.
    """

    kind: str
    architectures: tuple[str, ...]

    @property
    def name(self) -> str:
        """What `gpu_target` takes."""
        return ",".join(self.architectures) or self.kind

    def tvm_target(self) -> Any:
        """The TVM target, with a host function for this machine's kind of CPU."""
        import tvm

        if self.kind == OPENCL:
            return tvm.target.Target({"kind": "opencl"}, host="llvm")
        # For less than sm_80, TVM's bfloat16 is arithmetic on bits that does not compile.
        arch = max(self.architectures[0], "sm_80", key=capability)
        facts = {"kind": "cuda", "arch": arch, "max_num_threads": 1024}
        return tvm.target.Target(facts, host="llvm")


def is_gpu(name: str) -> bool:
    """Whether a target's name is that of GPUs.

    Args:
        name: of a target.
    """
    return name == OPENCL or name.startswith("sm_")


@lru_cache(maxsize=64)
def gpu_target(name: str) -> GpuTarget:
    """The target of a name.

    Args:
        name: compute capabilities such as "sm_90" or "sm_80,sm_90", or "opencl".

    Raises:
        ArgumentError: the name is unknown.
    """
    if name == OPENCL:
        return GpuTarget(OPENCL, ())
    found = name.split(",")
    for each in found:
        capability(each)
    return GpuTarget(CUDA, tuple(sorted(set(found), key=capability)))


def capability(architecture: str) -> int:
    """The compute capability of an architecture: 90 of "sm_90".

    Args:
        architecture: its name.

    Raises:
        ArgumentError: it is none, or too old for CUDA 13.
    """
    number = architecture.removeprefix("sm_")
    is_known = architecture.startswith("sm_") and number.isdecimal()
    if not is_known or int(number) < _MIN_CAPABILITY:
        raise ArgumentError(
            f"target: expected a GPU such as {', '.join(GPU_ARCHITECTURES)}, got {architecture!r}"
        )
    return int(number)


def target_list(target: str | Sequence[str]) -> list[str]:
    """The names in a target, as they were given.

    Args:
        target: a name, or several, as a list or with commas between.
    """
    given = [target] if isinstance(target, str) else target
    return [name for names in given for name in names.split(",")]


def split_target(target: str | Sequence[str]) -> tuple[str | None, str | None]:
    """The CPU and the GPUs of a target that may name several.

    Args:
        target: a name, or several, as a list or with commas between.

    Returns:
        A name for `cpu_target`, and one for `gpu_target`; None where there is none.

    Raises:
        ArgumentError: a name is unknown, or there are none, or two CPUs.
    """
    names = target_list(target)
    gpus = [name for name in names if is_gpu(name)]
    cpus = [name for name in names if not is_gpu(name)]
    for name in cpus:
        if name not in target_names():
            raise ArgumentError(
                f"target: expected {', '.join(sorted(target_names()))}, {CUDA} or a GPU such as "
                f"{', '.join(GPU_ARCHITECTURES)}, got {name!r}"
            )
    if len(set(cpus)) > 1 or not names:
        raise ArgumentError(f"target: expected one CPU at most, and any GPUs, got {names}")
    gpu = gpu_target(",".join(gpus)).name if gpus else None
    return (cpus[0] if cpus else None), gpu


def family(name: str) -> str:
    """The family of targets whose tuned records serve a target; "" where there is none.

    Args:
        name: for `cpu_target` or `gpu_target`; of several GPUs the oldest counts.
    """
    if is_gpu(name):
        return gpu_target(name).name.split(",")[0]
    return host_family() if name == HOST else name


@lru_cache(maxsize=1)
def host_family() -> str:
    """The x86-64 level of this CPU, without a compiler; "" for other CPUs."""
    info = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not info.exists():
        return ""
    text = info.read_text(encoding="utf-8", errors="replace")
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    levels = [name for name, needed in _LEVEL_FLAGS.items() if needed <= set(flags)]
    return levels[-1] if levels else ""


def target_names() -> tuple[str, ...]:
    """The names that `cpu_target` takes."""
    return (HOST, *X86_LEVELS)


@lru_cache(maxsize=16)
def cpu_target(name: str) -> CpuTarget:
    """The target of a name.

    Args:
        name: "host", for this machine's CPU as LLVM sees it, or an x86-64 level.

    Raises:
        ArgumentError: the name is unknown.
    """
    if name in X86_LEVELS:
        bits = X86_LEVELS[name]
        return CpuTarget(name, name, bits, 32 if bits == 512 else 16)
    if name != HOST:
        raise ArgumentError(
            f"target: expected one of {', '.join(sorted(target_names()))}, got {name!r}"
        )
    import tvm

    codegen = tvm.target.codegen
    mcpu = str(codegen.llvm_get_system_cpu())
    if platform.machine() not in ("x86_64", "AMD64"):
        return CpuTarget(mcpu, mcpu, 128, 32, is_x86=False)
    features = codegen.llvm_get_cpu_features(tvm.target.Target({"kind": "llvm", "mcpu": mcpu}))
    if "avx512f" in features:
        return CpuTarget(mcpu, mcpu, 512, 32)
    return CpuTarget(mcpu, mcpu, 256 if "avx2" in features else 128, 16)
