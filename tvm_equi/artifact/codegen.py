"""Scheduled TensorIR -> shared library, through the cache.

In: a kernel, a dtype and a target's name. Out: a cache entry that holds the library, for a CPU or
for GPUs. TVM is imported only when something must be compiled: the key is made of the kernel, the
target, this CPU's features, and the versions and sources of whatever shapes the code.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact import checks, cuda, embed
from tvm_equi.artifact.cache import CacheEntry, fetch
from tvm_equi.errors import ArgumentError, ArtifactError, ScheduleError
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.schedule import records
from tvm_equi.schedule.records import Record, Structure
from tvm_equi.schedule.targets import (
    HOST,
    CpuTarget,
    GpuTarget,
    cpu_target,
    family,
    gpu_target,
    is_gpu,
    target_names,
)

if TYPE_CHECKING:
    from tvm_equi.schedule.space import Point

PASS_CONFIG = {
    # Lowering binds every common subexpression itself; TVM's search for them took 83 percent of
    # compile time.
    "tirx.disable_cse_tir": True,
    # It would merge registers of vectors with arrays of scalars, and then refuse the result.
    "tirx.disable_storage_rewrite": True,
}
DISABLED_PASSES = ["s_tir.CompactBufferAllocation"]
"""Buffers are as small as they can be; looking for smaller ones took 98 percent of the compile time
of GPU kernels, and a tenth of that of CPU kernels."""
IDLE_PASSES = [
    "s_tir.InjectPermutedLayout",
    "s_tir.InjectVirtualThread",
    "s_tir.InsertHoistIfThenElse",
    "tirx.RemoveNoOp",
]
"""They find nothing to do in kernels, and take a tenth of the compile time to find that out."""

IDLE_CPU_PASSES = [*IDLE_PASSES, "s_tir.RenormalizeSplitPattern", "tirx.StmtSimplify"]
"""LLVM makes the same library of a kernel without them."""

DTYPES = ("float32", "float64")
GPU_DTYPES = (*DTYPES, "float16", "bfloat16")
"""On GPUs values may be stored in half precision; sums are kept in float32."""

PINS = {"apache-tvm": "0.27.0", "apache-tvm-ffi": "0.1.14"}
"""Releases that the compiler is tested with; a post-release of these is as good."""


def build(kernel: Kernel, dtype: str, target: str = HOST) -> CacheEntry:
    """The compiled library of a kernel, from the cache where it is there.

    Args:
        kernel: the program.
        dtype: "float32" or "float64"; for GPUs also "float16" or "bfloat16".
        target: "host", an x86-64 level, or GPUs such as "sm_80,sm_90".

    Raises:
        ArgumentError: an unknown dtype or target.
        ArtifactError: a compiler is missing or fails.
    """
    known = GPU_DTYPES if is_gpu(target) else DTYPES
    if dtype not in known:
        raise ArgumentError(f"build: dtype: expected one of {', '.join(known)}, got {dtype!r}")
    if is_gpu(target):
        target = gpu_target(target).name
    elif target not in target_names():
        raise ArgumentError(
            f"build: target: expected one of {', '.join(sorted(target_names()))}, got {target!r}"
        )

    found = tuned(kernel, dtype, target)

    def compile_into(folder: Path) -> dict[str, object]:
        decided = _decided(kernel, dtype, target, found)
        _export(_executable(decided), target, folder / "kernel.so")
        return {
            "kernel": kernel.key(),
            "dtype": dtype,
            "target": target,
            "cpu": host_cpu() if target == HOST else target,
            "tvm": _version("apache-tvm"),
            "decisions": {} if decided.record is None else decided.record.point,
        }

    return fetch(_key(kernel, dtype, target, found), compile_into)


def cache_key(kernel: Kernel, dtype: str, target: str) -> str:
    """sha256 of everything that the library depends on."""
    return _key(kernel, dtype, target, tuned(kernel, dtype, target))


def _key(kernel: Kernel, dtype: str, target: str, found: Sequence[Record]) -> str:
    parts = [
        kernel.key(),
        dtype,
        target,
        host_cpu() if target == HOST else "",
        cuda.digest() if is_gpu(target) else "",
        _version("apache-tvm"),
        sources(),
        [record.point for record in found],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def tensorir(kernel: Kernel, dtype: str, target: str = HOST) -> str:
    """The scheduled TensorIR of a kernel, as TVMScript."""
    decided = _decided(kernel, dtype, target, tuned(kernel, dtype, target))
    return str(decided.scheduled().script())


def assembly(kernel: Kernel, dtype: str, target: str = HOST) -> str:
    """The assembly of a kernel; for a GPU its CUDA source."""
    decided = _decided(kernel, dtype, target, tuned(kernel, dtype, target))
    module = _executable(decided).mod
    if is_gpu(target):
        return str(module.imports[0].inspect_source())
    return str(module.inspect_source("asm"))


def compile_point(kernel: Kernel, dtype: str, target: str, point: Point, path: Path) -> None:
    """Writes the library of a point of the design space, whatever records there are.

    Args:
        kernel: the program.
        dtype: of its values.
        target: its name.
        point: decisions in place of the rule's.
        path: of the library.

    Raises:
        ScheduleError: the point is not legal.
        ArtifactError: a compiler fails.
    """
    _export(executable(kernel, dtype, target, point), target, path)


def executable(kernel: Kernel, dtype: str, target: str, point: Point) -> Any:
    """TVM's executable of a point of the design space.

    Args:
        kernel: the program.
        dtype: of its values.
        target: its name.
        point: decisions in place of the rule's.

    Raises:
        ScheduleError: the point is not legal.
        ArtifactError: TVM is missing.
    """
    from tvm_equi.schedule import space

    resolved = _resolved(target)
    decisions = space.apply_point(kernel, dtype, resolved, point)
    return _executable(_Decided(kernel, dtype, resolved, decisions, None))


def _export(executable: Any, target: str, path: Path) -> None:
    """Writes a library."""
    pack = None
    if is_gpu(target):
        source = executable.mod.imports[0].inspect_source()
        pack = embed.packer(source, cuda.fatbin(source, gpu_target(target).architectures))
    try:
        executable.mod.export_library(str(path), fpack_imports=pack)
    except RuntimeError as error:
        raise ArtifactError(
            f"build: expected a working linker (gcc or clang) to link {path.name}, got: {error}"
        ) from error


def tuned(kernel: Kernel, dtype: str, target: str) -> list[Record]:
    """The fastest record for a kernel of each database, those that win first.

    Args:
        kernel: the program.
        dtype: of its values.
        target: its name.

    Raises:
        RecordError: a database is malformed.
    """
    return records.find(Structure(kernel.structure(), dtype, family(target)))


@dataclass(frozen=True, slots=True)
class _Decided:
    """A kernel and how it is to be scheduled.

    Args:
        kernel: the program.
        dtype: of its values.
        target: the CPU or GPUs.
        decisions: taken.
        record: that says so; None for the rule.
    """

    kernel: Kernel
    dtype: str
    target: CpuTarget | GpuTarget
    decisions: Decisions | GpuDecisions
    record: Record | None

    def scheduled(self) -> Any:
        """The scheduled IRModule."""
        from tvm_equi.schedule import cpu, gpu

        if isinstance(self.decisions, Decisions):
            return cpu.schedule(self.kernel, self.dtype, self.decisions)
        return gpu.schedule(self.kernel, self.dtype, self.decisions)


def _resolved(target: str) -> CpuTarget | GpuTarget:
    return gpu_target(target) if is_gpu(target) else cpu_target(target)


def _decided(kernel: Kernel, dtype: str, target: str, found: Sequence[Record]) -> _Decided:
    """The decisions of the first record that fits what can be decided now, or the rule's.

    A line for debugging says why the rule decides.
    """
    from tvm_equi.schedule import space

    resolved, problems = _resolved(target), []
    for record in found:
        try:
            decisions = space.apply_point(kernel, dtype, resolved, record.point)
        except ScheduleError as error:
            problems.append(f"stale {record.path}, line {record.line}: {error}")
        else:
            return _Decided(kernel, dtype, resolved, decisions, record)
    why = "; ".join(problems) or "no record"
    records.logger.debug("kernel %s, %s: the rule decides: %s", kernel.structure(), target, why)
    return _Decided(kernel, dtype, resolved, space.rule(kernel, dtype, resolved), None)


def _executable(decided: _Decided) -> Any:
    """TVM's executable of a kernel."""
    try:
        import tvm
    except ImportError as error:
        raise ArtifactError(
            "build: expected apache-tvm to compile a kernel that is in no cache or artifact, "
            f"got: {error}; pip install apache-tvm=={PINS['apache-tvm']}.post1"
        ) from error
    scheduled, target = decided.scheduled(), decided.target.tvm_target()
    idle = IDLE_PASSES if isinstance(decided.target, GpuTarget) else IDLE_CPU_PASSES
    disabled = [*DISABLED_PASSES, *idle]
    context = tvm.transform.PassContext(config=PASS_CONFIG, disabled_pass=disabled)
    with embed.uncompiled(), context:
        return tvm.compile(scheduled, target=target, tir_pipeline=checks.pipeline())


@lru_cache(maxsize=8)
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@lru_cache(maxsize=1)
def host_cpu() -> str:
    """A digest of this CPU's architecture, model and features."""
    facts = [platform.machine(), platform.system()]
    info = Path("/proc/cpuinfo")
    if info.exists():
        wanted = ("model name", "flags", "Features", "CPU part")
        lines = info.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        facts += [line for line in lines if line.startswith(wanted)]
    else:
        facts.append(platform.processor())
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def sources() -> str:
    """A digest of this package's code that turns kernels into libraries."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for folder in ("algebra", "lower", "schedule", "artifact"):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
