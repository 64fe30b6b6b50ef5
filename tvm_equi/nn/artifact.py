"""A compiled graph: a torch module with its kernels, which a file can hold.

In: a planned graph, parameters and compiled kernels, or a model file that has them. Out: an
`Artifact`. It is loaded where no compiler is. Refused: files that are no models, damaged, of a
newer version or for other machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tvm_equi.deploy.container import read
from tvm_equi.deploy.targets import best_cpu_target
from tvm_equi.errors import ArtifactError, TvmEquiError
from tvm_equi.graph import TensorProductGraph, from_json, to_json
from tvm_equi.graph.dtypes import graph_dtype
from tvm_equi.graph.types import DType
from tvm_equi.nn.artifact_folder import read_folder
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.runtime.compiled import CompiledKernel, CompiledProgram
from tvm_equi.runtime.kernels import install
from tvm_equi.runtime.model_file import Content, read_content, save_model


class Artifact(GraphModule):
    """A compiled graph: call it like a torch module, save it, load it.

    Args:
        graph: planned.
        parameters: values by name.
        content: kernels, plans, programs and targets; parameters that programs have beside the
            graph's.

    Attributes:
        content: as it was given.

    Raises:
        ArtifactError: the content has a parameter that the graph has too.
    """

    def __init__(
        self,
        graph: TensorProductGraph,
        parameters: Mapping[str, torch.Tensor],
        content: Content,
    ) -> None:
        super().__init__(graph, parameters)
        twice = sorted(content.parameters.keys() & set(graph.parameters))
        if twice:
            raise ArtifactError(f"artifact: content: expected {twice[0]} of the graph alone")
        self.content = content

    @property
    def kernels(self) -> tuple[CompiledKernel, ...]:
        """Compiled ahead of time, each for every target."""
        return self.content.kernels

    @property
    def programs(self) -> tuple[CompiledProgram, ...]:
        """That run the whole graph without torch."""
        return self.content.programs

    @property
    def target(self) -> str:
        """The names of what it was compiled for, with commas between."""
        return ",".join(target.name for target in self.content.targets)

    @property
    def derivatives(self) -> int:
        """The highest order that its kernels cover."""
        return self.content.derivatives

    @property
    def dtype(self) -> DType:
        """Of inputs and parameters."""
        return graph_dtype(self.graph)

    def install(self) -> None:
        """Makes this process run the artifact's kernels, those of the best target for this CPU.

        Raises:
            ArtifactError: a library cannot be loaded, or there are CPUs among the targets and this
                one is none of them.
        """
        targets = {target.name: target for target in self.content.targets}
        has_cpu = any(not target.is_gpu for target in targets.values())
        best = best_cpu_target("install", self.content.targets).name if has_cpu else None
        for kernel in self.kernels:
            target = targets[kernel.target]
            if target.is_gpu or kernel.target == best:
                install(kernel, target.architectures)

    def save(self, path: str | Path) -> Path:
        """Writes a file that `tvm_equi.load` reads; one that is there is replaced in one step.

        Args:
            path: of the file; by custom it ends in ".tvmeq".

        Returns:
            The path.

        Raises:
            ArtifactError: the file cannot be written, or something else is there.
        """
        parameters = dict(self.content.parameters) | dict(self.named_parameters())
        graph = to_json(self.graph, indent=1)
        return save_model(path, replace(self.content, parameters=parameters, graph=graph))


def load(path: str | Path) -> Artifact:
    """The artifact in a file, or in a folder that earlier versions wrote; needs no compiler.

    Args:
        path: of the file.

    Returns:
        An artifact that computes what the saved one did, with the kernels of the best target that
        this machine runs.

    Raises:
        ArtifactError: no artifact, one that is damaged or of a newer version, or one for other
            machines.
    """
    path = Path(path)
    where = f"load: {path}"
    content = read_folder(path) if path.is_dir() else read_content(read(path))
    if content.graph is None:
        raise ArtifactError(
            f"{where}: graph: expected one to run in torch, got a model without; run its programs "
            "with tvm_equi.deploy.load"
        )
    if any(not target.is_gpu for target in content.targets):
        best_cpu_target(where, content.targets)  # before anything is made of the graph
    try:
        graph = from_json(content.graph)
        if graph_dtype(graph) != content.dtype:
            raise ArtifactError(
                f"{where}: dtype: expected {graph_dtype(graph)}, of the graph, got {content.dtype}"
            )
        names = set(graph.parameters)
        parameters = {name: value for name, value in content.parameters.items() if name in names}
        others = {name: value for name, value in content.parameters.items() if name not in names}
        missing = sorted(names - parameters.keys())
        if missing:
            raise ArtifactError(f"{where}: parameters: expected {missing[0]}, got none")
        artifact = Artifact(graph, parameters, replace(content, parameters=others, graph=None))
    except ArtifactError:
        raise
    except TvmEquiError as error:
        raise ArtifactError(f"{where}: expected a graph to run, got: {error}") from error
    artifact.install()
    return artifact
