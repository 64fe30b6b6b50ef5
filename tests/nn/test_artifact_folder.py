"""Folders of versions before model files: loaded for ever, refused where damaged."""

import hashlib
import io
import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.artifact_folder import write_folder
from tests.graphs import two_layers
from tvm_equi.artifact.cpu import required_features
from tvm_equi.compiler import compile
from tvm_equi.errors import ArtifactError
from tvm_equi.graph import to_json
from tvm_equi.nn.artifact import Artifact, load
from tvm_equi.nn.artifact_folder import read_folder
from tvm_equi.nn.graph_compare import random_inputs
from tvm_equi.runtime.kernel_plans import kernel_plans, planned_kernel
from tvm_equi.schedule.targets import is_gpu


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    torch.manual_seed(0)
    return compile(two_layers(), ["host", "sm_90", "sm_80"], derivatives=0)


@pytest.fixture
def folder(artifact: Artifact, tmp_path: Path) -> Path:
    """What version 0.1 wrote for the artifact."""
    files = {"graph.json": to_json(artifact.graph, indent=1).encode()}
    names = {
        planned_kernel(text).key(): text
        for plan in artifact.content.plans
        for text in kernel_plans(plan)
    }
    kernels = []
    for kernel in artifact.kernels:
        kind = "cuda/" if is_gpu(kernel.target) else ""
        name = f"kernels/{kind}{kernel.key[:32]}.so"
        files[name] = kernel.library.data
        kernels.append({"plan": names[kernel.key], "library": name, "target": kernel.target})
    buffer = io.BytesIO()
    arrays = {name: value.detach().numpy() for name, value in artifact.named_parameters()}
    np.savez(buffer, allow_pickle=False, **arrays)
    files["parameters.npz"] = buffer.getvalue()
    types = artifact.graph.types
    fields = {
        "versions": {"tvm_equi": "0.1.0", "apache-tvm": "0.27.0.post1", "torch": "2.13.0"},
        "target": artifact.target,
        "machine": platform.machine(),
        "features": required_features("host"),
        "dtype": artifact.dtype,
        "derivatives": artifact.derivatives,
        "inputs": {name: str(types[name]) for name in artifact.graph.inputs},
        "outputs": {name: str(types[name]) for name in artifact.graph.outputs},
        "kernels": kernels,
    }
    write_folder(tmp_path / "artifact", fields, files)
    return tmp_path / "artifact"


def test_loads_and_is_saved_as_a_file(artifact: Artifact, folder: Path, tmp_path: Path) -> None:
    loaded = load(folder)
    assert loaded.content.targets == artifact.content.targets
    assert loaded.kernels == artifact.kernels
    assert sorted(loaded.content.plans) == sorted(artifact.content.plans)
    assert loaded.content.versions["tvm_equi"] == "0.1.0"
    inputs = random_inputs(artifact, 6, seed=1)
    assert torch.equal(loaded(**inputs), artifact(**inputs))
    again = load(loaded.save(tmp_path / "model.tvmeq"))
    assert torch.equal(again(**inputs), artifact(**inputs))
    assert again.content.versions == loaded.content.versions


def test_is_not_replaced_by_a_file(artifact: Artifact, folder: Path) -> None:
    with pytest.raises(ArtifactError, match="save: path: expected a file to write, got the folder"):
        artifact.save(folder)
    load(folder)


def test_entries_without_a_target(folder: Path) -> None:
    """Those of the first folders, which had one target."""
    kernels = json.loads((folder / "manifest.json").read_text())["kernels"]
    for entry in kernels:
        del entry["target"]
    edit(folder, kernels=kernels, target="host")
    assert {kernel.target for kernel in read_folder(folder).kernels} == {"host"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: next((p / "kernels").glob("*.so")).unlink(), "expected a file, got No such"),
        (lambda p: (p / "graph.json").write_text("{}"), "graph.json: expected"),
        (lambda p: edit(p, machine="riscv64"), "target: expected one for x86_64, got host (riscv"),
        (lambda p: edit(p, tvm_equi_artifact=9), "tvm_equi_artifact: expected 1, got 9; update"),
        (lambda p: edit(p, kernels=[{"plan": "x"}]), "expected the files of an artifact, got"),
        (lambda p: edit(p, kernels=["plan"]), "expected the files of an artifact, got"),
        (lambda p: edit(p, target="sparc"), "expected the files of an artifact, got: target: "),
        (
            lambda p: edit(p, kernels=[{"plan": "x", "library": "/tmp/evil.so"}]),
            "files: expected a checksum for /tmp/evil.so, got none",
        ),
    ],
)
def test_damaged(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(ArtifactError) as error:
        load(folder)
    assert str(error.value).startswith(f"load: {folder}: ")
    assert message in str(error.value)


def edit(path: Path, **changes: object) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


def test_pickled_parameters_are_refused(folder: Path) -> None:
    file = folder / "parameters.npz"
    np.savez(file, **{"z.weight": np.array([print], dtype=object)}, allow_pickle=True)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    data = file.read_bytes()
    files["parameters.npz"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    edit(folder, files=files)
    with pytest.raises(ArtifactError, match="expected the files of an artifact, got: Object"):
        load(folder)
