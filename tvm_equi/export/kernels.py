"""The kernels of exported programs, for those who run them without Python.

In: an exported program, or plans. Out: a model file (`.tvmeq`) with the plans and their kernels,
compiled. Refused: dtypes that no kernel has, unknown targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.export import ExportedProgram

from tvm_equi.artifact.parallel import build_all
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.runtime.compiled import CompiledKernel, Library
from tvm_equi.runtime.kernel_plans import kernel_plans, planned_kernel
from tvm_equi.runtime.kernels import DTYPES
from tvm_equi.runtime.model_file import Content, described, save_model
from tvm_equi.schedule.targets import HOST, is_gpu, target_list

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
    plans: Sequence[UsedPlan], target: str | Sequence[str] | None = None
) -> Content:
    """What a model file needs to have for some plans.

    Args:
        plans: one or more.
        target: "host" (default), or one or several x86-64 levels.

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
    kernels: list[CompiledKernel] = []
    for dtype in sorted({used.dtype for used in plans}):
        parts = [part for used in plans if used.dtype == dtype for part in kernel_plans(used.plan)]
        needed = list({(each := planned_kernel(part)).key(): each for part in parts}.values())
        for name in targets:
            entries = build_all(needed, dtype, name)
            kernels += [
                CompiledKernel(kernel.key(), dtype, name, Library.of(entry.library.read_bytes()))
                for kernel, entry in zip(needed, entries, strict=True)
            ]
    return Content(
        dtype=plans[0].dtype,
        derivatives=0,
        targets=tuple(described(name) for name in targets),
        kernels=tuple(kernels),
        plans=tuple(dict.fromkeys(used.plan for used in plans)),
    )


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
