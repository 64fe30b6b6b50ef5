"""From a graph or module to an artifact: plan, compile ahead of time, verify.

In: a graph, or a module that is one. Out: an `Artifact`, a torch module whose kernels are compiled,
derivatives included, for a CPU, for GPUs or for both, and on request a program that runs where no
torch is. In: a captured model of any kind. Out: a `Program`. `tune` searches for faster schedules
of the same kernels, which `compile` then finds. `verify` compares with e3nn.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import torch

from tvm_equi.errors import ArgumentError, UnsupportedError, unknown_choice
from tvm_equi.export.capture import Captured, capture_graph
from tvm_equi.export.kernels import (
    Progress,
    build_kernels,
    compile_kernels,
    distinct_kernels,
    program_plans,
)
from tvm_equi.frontend.e3nn import import_module
from tvm_equi.graph import DEFAULT_PIPELINE, TensorProductGraph
from tvm_equi.graph.dtypes import graph_dtype, with_dtype
from tvm_equi.graph.types import DTYPES, DType
from tvm_equi.nn.artifact import Artifact
from tvm_equi.nn.graph_compare import Report, compare
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.nn.graph_trace import needed_plans
from tvm_equi.nn.program import Program
from tvm_equi.runtime.devices import local_architectures, runs_here
from tvm_equi.runtime.kernel_plans import describe_plan
from tvm_equi.runtime.model_file import Content, described
from tvm_equi.schedule.targets import (
    CUDA,
    HOST,
    family,
    is_gpu,
    split_target,
    target_list,
)

if TYPE_CHECKING:
    from tvm_equi.relax.program import Built
    from tvm_equi.tuning.pool import Options
    from tvm_equi.tuning.task import Outcome, Watch


@overload
def compile(
    model: Captured,
    target: str | Sequence[str] | None = None,
    *,
    progress: Progress | None = None,
) -> Program: ...


@overload
def compile(
    model: TensorProductGraph | torch.nn.Module,
    target: str | Sequence[str] | None = None,
    *,
    dtype: DType | None = None,
    derivatives: int = 2,
    wrt: Sequence[str] | None = None,
    gradients: Mapping[str, tuple[str, str]] | None = None,
    progress: Progress | None = None,
) -> Artifact: ...


def compile(
    model: TensorProductGraph | torch.nn.Module | Captured,
    target: str | Sequence[str] | None = None,
    *,
    dtype: DType | None = None,
    derivatives: int = 2,
    wrt: Sequence[str] | None = None,
    gradients: Mapping[str, tuple[str, str]] | None = None,
    progress: Progress | None = None,
) -> Artifact | Program:
    """Plans a graph and compiles every kernel that it and its derivatives need.

    Args:
        model: a graph, a `GraphModule`, or an e3nn or tvm_equi module; or any model of torch that
            was captured (`tvm_equi.export.capture`), for which options beside targets say nothing.
        target: "host" (default), or an x86-64 level by name; GPUs by architecture ("sm_80",
            "sm_90"), whether this machine has them or not, or "cuda" for those that it has; or
            several of these, of which `load` takes the best for its machine. An artifact without
            "host" is to be saved, and runs host kernels if it is called here.
        dtype: "float32" or "float64"; by default that of the graph or module.
        derivatives: the highest order to compile for: 0 for values, 1 for forces, 2 for training on
            forces. Derivatives beyond are compiled when they are first needed.
        wrt: inputs some of which require a gradient in every call; by default any may, or none.
        gradients: makes a program too, which C++, Python without torch and TVM run on CPUs: it
            gives the outputs, and for each name here the gradient of the sum of an output to an
            input; {"d_vectors": ("energy", "vectors")}, say, or {} for outputs alone.
        progress: called as kernels are compiled.

    Returns:
        The artifact; for a captured model a program.

    Raises:
        ArgumentError: an unknown target, dtype, input or output; a program for no CPU.
        ArtifactError: the compiler is missing or fails.
        UnsupportedError: a module that is no graph, or an operator that programs cannot have.

    Example:
        >>> import tvm_equi
        >>> artifact = tvm_equi.compile(tvm_equi.Linear("4x0e+4x1o", "2x1o"), derivatives=0)
        >>> artifact.graph.outputs
        ('out',)
    """
    targets = _targets(target or HOST)
    if isinstance(model, Captured):
        return _compile_captured(model, targets, progress)
    graph, parameters = as_graph(model, dtype)
    if derivatives < 0:
        raise ArgumentError(f"compile: derivatives: expected 0 or more, got {derivatives}")
    planned = DEFAULT_PIPELINE(graph)
    kept = {name: value for name, value in parameters.items() if name in planned.parameters}
    module = GraphModule(planned, kept)
    captured = None if gradients is None else capture_graph(module, gradients)
    plans = needed_plans(module, derivatives, wrt)
    compiled = build_kernels(plans, graph_dtype(planned), targets, progress)
    content = Content(
        graph_dtype(planned),
        derivatives,
        tuple(described(name) for name in targets),
        tuple(compiled),
        tuple(plans),
    )
    if captured is not None:
        program, values = _program(captured, targets)
        others = {name: value for name, value in values.items() if name not in planned.parameters}
        content = replace(content, programs=(program,), parameters=others)
    artifact = Artifact(planned, dict(module.named_parameters()), content)
    if HOST in targets or all(is_gpu(name) for name in targets):
        artifact.install()
    return artifact


def _compile_captured(
    captured: Captured, targets: Sequence[str], progress: Progress | None
) -> Program:
    """A captured model, and the kernels that it calls."""
    content = compile_kernels(program_plans(captured.program), targets, progress)
    program, parameters = _program(captured, targets)
    return Program(replace(content, programs=(program,), parameters=parameters))


def _program(captured: Captured, targets: Sequence[str]) -> Built:
    """A program for the CPUs among some targets, and its parameters.

    Raises:
        ArgumentError: there is no CPU among them.
    """
    from tvm_equi.relax.program import build_program

    cpus = [name for name in targets if not is_gpu(name)]
    if not cpus:
        raise ArgumentError(
            f"compile: target: expected a CPU for a program, got {', '.join(targets)}; add 'host' "
            "or an x86-64 level"
        )
    return build_program(captured, cpus)


def _targets(target: str | Sequence[str]) -> list[str]:
    """The targets to compile for, "cuda" resolved to the GPUs of this machine: CPUs, then GPUs.

    Raises:
        ArgumentError: an unknown target, or "cuda" where there is no GPU.
    """
    names = target_list(target)
    found = ",".join(",".join(local_architectures()) if name == CUDA else name for name in names)
    every = list(dict.fromkeys(found.split(",")))
    cpus = [name for name in every if not is_gpu(name)]
    gpus = [name for name in every if is_gpu(name)]
    # An unknown name counts as a CPU until it is split.
    split = [split_target([cpu, *gpus]) for cpu in cpus] or [split_target(gpus)]
    named = [cpu for cpu, _ in split if cpu is not None]
    return named + [gpu for _, gpu in split[:1] if gpu is not None]


def tune(
    graph_or_module: TensorProductGraph | torch.nn.Module,
    target: str | None = None,
    *,
    trials: int = 64,
    db: str | Path | None = None,
    dtype: DType | None = None,
    derivatives: int = 2,
    rows: int | None = None,
    seconds: float | None = None,
    options: Options | None = None,
    watch: Watch = lambda outcomes: None,
) -> list[Outcome]:
    """Searches for faster schedules of a graph's kernels, and keeps what beats the rule.

    Compiling looks the results up by structure, for any number of rows. A run that was stopped goes
    on where it was; one with more trials adds to it.

    Args:
        graph_or_module: as for `compile`.
        target: a CPU or GPU; "host" by default, and "cuda" for this machine's GPU. Another than
            this machine's needs workers.
        trials: candidates to measure in all: the rule of every kernel, then others, shared by the
            time that each kernel takes for a row.
        db: folder of databases; by default the user's own, which compiling searches. Set
            $TVM_EQUI_SCHEDULES to another folder for compiling to search it.
        dtype: as for `compile`.
        derivatives: as for `compile`.
        rows: at which kernels are timed, edges of a convolution; by default so many that operands
            fill 48 MiB.
        seconds: after which no more candidates are measured.
        options: how candidates are measured: threads, timeouts, a tracker of workers.
        watch: called with the outcomes as they change.

    Returns:
        An outcome for each kernel.

    Raises:
        ArgumentError: an unknown target or dtype, or fewer than one trial.
        RecordError: a database is malformed, in use, or cannot be written.
        TuningError: a package is missing, no worker answers, or the rule cannot be measured.
        UnsupportedError: a target that cannot be measured here.
    """
    from tvm_equi.schedule.records import user_folder
    from tvm_equi.tuning.database import opened
    from tvm_equi.tuning.pool import Options, Pool
    from tvm_equi.tuning.search import search
    from tvm_equi.tuning.task import Budget, Task

    options = options or Options()
    if trials < 1:
        raise ArgumentError(f"tune: trials: expected 1 or more, got {trials}")
    name = tuning_target(target, has_workers=options.tracker is not None)
    graph, parameters = as_graph(graph_or_module, dtype)
    planned = DEFAULT_PIPELINE(graph)
    kept = {key: value for key, value in parameters.items() if key in planned.parameters}
    kernels = distinct_kernels(needed_plans(GraphModule(planned, kept), derivatives, None))
    # Records are found by structure: kernels that differ in factors alone are one.
    kernels = list(
        {kernel.structure(): (plan, kernel) for plan, kernel in reversed(kernels)}.values()
    )
    tasks = [
        Task.of(f"{number} {describe_plan(plan)}", kernel, graph_dtype(planned), name, rows)
        for number, (plan, kernel) in enumerate(reversed(kernels), 1)
    ]
    deadline = None if seconds is None else time.monotonic() + seconds
    folder = user_folder() if db is None else Path(db)
    with opened(folder, family(name)) as database, Pool(options) as pool:
        return search(tasks, Budget(trials, deadline), database, pool, watch)


def tuning_target(target: str | None, *, has_workers: bool) -> str:
    """The name of the one CPU or GPU that a target for `tune` names.

    Args:
        target: as for `tune`.
        has_workers: whether workers measure, and not this machine.

    Raises:
        ArgumentError: an unknown target, or several.
        UnsupportedError: a target that cannot be measured here.
    """
    names = ",".join(_targets(HOST if target is None else target)).split(",")
    if len(names) != 1:
        raise ArgumentError(f"tune: target: expected one CPU or GPU, got {', '.join(names)}")
    (name,) = names
    if has_workers:
        name = family(name)  # this machine's own CPU may not be theirs
    if not family(name):
        raise UnsupportedError(f"tune: target: expected an x86-64 CPU, got {platform.machine()}")
    if not has_workers and not runs_here(name):
        raise UnsupportedError(
            f"tune: target: expected one that this machine runs, got {name}; measure on workers "
            "that do, with a tracker"
        )
    return name


def verify(
    module: TensorProductGraph | torch.nn.Module,
    reference: Callable[..., torch.Tensor] | None = None,
    *,
    rows: int = 32,
    seed: int = 0,
    tolerance: float | None = None,
) -> Report:
    """Compares a module with e3nn on random data: values, gradients, gradients of gradients.

    Args:
        module: an artifact, graph or module.
        reference: what it should compute, with the same arguments; e3nn's modules by default.
        rows: of each kind.
        seed: of the random data.
        tolerance: of relative errors; 1e-4 (float32) or 1e-10 (float64) by default.

    Returns:
        The errors.

    Raises:
        ArtifactError: an error is above the tolerance; says where.
    """
    if isinstance(module, GraphModule):
        return compare(module, reference, rows=rows, seed=seed, tolerance=tolerance)
    graph, parameters = as_graph(module, None)
    planned = DEFAULT_PIPELINE(graph)
    kept = {name: value for name, value in parameters.items() if name in planned.parameters}
    return compare(GraphModule(planned, kept), reference, rows=rows, seed=seed, tolerance=tolerance)


def as_graph(
    graph_or_module: TensorProductGraph | torch.nn.Module, dtype: str | None
) -> tuple[TensorProductGraph, dict[str, torch.Tensor]]:
    """The graph of what `compile` was given, in a dtype, and the values of its parameters.

    Args:
        graph_or_module: a graph or module.
        dtype: to convert to; None to keep the graph's.

    Raises:
        ArgumentError: an unknown dtype.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ArgumentError(unknown_choice("compile", "dtype", DTYPES, dtype))
    parameters: dict[str, torch.Tensor] = {}
    if isinstance(graph_or_module, TensorProductGraph):
        graph = graph_or_module
    elif isinstance(graph_or_module, GraphModule):
        graph, parameters = graph_or_module.graph, dict(graph_or_module.named_parameters())
    else:
        imported = import_module(graph_or_module)
        graph, parameters = imported.graph, imported.parameters
    return (graph if dtype is None else with_dtype(graph, dtype)), parameters
