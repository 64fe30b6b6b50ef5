"""Artifacts that versions before model files wrote: a folder with files, schema 1.

In: a folder. Out: a graph, parameters, and what was compiled, as a model file has them; every file
was checked. Folders are read for as long as there are any, and no longer written.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from tvm_equi.artifact.manifest import read_manifest
from tvm_equi.deploy.manifest import Target
from tvm_equi.errors import ArtifactError
from tvm_equi.runtime.compiled import CompiledKernel, Library
from tvm_equi.runtime.kernel_plans import planned_kernel
from tvm_equi.runtime.model_file import Content, described
from tvm_equi.schedule.targets import split_target


def read_folder(path: Path) -> Content:
    """What a folder holds.

    Args:
        path: of the folder.

    Raises:
        ArtifactError: no artifact, or one that is damaged or of a newer schema.
    """
    where = f"load: {path}"
    manifest = read_manifest(path)
    listed = manifest["files"]
    try:
        graph = (path / "graph.json").read_text(encoding="utf-8")
        stored = io.BytesIO((path / "parameters.npz").read_bytes())
        with np.load(stored, allow_pickle=False) as data:
            parameters = {name: torch.from_numpy(data[name]) for name in data.files}
        cpu, gpus = split_target(manifest["target"])
        targets = (
            [] if cpu is None else [Target(cpu, manifest["machine"], tuple(manifest["features"]))]
        )
        targets += [] if gpus is None else [described(gpus)]
        kernels: list[CompiledKernel] = []
        plans: dict[str, None] = {}
        for entry in manifest["kernels"]:
            name, target = entry["library"], entry.get("target", manifest["target"])
            if name not in listed:
                raise ArtifactError(f"{where}: files: expected a checksum for {name}, got none")
            library = Library.of((path / name).read_bytes())
            key = planned_kernel(entry["plan"]).key()
            kernels.append(CompiledKernel(key, manifest["dtype"], target, library))
            plans[entry["plan"].partition("/")[0]] = None
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{where}: expected the files of an artifact, got: {error}") from error
    return Content(
        manifest["dtype"],
        manifest["derivatives"],
        tuple(targets),
        tuple(kernels),
        tuple(plans),
        parameters=parameters,
        graph=graph,
        versions=manifest["versions"],
    )
