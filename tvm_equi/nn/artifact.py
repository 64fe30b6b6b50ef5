"""A compiled graph: a torch module with its kernels, which a folder can hold.

In: a planned graph, parameters and compiled kernels, or a folder that has them. Out: an `Artifact`.
It is loaded where no compiler is. Refused: folders that are no artifact, damaged, of a newer schema
or for another CPU.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from tvm_equi import __version__
from tvm_equi.artifact.cpu import check_cpu, required_features
from tvm_equi.artifact.manifest import read_manifest, write_folder
from tvm_equi.errors import ArtifactError
from tvm_equi.graph import TensorProductGraph, from_json, to_json
from tvm_equi.graph.dtypes import graph_dtype
from tvm_equi.graph.types import DType
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.runtime.kernel_plans import planned_kernel
from tvm_equi.runtime.kernels import install
from tvm_equi.runtime.library import load_function
from tvm_equi.schedule.targets import gpu_target, is_gpu, split_target


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """A kernel of an artifact.

    Args:
        plan: that names it.
        library: the path of its code.
        target: that it was compiled for.
    """

    plan: str
    library: Path
    target: str


class Artifact(GraphModule):
    """A compiled graph: call it like a torch module, save it, load it.

    Args:
        graph: planned.
        parameters: values by name.
        kernels: that were compiled ahead of time.
        target: the names of what they were compiled for, with commas between.
        derivatives: the highest order that they cover.
    """

    def __init__(
        self,
        graph: TensorProductGraph,
        parameters: Mapping[str, torch.Tensor],
        kernels: Sequence[CompiledKernel],
        target: str,
        derivatives: int,
    ) -> None:
        super().__init__(graph, parameters)
        self.kernels = tuple(kernels)
        self.target = target
        self.derivatives = derivatives

    def install(self) -> None:
        """Makes this process run the artifact's libraries; those for the CPU are loaded at once.

        Raises:
            ArtifactError: a library cannot be loaded.
        """
        for kernel in self.kernels:
            program = planned_kernel(kernel.plan)
            if is_gpu(kernel.target):
                gpus = gpu_target(kernel.target).architectures
                install(program, self.dtype, kernel.library, gpus)
            else:
                load_function(kernel.library)  # now, so that the folder may go later
                install(program, self.dtype, kernel.library)

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
        for kernel in self.kernels:
            kind = "cuda/" if is_gpu(kernel.target) else ""
            name = f"kernels/{kind}{planned_kernel(kernel.plan).key()[:32]}.so"
            try:
                files[name] = kernel.library.read_bytes()
            except OSError as error:
                raise ArtifactError(
                    f"save: {kernel.library}: expected a compiled library, got {error.strerror}; "
                    "compile again"
                ) from error
            kernels.append({"plan": kernel.plan, "library": name, "target": kernel.target})
        arrays = {name: value.detach().cpu().numpy() for name, value in self.named_parameters()}
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
            "features": required_features(split_target(self.target)[0] or "x86-64-v2"),
            "dtype": self.dtype,
            "derivatives": self.derivatives,
            "inputs": {name: str(types[name]) for name in self.graph.inputs},
            "outputs": {name: str(types[name]) for name in self.graph.outputs},
            "kernels": kernels,
        }
        write_folder(path, fields, files)
        return path


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
        kernels = [
            CompiledKernel(
                entry["plan"], path / entry["library"], entry.get("target", manifest["target"])
            )
            for entry in manifest["kernels"]
        ]
        listed = [entry["library"] for entry in manifest["kernels"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{where}: expected the files of an artifact, got: {error}") from error
    unlisted = sorted(set(listed) - manifest["files"].keys())
    if unlisted:
        raise ArtifactError(f"{where}: files: expected a checksum for {unlisted[0]}, got none")
    artifact = Artifact(graph, parameters, kernels, manifest["target"], manifest["derivatives"])
    artifact.install()
    return artifact


def _version(package: str) -> str:
    """The installed version of a package, "none" where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
