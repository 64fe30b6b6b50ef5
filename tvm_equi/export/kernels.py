"""The kernels of exported programs, for those who run them without Python.

In: an exported program, or plans. Out: a model file (`.tvmeq`) with the plans and their kernels,
compiled. Refused: dtypes that no kernel has, unknown targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.export import ExportedProgram

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.parallel import build_all
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.runtime.compiled import CompiledKernel, Library
from tvm_equi.runtime.kernel_plans import kernel_plans, planned_kernel
from tvm_equi.runtime.kernels import DTYPES
from tvm_equi.runtime.model_file import Content, described, save_model
from tvm_equi.schedule.targets import HOST, is_gpu, target_list

Progress = Callable[[int, int], None]
"""Called with (kernels done, kernels in all) as they are compiled."""

OPERATORS = ("tvm_equi::run", "tvm_equi::convolve")


class UsedPlan(NamedTuple):
    """A plan that a program calls.

    Args:
        plan: its text.
        dtype: "float32" or "float64".
    """

    plan: str
    dtype: str


def program_plans(program: ExportedProgram) -> list[UsedPlan]:
    """The plans that a program calls, each once.

    Args:
        program: exported.

    Raises:
        ArgumentTypeError: values of a dtype that the CPU's kernels do not have.
    """
    found: dict[UsedPlan, None] = {}
    for node in program.graph.nodes:
        if not isinstance(node.target, torch._ops.OpOverload) or node.target.name() not in (
            *OPERATORS,
            *(f"{name}.default" for name in OPERATORS),
        ):
            continue
        dtype = node.args[0][0].meta["val"].dtype
        if dtype not in DTYPES:
            raise ArgumentTypeError(
                f"export: {node.name}: expected float32 or float64, got {dtype}; cast the model"
            )
        found[UsedPlan(node.args[-1], DTYPES[dtype])] = None
    return list(found)


def compile_kernels(
    plans: Sequence[UsedPlan],
    target: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Content:
    """What a model file needs to have for some plans.

    Args:
        plans: one or more.
        target: "host" (default), or one or several x86-64 levels.
        progress: called as kernels of each dtype are compiled.

    Raises:
        ArgumentError: an unknown target, one for a GPU, or no plans.
        ArtifactError: the compiler is missing or fails.
    """
    if not plans:
        raise ArgumentError(
            "export: expected a program that calls tvm_equi::run or tvm_equi::convolve, got one "
            "without; accelerate or compile the model first"
        )
    targets = cpu_targets(target)
    by_dtype: dict[str, list[str]] = {}
    for used in sorted(plans, key=lambda used: used.dtype):
        by_dtype.setdefault(used.dtype, []).append(used.plan)
    kernels: list[CompiledKernel] = []
    for dtype, some in by_dtype.items():
        kernels += build_kernels(some, dtype, targets, progress)
    return Content(
        dtype=plans[0].dtype,
        derivatives=0,
        targets=tuple(described(name) for name in targets),
        kernels=tuple(kernels),
        plans=tuple(dict.fromkeys(used.plan for used in plans)),
    )


def build_kernels(
    plans: Sequence[str],
    dtype: str,
    targets: Sequence[str],
    progress: Progress | None = None,
) -> list[CompiledKernel]:
    """Every kernel of some plans, each once, for every target.

    Args:
        plans: of kernels and convolutions.
        dtype: of their values.
        targets: names of CPUs, or of GPUs such as "sm_80,sm_90".
        progress: called as kernels are compiled.

    Raises:
        ArtifactError: the compiler is missing or fails.
    """
    needed = distinct_kernels(plans)
    compiled: list[CompiledKernel] = []
    for target in targets:
        entries = build_all(
            [kernel for _, kernel in needed],
            dtype,
            target,
            _counter(progress, len(compiled), len(needed) * len(targets)),
        )
        compiled += [
            CompiledKernel(kernel.key(), dtype, target, Library.of(entry.library.read_bytes()))
            for (_, kernel), entry in zip(needed, entries, strict=True)
        ]
    return compiled


def distinct_kernels(plans: Sequence[str]) -> list[tuple[str, Kernel]]:
    """(plan, kernel) of every kernel of some plans, each once.

    Args:
        plans: of kernels and convolutions.
    """
    parts = [part for plan in plans for part in kernel_plans(plan)]
    by_key = {(kernel := planned_kernel(part)).key(): (part, kernel) for part in reversed(parts)}
    return list(reversed(by_key.values()))


def _counter(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    """Tells how many kernels are done, some of which were done before."""

    def count(done: int) -> None:
        if progress is not None:
            progress(before + done, total)

    return count


def cpu_targets(target: str | Sequence[str] | None) -> list[str]:
    """Names of CPUs.

    Args:
        target: one, several, or None for the host.

    Raises:
        ArgumentError: an unknown target, or one for a GPU.
    """
    names = target_list(HOST if target is None else target)
    for name in names:
        if is_gpu(name):
            raise ArgumentError(
                f"export: target: expected host or an x86-64 level, got {name!r}: the operators in "
                "C++ have no kernels for GPUs"
            )
    return names


def save_kernels(
    path: str | Path, plans: Sequence[UsedPlan], target: str | Sequence[str] | None = None
) -> Path:
    """Writes a model file that has some plans and their kernels.

    Args:
        path: of the file; by custom it ends in ".tvmeq".
        plans: one or more.
        target: see `compile_kernels`.

    Returns:
        The path.

    Raises:
        ArgumentError: an unknown target, one for a GPU, or no plans.
        ArtifactError: the compiler is missing or fails, or the file cannot be written.
    """
    return save_model(path, compile_kernels(plans, target))
