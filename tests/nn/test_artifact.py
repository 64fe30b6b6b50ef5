"""Artifacts: saved, loaded without a compiler, refused where damaged."""

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import e3nn
import pytest
import torch

from tests.graphs import convolution
from tvm_equi.compiler import compile, verify
from tvm_equi.deploy import targets
from tvm_equi.deploy.container import read
from tvm_equi.deploy.manifest import Target, Value
from tvm_equi.deploy.targets import LEVELS
from tvm_equi.errors import ArtifactError
from tvm_equi.graph import to_json
from tvm_equi.nn.artifact import Artifact, load
from tvm_equi.nn.graph_compare import random_inputs
from tvm_equi.runtime.compiled import CompiledProgram, Library
from tvm_equi.runtime.model_file import described, save_model

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    torch.manual_seed(0)
    return compile(convolution(), dtype="float64")


def test_saved_and_loaded(artifact: Artifact, tmp_path: Path) -> None:
    path = artifact.save(tmp_path / "model.tvmeq")
    again = load(path)
    assert again.graph == artifact.graph
    assert (
        (again.target, again.derivatives) == (artifact.target, artifact.derivatives) == ("host", 2)
    )
    inputs = random_inputs(artifact, 6, seed=1)
    assert torch.equal(again(**inputs), artifact(**inputs))
    assert again.kernels == artifact.kernels
    assert set(read(path).sections) == {
        "graph.json",
        "parameters.safetensors",
        *(f"kernels/host/{kernel.library.sha256[:32]}.so" for kernel in artifact.kernels),
    }
    before = path.read_bytes()
    again.save(path)  # over itself
    assert path.read_bytes() == before
    verify(load(path))


def test_parameters_are_saved_as_they_are(artifact: Artifact, tmp_path: Path) -> None:
    changed = copy.deepcopy(artifact)
    with torch.no_grad():
        changed.get_parameter("z.weight").mul_(2)
    path = changed.save(tmp_path / "model.tvmeq")
    loaded = load(path)
    inputs = random_inputs(artifact, 6, seed=1)
    assert torch.equal(loaded(**inputs), 2 * artifact(**inputs))
    with torch.no_grad():
        loaded.get_parameter("z.weight").mul_(2)  # memory of its own, not the file's
    assert torch.equal(load(path).get_parameter("z.weight"), changed.get_parameter("z.weight"))


def test_a_training_step_of_a_loaded_artifact_needs_no_compiler(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = artifact.save(tmp_path / "model.tvmeq")
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


def rewritten(artifact: Artifact, path: Path, **changes: object) -> Path:
    """A model file of some content that the artifact does not have."""
    parameters = dict(artifact.named_parameters())
    content = replace(artifact.content, parameters=parameters, graph=to_json(artifact.graph))
    return save_model(path, replace(content, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graph": None}, "program: expected one of none, got 'main'"),
        ({"graph": "{}"}, "expected a graph to run, got: graph: "),
        ({"dtype": "float32"}, "dtype: expected float64, of the graph, got float32"),
        (
            {"parameters": {"fc.layer0.weight": torch.zeros(40), "z.weight": torch.zeros(3)}},
            "expected a graph to run, got: graph: parameters: ",
        ),
        (
            {"parameters": {"z.weight": torch.zeros(4)}},
            "parameters: expected fc.layer0.weight, got",
        ),
        (
            {"targets": (Target("host", "riscv64"),)},
            "target: expected one for x86_64, got host (riscv64); compile it with target=",
        ),
        (
            {"targets": (Target("host", "x86_64", ("amx_tile", "avx2", "mmx9")),)},
            "target: expected one that this CPU runs, got host; for host this CPU lacks",
        ),
    ],
)
def test_refusals(
    artifact: Artifact, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = rewritten(artifact, tmp_path / "model.tvmeq", **changes)
    with pytest.raises(ArtifactError) as error:
        load(path)
    assert str(error.value).startswith(f"load: {path}: ")
    assert message in str(error.value)


def test_code_that_is_none(artifact: Artifact, tmp_path: Path) -> None:
    kernels = tuple(
        replace(kernel, library=Library.of(b"no library")) for kernel in artifact.kernels
    )
    path = rewritten(artifact, tmp_path / "model.tvmeq", kernels=kernels)
    with pytest.raises(ArtifactError, match="expected a library with the function tvm_equi_kernel"):
        load(path)


def test_best_target_is_installed(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[tuple[str, tuple[str, ...]]] = []
    monkeypatch.setattr(
        "tvm_equi.nn.artifact.install",
        lambda kernel, architectures: installed.append((kernel.target, architectures)),
    )
    names = ("x86-64-v2", "x86-64-v3", "sm_80,sm_90")
    kernel = artifact.kernels[0]
    content = replace(
        artifact.content,
        targets=tuple(map(described, names)),
        kernels=tuple(replace(kernel, target=name) for name in names),
    )
    fat = Artifact(artifact.graph, dict(artifact.named_parameters()), content)
    assert fat.target == "x86-64-v2,x86-64-v3,sm_80,sm_90"
    for features, wanted in ((LEVELS["x86-64-v3"], names[1]), (LEVELS["x86-64-v2"], names[0])):
        monkeypatch.setattr(targets, "host_features", lambda f=features: frozenset(f.split()))
        installed.clear()
        fat.install()
        assert installed == [(wanted, ()), (names[2], ("sm_80", "sm_90"))]
    monkeypatch.setattr(targets, "host_features", lambda: frozenset({"sse2"}))
    with pytest.raises(
        ArtifactError, match="for x86-64-v2 this CPU lacks cx16, lahf_lm, pni, popcnt"
    ):
        fat.install()


def test_programs_are_kept_with_their_constants(artifact: Artifact, tmp_path: Path) -> None:
    code = {"host": Library.of(b"program")}
    values = (Value("x", "float64", ("nodes", 8)),)
    names = ("z.weight", "constant")
    program = CompiledProgram("main", values, values, names, code, {"host": ()})
    constants = {"constant": torch.arange(3)}
    content = replace(artifact.content, programs=(program,), parameters=constants)
    parameters = dict(artifact.named_parameters())
    path = Artifact(artifact.graph, parameters, content).save(tmp_path / "model.tvmeq")
    loaded = load(path)
    assert loaded.programs == (program,)
    assert loaded.content.parameters.keys() == {"constant"}
    assert dict(loaded.named_parameters()).keys() == parameters.keys()
    assert loaded.save(tmp_path / "again.tvmeq").read_bytes() == path.read_bytes()
    with pytest.raises(ArtifactError, match=r"content: expected fc\.layer0\.weight of the graph"):
        Artifact(artifact.graph, parameters, replace(content, parameters=parameters))


def test_file_may_go_after_loading(artifact: Artifact, tmp_path: Path) -> None:
    path = artifact.save(tmp_path / "model.tvmeq")
    loaded = load(path)
    path.unlink()
    verify(loaded, rows=5)
    assert [file.name for file in tmp_path.iterdir()] == []


def test_an_artifact_is_copied_and_compared(artifact: Artifact) -> None:
    again = copy.deepcopy(artifact)
    assert again.content == artifact.content
    assert "sha256" in repr(again.content)
    assert len(repr(again.content)) < 100_000  # no code
