"""From a graph or module to an artifact: plan, compile ahead of time, save, load, verify.

In: a graph, or a module that is one. Out: an `Artifact`, a torch module whose kernels are compiled,
derivatives included; it can be saved to a folder, and loaded from it where no compiler is. `verify`
compares with e3nn.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from tvm_equi import __version__
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.cpu import check_cpu, required_features
from tvm_equi.artifact.manifest import read_manifest, write_folder
from tvm_equi.artifact.parallel import build_all
from tvm_equi.errors import ArgumentError, ArtifactError, GraphError, unknown_choice
from tvm_equi.frontend.e3nn import import_module
from tvm_equi.graph import DEFAULT_PIPELINE, TensorProductGraph, from_json, to_json
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Input, Parameter
from tvm_equi.graph.types import DTYPES, DType, ValueType
from tvm_equi.nn.graph_compare import Report, compare
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.nn.graph_trace import needed_plans
from tvm_equi.runtime.convolution import kernels
from tvm_equi.runtime.library import load_function
from tvm_equi.runtime.plans import resolve
from tvm_equi.runtime.torch_op import install

Progress = Callable[[int, int], None]
"""Called with (kernels done, kernels in all) as they are compiled."""

HOST = "host"


class Artifact(GraphModule):
    """A compiled graph: call it like a torch module, save it, load it.

    Args:
        graph: planned.
        parameters: values by name.
        kernels: (plan, library) of each kernel that was compiled ahead of time.
        target: that they were compiled for.
        derivatives: the highest order that they cover.
    """

    def __init__(
        self,
        graph: TensorProductGraph,
        parameters: Mapping[str, torch.Tensor],
        kernels: Sequence[tuple[str, Path]],
        target: str,
        derivatives: int,
    ) -> None:
        super().__init__(graph, parameters)
        self.kernels = tuple(kernels)
        self.target = target
        self.derivatives = derivatives

    def install(self) -> None:
        """Makes this process run the artifact's libraries, which are loaded at once.

        Raises:
            ArtifactError: a library cannot be loaded.
        """
        for plan, library in self.kernels:
            load_function(library)  # now, so that the folder may go later
            install(planned_kernel(plan), self.dtype, library)

    @property
    def dtype(self) -> DType:
        """Of inputs and parameters."""
        return graph_dtype(self.graph)

    def save(self, path: str | Path) -> Path:
        """Writes a folder that `tvm_equi.load` reads; an artifact there is replaced in one step.

        Args:
            path: of the folder.

        Returns:
            The path.

        Raises:
            ArtifactError: the folder cannot be written, or a library is gone.
        """
        path = Path(path)
        files: dict[str, bytes] = {}
        kernels = []
        for plan, library in self.kernels:
            name = f"kernels/{planned_kernel(plan).key()[:32]}.so"
            try:
                files[name] = library.read_bytes()
            except OSError as error:
                raise ArtifactError(
                    f"save: {library}: expected a compiled library, got {error.strerror}; "
                    "compile again"
                ) from error
            kernels.append({"plan": plan, "library": name})
        arrays = {name: value.detach().numpy() for name, value in self.named_parameters()}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        files |= {"graph.json": to_json(self.graph, indent=1).encode()}
        files |= {"parameters.npz": buffer.getvalue()}
        types = self.graph.types
        fields = {
            "versions": {"tvm_equi": __version__}
            | {name: _version(name) for name in ("apache-tvm", "torch")},
            "target": self.target,
            "machine": platform.machine(),
            "features": required_features(self.target),
            "dtype": self.dtype,
            "derivatives": self.derivatives,
            "inputs": {name: str(types[name]) for name in self.graph.inputs},
            "outputs": {name: str(types[name]) for name in self.graph.outputs},
            "kernels": kernels,
        }
        write_folder(path, fields, files)
        return path


def compile(
    graph_or_module: TensorProductGraph | torch.nn.Module,
    target: str | None = None,
    *,
    dtype: DType | None = None,
    derivatives: int = 2,
    wrt: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Plans a graph and compiles every kernel that it and its derivatives need.

    Args:
        graph_or_module: a graph, a `GraphModule`, or an e3nn or tvm_equi module.
        target: "host" (default), or an x86-64 level by name; an artifact for
            another target is to be saved, and runs host kernels if it is called here.
        dtype: "float32" or "float64"; by default that of the graph or module.
        derivatives: the highest order to compile for: 0 for values, 1 for forces, 2 for training on
            forces. Derivatives beyond are compiled when they are first needed.
        wrt: inputs some of which require a gradient in every call; by default any may, or none.
        progress: called as kernels are compiled.

    Returns:
        The artifact.

    Raises:
        ArgumentError: an unknown target, dtype or input.
        ArtifactError: the compiler is missing or fails.
        UnsupportedError: a module that is no graph.

    Example:
        >>> import tvm_equi
        >>> artifact = tvm_equi.compile(tvm_equi.Linear("4x0e+4x1o", "2x1o"), derivatives=0)
        >>> artifact.graph.outputs
        ('out',)
    """
    graph, parameters = as_graph(graph_or_module, dtype)
    if derivatives < 0:
        raise ArgumentError(f"compile: derivatives: expected 0 or more, got {derivatives}")
    planned = DEFAULT_PIPELINE(graph)
    chosen = target or HOST
    kept = {name: value for name, value in parameters.items() if name in planned.parameters}
    module = GraphModule(planned, kept)
    plans = needed_plans(module, derivatives, wrt)
    parts = [part for plan in plans for part in kernel_plans(plan)]
    by_key = {(kernel := planned_kernel(part)).key(): (part, kernel) for part in reversed(parts)}
    needed = list(reversed(by_key.values()))
    entries = build_all(
        [kernel for _, kernel in needed],
        graph_dtype(planned),
        chosen,
        lambda done: progress(done, len(needed)) if progress is not None else None,
    )
    kernels = [(plan, entry.library) for (plan, _), entry in zip(needed, entries, strict=True)]
    artifact = Artifact(planned, dict(module.named_parameters()), kernels, chosen, derivatives)
    if chosen == HOST:
        artifact.install()
    return artifact


def load(path: str | Path) -> Artifact:
    """The artifact in a folder; needs no compiler.

    Args:
        path: of the folder.

    Returns:
        An artifact that computes what the saved one did.

    Raises:
        ArtifactError: no artifact, one that is damaged or of a newer schema, or one for another
            CPU.
    """
    path = Path(path)
    where = f"load: {path}"
    manifest = read_manifest(path)
    check_cpu(where, manifest["machine"], manifest["features"])
    try:
        graph = from_json((path / "graph.json").read_text(encoding="utf-8"))
        stored = io.BytesIO((path / "parameters.npz").read_bytes())
        with np.load(stored, allow_pickle=False) as data:
            parameters = {name: torch.from_numpy(data[name]) for name in data.files}
        kernels = [(entry["plan"], path / entry["library"]) for entry in manifest["kernels"]]
        listed = [entry["library"] for entry in manifest["kernels"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{where}: expected the files of an artifact, got: {error}") from error
    unlisted = sorted(set(listed) - manifest["files"].keys())
    if unlisted:
        raise ArtifactError(f"{where}: files: expected a checksum for {unlisted[0]}, got none")
    artifact = Artifact(graph, parameters, kernels, manifest["target"], manifest["derivatives"])
    artifact.install()
    return artifact


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


def with_dtype(graph: TensorProductGraph, dtype: DType) -> TensorProductGraph:
    """The graph with inputs and parameters of a dtype.

    Args:
        graph: to convert.
        dtype: of every value.
    """
    nodes = []
    for node in graph.nodes:
        match node.operation:
            case Input(type=ValueType() as kind):
                nodes.append(Node(node.name, Input(replace(kind, dtype=dtype))))
            case Parameter(size=size):
                nodes.append(Node(node.name, Parameter(size, dtype)))
            case _:
                nodes.append(node)
    return TensorProductGraph(tuple(nodes), graph.outputs)


def graph_dtype(graph: TensorProductGraph) -> DType:
    """The one dtype of a graph.

    Args:
        graph: to look at.

    Raises:
        GraphError: its values have several.
    """
    found = {kind.dtype for kind in graph.types.values() if isinstance(kind, ValueType)}
    if len(found) != 1:
        raise GraphError(f"graph: dtype: expected one for all values, got {sorted(found)}")
    return found.pop()


def _version(package: str) -> str:
    """The installed version of a package, "none" where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def kernel_plans(plan: str) -> list[str]:
    """Texts that name the kernels of a plan: itself, or with "/" and a number for each of several.

    Args:
        plan: of a kernel, or of a convolution, which may run in several passes.
    """
    count = len(kernels(plan))
    return [plan] if count == 1 else [f"{plan}/{number}" for number in range(count)]


def planned_kernel(text: str) -> Kernel:
    """The kernel that a text of `kernel_plans` names.

    Args:
        text: a plan, and maybe "/" and a number.

    Raises:
        ArgumentError: the text is no plan, or the number that of no kernel.
    """
    plan, slash, number = text.partition("/")
    found = kernels(plan)
    if not slash:
        return resolve(plan)
    if not number.isdecimal() or int(number) >= len(found):
        raise ArgumentError(
            f"plan: expected the number of a kernel below {len(found)}, got {number!r}"
        )
    return found[int(number)]


def describe_plan(plan: str) -> str:
    """What a kernel is, in a few words.

    Args:
        plan: of the kernel.
    """
    kernel = planned_kernel(plan)
    order = ("value", "gradient", "second gradient")[min(2, plan.count(" "))]
    paths = sum(len(kernel.contractions[step.contraction].paths) for step in kernel.steps)
    return f"{order} kernel, {paths} paths"
