"""Targets by name: what a user writes, what LLVM is told, and the vector registers that follow.

In: "host", "x86-64-v2", "x86-64-v3", "x86-64-v4". Out: a TVM target and its register width.
Anything else is refused with the list of what there is.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tvm_equi.errors import ArgumentError

HOST = "host"
X86_LEVELS = {"x86-64-v2": 128, "x86-64-v3": 256, "x86-64-v4": 512}
"""Bits in a vector register of each microarchitecture level (System V psABI, x86-64 supplement)."""


@dataclass(frozen=True, slots=True)
class CpuTarget:
    """A CPU that kernels are compiled for.

    Args:
        name: as the user gave it, "host" resolved to LLVM's name of this CPU.
        mcpu: LLVM's CPU name.
        vector_bits: bits in a vector register.
        num_registers: vector registers.
    """

    name: str
    mcpu: str
    vector_bits: int
    num_registers: int

    def lanes(self, dtype: str) -> int:
        """Vector lanes of a dtype."""
        return self.vector_bits // int(dtype.removeprefix("bfloat").removeprefix("float"))

    def tvm_target(self) -> Any:
        """The TVM target."""
        import tvm

        return tvm.target.Target({"kind": "llvm", "mcpu": self.mcpu})


GPU_ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
"""NVIDIA's compute capabilities that CUDA 13 compiles for: T4, A100, RTX 30, L4, H100, B200, RTX 50."""


@dataclass(frozen=True, slots=True)
class GpuTarget:
    """A GPU that kernels are compiled for.

    Args:
        name: as the user gave it.
        kind: "cuda", or "opencl" for running the same TensorIR where there is no GPU.
        arch: NVIDIA's name of the compute capability, e.g. "sm_90"; "" for OpenCL.
    """

    name: str
    kind: str
    arch: str

    def tvm_target(self) -> Any:
        """The TVM target, with a host function for this machine's kind of CPU."""
        import tvm

        if self.kind == "opencl":
            return tvm.target.Target({"kind": "opencl"}, host="llvm")
        facts = {"kind": "cuda", "arch": self.arch, "max_num_threads": 1024}
        return tvm.target.Target(facts, host="llvm")


def gpu_target(name: str) -> GpuTarget:
    """The target of a name.

    Args:
        name: a compute capability such as "sm_90", or "opencl".

    Raises:
        ArgumentError: the name is unknown.
    """
    if name == "opencl":
        return GpuTarget(name, "opencl", "")
    if name not in GPU_ARCHITECTURES:
        raise ArgumentError(f"target: expected one of {', '.join(GPU_ARCHITECTURES)}, got {name!r}")
    return GpuTarget(name, "cuda", name)


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
        return CpuTarget(mcpu, mcpu, 128, 32)
    features = codegen.llvm_get_cpu_features(tvm.target.Target({"kind": "llvm", "mcpu": mcpu}))
    if "avx512f" in features:
        return CpuTarget(mcpu, mcpu, 512, 32)
    return CpuTarget(mcpu, mcpu, 256 if "avx2" in features else 128, 16)
