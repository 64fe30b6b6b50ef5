"""Artifacts: saved, loaded without a compiler, refused where damaged."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import e3nn
import numpy as np
import pytest
import torch

from tests.graphs import convolution
from tvm_equi.compiler import compile, verify
from tvm_equi.errors import ArtifactError
from tvm_equi.nn.artifact import Artifact, CompiledKernel, load
from tvm_equi.nn.graph_compare import random_inputs

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    torch.manual_seed(0)
    return compile(convolution(), dtype="float64")


def test_saved_and_loaded(artifact: Artifact, tmp_path: Path) -> None:
    path = artifact.save(tmp_path / "artifact")
    again = load(path)
    assert again.graph == artifact.graph
    assert (again.target, again.derivatives) == (artifact.target, artifact.derivatives)
    inputs = random_inputs(artifact, 6, seed=1)
    assert torch.equal(again(**inputs), artifact(**inputs))
    assert [k.plan for k in again.kernels] == [k.plan for k in artifact.kernels]
    assert {file.name for file in path.iterdir()} == {
        "manifest.json",
        "graph.json",
        "parameters.npz",
        "kernels",
    }
    again.save(path)  # over itself
    verify(load(path))


def test_a_training_step_of_a_loaded_artifact_needs_no_compiler(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = artifact.save(tmp_path / "artifact")
    code = f"""
import sys, torch, tvm_equi
from tvm_equi.nn.graph_compare import random_inputs
artifact = tvm_equi.load({str(path)!r})
inputs = random_inputs(artifact, 6, seed=1)
inputs["vectors"].requires_grad_()
energy = artifact(**inputs)
(forces,) = torch.autograd.grad(energy.sum(), inputs["vectors"], create_graph=True)
(forces.square().sum() + energy.square().sum()).backward()
assert "tvm" not in sys.modules
print(float(energy).hex())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            "PATH": "/usr/bin",
            "TVM_EQUI_CACHE_DIR": str(tmp_path / "empty"),
            "HOME": str(tmp_path),
            # e3nn 0.4 loads its constants with pickle.
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1" if e3nn.__version__ < "0.5" else "",
        },
    )
    assert done.returncode == 0, done.stderr
    expected = float(artifact(**random_inputs(artifact, 6, seed=1)).detach())
    assert float.fromhex(done.stdout.strip()) == expected
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: next((p / "kernels").iterdir()).unlink(), "expected a file, got No such file"),
        (lambda p: (p / "graph.json").write_text("{}"), "graph.json: expected"),
        (lambda p: edit(p, machine="riscv64"), "machine: expected riscv64, got"),
        (lambda p: edit(p, tvm_equi_artifact=9), "tvm_equi_artifact: expected 1, got 9; update"),
        (lambda p: edit(p, kernels=[{"plan": "x"}]), "expected the files of an artifact, got"),
        (
            lambda p: edit(p, kernels=[{"plan": "x", "library": "/tmp/evil.so"}]),
            "files: expected a checksum for /tmp/evil.so, got none",
        ),
    ],
)
def test_damaged(
    artifact: Artifact, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    path = artifact.save(tmp_path / "artifact")
    damage(path)
    with pytest.raises(ArtifactError) as error:
        load(path)
    assert str(error.value).startswith(f"load: {path}: ")
    assert message in str(error.value)


def edit(path: Path, **changes: object) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


def test_pickled_parameters_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    path = artifact.save(tmp_path / "artifact")
    file = path / "parameters.npz"
    np.savez(file, **{"z.weight": np.array([print], dtype=object)}, allow_pickle=True)
    manifest = json.loads((path / "manifest.json").read_text())
    data = file.read_bytes()
    manifest["files"]["parameters.npz"] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }
    edit(path, **manifest)
    with pytest.raises(ArtifactError, match="expected the files of an artifact, got: Object"):
        load(path)


def test_library_that_is_gone(artifact: Artifact, tmp_path: Path) -> None:
    parameters = dict(artifact.named_parameters())
    kernels = [CompiledKernel(artifact.kernels[0].plan, tmp_path / "gone.so", "host")]
    broken = Artifact(artifact.graph, parameters, kernels, "host", 2)
    with pytest.raises(ArtifactError, match=r"gone\.so: expected a compiled library, got No such"):
        broken.save(tmp_path / "artifact")
    with pytest.raises(ArtifactError, match=r"load: gone\.so: expected a kernel library, got"):
        broken.install()


def test_folder_may_go_after_loading(artifact: Artifact, tmp_path: Path) -> None:
    loaded = load(artifact.save(tmp_path / "artifact"))
    shutil.rmtree(tmp_path / "artifact")
    verify(loaded, rows=5)
