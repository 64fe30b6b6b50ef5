"""The whole way: compile, save, load, verify."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from e3nn import o3

import tvm_equi
from tvm_equi import compiler
from tvm_equi.compiler import (
    Artifact,
    as_graph,
    compile,
    describe_plan,
    graph_dtype,
    kernel_plans,
    load,
    planned_kernel,
    verify,
    with_dtype,
)
from tvm_equi.errors import ArgumentError, ArtifactError, GraphError, UnsupportedError
from tvm_equi.graph import GraphBuilder, Pipeline, TensorProductGraph
from tvm_equi.graph.fuse import Fuse, regions
from tvm_equi.graph.instructions import channelwise
from tvm_equi.graph.prune import Prune
from tvm_equi.nn.graph_compare import random_inputs
from tvm_equi.nn.graph_module import GraphModule

ROOT = Path(__file__).parent.parent


def convolution() -> TensorProductGraph:
    """One interaction layer, part of it unread."""
    build = GraphBuilder()
    x = build.input("x", "2x0e+2x1o", rows="node")
    vectors = build.input("vectors", "1o", rows="edge")
    senders = build.index("senders", rows="edge", into="node")
    receivers = build.index("receivers", rows="edge", into="node")
    y = build.spherical_harmonics("y", vectors, (0, 1))
    basis = build.radial_basis("basis", build.norm("length", vectors), 4, cutoff=6.0)
    out, instructions = channelwise("2x0e+2x1o", "0e+1o", "0e+1o")
    w = build.mlp("fc", basis, [4, 2 * len(instructions)])
    sent = build.gather("sent", x, senders)
    messages = build.tensor_product("tp", sent, y, out, instructions, weights=w)
    total = build.scatter_sum("total", messages, receivers, factor=0.5)
    return build.graph(build.sum("energy", build.linear("z", total, "1x0e")))


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    torch.manual_seed(0)
    return compile(convolution(), dtype="float64")


def test_compiled_graph_is_right(artifact: Artifact) -> None:
    report = verify(artifact, rows=9)
    assert max(report.forward, report.backward, report.double_backward) < 1e-11
    assert artifact.dtype == "float64"
    assert artifact.graph.types["total"].irreps == "2x0e+2x0e"  # pruned
    assert artifact.graph.node("total").kind == "Convolution"  # fused
    assert (artifact.target, artifact.derivatives) == ("host", 2)


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    compiled = compile(convolution(), derivatives=0, progress=lambda a, b: seen.append((a, b)))
    assert seen[-1] == (len(compiled.kernels), len(compiled.kernels))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(
    "make",
    [
        lambda: o3.FullyConnectedTensorProduct("2x0e+1o", "0e+1o", "2x1o"),
        lambda: tvm_equi.Linear("2x0e+2x1o", "2x1o+1x0e", biases=True),
        lambda: o3.SphericalHarmonics([0, 1, 2], True),
    ],
)
def test_modules(make: Callable[[], torch.nn.Module]) -> None:
    module = make()
    compiled = compile(module, derivatives=0)
    inputs = random_inputs(compiled, 4, seed=2)
    torch.testing.assert_close(compiled(**inputs), module(*inputs.values()), atol=1e-5, rtol=1e-5)
    assert verify(compiled, module).forward < 1e-5


def test_saved_and_loaded(artifact: Artifact, tmp_path: Path) -> None:
    path = artifact.save(tmp_path / "artifact")
    again = load(path)
    assert again.graph == artifact.graph
    assert (again.target, again.derivatives) == (artifact.target, artifact.derivatives)
    inputs = random_inputs(artifact, 6, seed=1)
    assert torch.equal(again(**inputs), artifact(**inputs))
    assert [plan for plan, _ in again.kernels] == [plan for plan, _ in artifact.kernels]
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
    kernels = [(artifact.kernels[0][0], tmp_path / "gone.so")]
    broken = Artifact(artifact.graph, parameters, kernels, "host", 2)
    with pytest.raises(ArtifactError, match=r"gone\.so: expected a compiled library, got No such"):
        broken.save(tmp_path / "artifact")
    with pytest.raises(ArtifactError, match=r"load: gone\.so: expected a kernel library, got"):
        broken.install()


def test_folder_may_go_after_loading(artifact: Artifact, tmp_path: Path) -> None:
    loaded = load(artifact.save(tmp_path / "artifact"))
    shutil.rmtree(tmp_path / "artifact")
    verify(loaded, rows=5)


def test_under_torch_compile_and_export(artifact: Artifact) -> None:
    inputs = tuple(random_inputs(artifact, 6, seed=1).values())
    expected = artifact(*inputs)
    compiled = torch.compile(artifact, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), expected)
    exported = torch.export.export(artifact, inputs)
    torch.testing.assert_close(exported.module()(*inputs), expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: compile(convolution(), "x86-64-v9"),
            ArgumentError,
            "build: target: expected one of host, x86-64-v2, x86-64-v3, x86-64-v4, got 'x86-64-v9'",
        ),
        (
            lambda: compile(convolution(), dtype="float16"),
            ArgumentError,
            "compile: dtype: expected one of 'float32', 'float64', got 'float16'",
        ),
        (
            lambda: compile(convolution(), derivatives=-1),
            ArgumentError,
            "compile: derivatives: expected 0 or more, got -1",
        ),
        (
            lambda: compile(convolution(), wrt=["vector"]),
            ArgumentError,
            "compile: wrt: expected one of 'vectors', 'x', got 'vector'; did you mean 'vectors'?",
        ),
        (
            lambda: compile(torch.nn.ReLU()),
            UnsupportedError,
            "compile: module: expected a graph, or a TensorProduct, Linear or SphericalHarmonics "
            "of e3nn or tvm_equi, got ReLU",
        ),
    ],
)
def test_refusals(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_verify_finds_wrong_numbers(artifact: Artifact) -> None:
    wrong = GraphModule(artifact.graph, dict(artifact.named_parameters()))
    with torch.no_grad():
        wrong.get_parameter("z.weight").mul_(1.01)
    with pytest.raises(ArtifactError, match="verify: forward: expected a relative error"):
        verify(artifact, wrong)


def test_verify_takes_graphs() -> None:
    assert verify(convolution(), rows=5).tolerance == 1e-4


def test_other_target(artifact: Artifact, tmp_path: Path) -> None:
    compiled = compile(convolution(), "x86-64-v2", derivatives=0)
    path = compiled.save(tmp_path / "v2")
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["target"] == "x86-64-v2"
    assert "avx2" not in manifest["features"]


def test_dtypes() -> None:
    graph = with_dtype(convolution(), "float64")
    assert graph_dtype(graph) == "float64"
    assert with_dtype(graph, "float32") == convolution()
    assert as_graph(GraphModule(graph), "float32")[0] == convolution()
    build = GraphBuilder()
    build.input("x", "0e", rows="node")
    build.dtype = "float64"
    build.input("y", "0e", rows="node")
    with pytest.raises(GraphError, match="graph: dtype: expected one for all values, got"):
        graph_dtype(build.graph("x", "y"))


def test_plans_are_described(artifact: Artifact) -> None:
    found = {describe_plan(plan).split(" kernel")[0] for plan, _ in artifact.kernels}
    assert found == {"value", "gradient", "second gradient"}


def two_layers() -> TensorProductGraph:
    """Two interaction layers, so that gradients go to senders and to receivers."""
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e+2x1o", rows="node")
    vectors = build.input("vectors", "1o", rows="edge")
    i, j = (build.index(name, rows="edge", into="node") for name in ("senders", "receivers"))
    y = build.spherical_harmonics("y", vectors, (0, 1, 2))
    basis = build.radial_basis("basis", build.norm("length", vectors), 4, cutoff=6.0)
    for layer in range(2):
        out, paths = channelwise(build.value(x).irreps, "0e+1o+2e", "0e+1o")
        w = build.mlp(f"{layer}.fc", basis, [4, 5, 2 * len(paths)])
        sent = build.gather(f"{layer}.sent", x, i)
        build.tensor_product(f"{layer}.tp", sent, y, out, paths, weights=w)
        total = build.scatter_sum(f"{layer}.total", f"{layer}.tp", j, factor=0.5)
        x = build.linear(f"{layer}.mix", total, "2x0e+2x1o")
    return build.graph(build.sum("energy", build.linear("z", x, "1x0e")))


def training(module: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The energy, the forces, and gradients of a loss on both."""
    given = {
        name: value.clone().requires_grad_(value.is_floating_point())
        for name, value in inputs.items()
    }
    leaves = [value for value in given.values() if value.requires_grad]
    energy = module(**given)
    first = torch.autograd.grad(energy.sum(), leaves, create_graph=True)
    loss = energy.square().sum() + torch.stack([g.square().sum() for g in first]).sum()
    second = torch.autograd.grad(loss, [*leaves, *module.parameters()])
    return [energy.detach(), *(grad.detach() for grad in first), *second]


@pytest.mark.parametrize("inside", [False, True])
def test_fused_artifact_is_the_unfused_graph(
    inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    graph = two_layers()
    unfused = GraphModule(Prune()(graph))
    pipeline = Pipeline((Prune(), Fuse(radial=inside, harmonics=inside)))
    monkeypatch.setattr(compiler, "DEFAULT_PIPELINE", pipeline)
    module = GraphModule(graph, dict(unfused.named_parameters()))
    compiled = compile(module)
    assert [region.linear for region in regions(compiled.graph)] == ["0.mix", "1.mix"]
    assert any("/" in plan for plan, _ in compiled.kernels)  # two passes
    inputs = random_inputs(unfused, 7, seed=1)
    expected = training(unfused, inputs)
    again = load(compiled.save(tmp_path / "artifact"))
    for artifact in (compiled, again):
        names = [name for name, _ in artifact.named_parameters()]
        assert names == [name for name, _ in unfused.named_parameters()]
        found = training(artifact.requires_grad_(), inputs)
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)


def test_kernels_of_a_plan() -> None:
    plans = [plan for plan, _ in compile(two_layers()).kernels]
    split = next(plan for plan in plans if "/" in plan)
    plan = split.partition("/")[0]
    assert split in kernel_plans(plan)
    assert len(kernel_plans(plan)) == 2
    assert planned_kernel(split).key() != planned_kernel(plan).key()
    with pytest.raises(ArgumentError, match="plan: expected the number of a kernel below 2, got"):
        planned_kernel(f"{plan}/2")
