"""The whole way: plan, compile, verify."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from e3nn import o3

import tvm_equi
from tests.graphs import convolution, two_layers
from tvm_equi import compiler
from tvm_equi.artifact.codegen import tuned
from tvm_equi.compiler import as_graph, compile, tune, verify
from tvm_equi.deploy.container import read
from tvm_equi.errors import ArgumentError, ArtifactError, UnsupportedError
from tvm_equi.graph import GraphBuilder, Pipeline
from tvm_equi.graph.dtypes import with_dtype
from tvm_equi.graph.fuse import Fuse, regions
from tvm_equi.graph.prune import Prune
from tvm_equi.nn.artifact import Artifact, load
from tvm_equi.nn.graph_compare import random_inputs
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.runtime import devices
from tvm_equi.runtime.kernel_plans import kernel_plans
from tvm_equi.schedule.records import VARIABLE
from tvm_equi.schedule.targets import host_family
from tvm_equi.tuning.pool import Options


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
        lambda: tvm_equi.SymmetricContraction("2x0e+2x1o", "2x0e+2x1o", 3),
    ],
)
def test_modules(make: Callable[[], torch.nn.Module]) -> None:
    module = make()
    compiled = compile(module, derivatives=0)
    inputs = random_inputs(compiled, 4, seed=2)
    torch.testing.assert_close(compiled(**inputs), module(*inputs.values()), atol=1e-5, rtol=1e-5)
    assert verify(compiled, module).forward < 1e-5


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
            "target: expected host, x86-64-v2, x86-64-v3, x86-64-v4, cuda or a GPU such as sm_75, ",
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
            "compile: module: expected a graph, or a TensorProduct, Linear, SphericalHarmonics or "
            "SymmetricContraction of e3nn or tvm_equi, got ReLU",
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


def test_cpu_and_gpus_in_one_artifact(artifact: Artifact, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    compiled = compile(
        convolution(),
        ["host", "sm_90", "sm_80"],
        dtype="float64",
        derivatives=0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert compiled.target == "host,sm_80,sm_90"
    assert seen[-1] == (len(compiled.kernels), len(compiled.kernels))
    path = compiled.save(tmp_path / "both.tvmeq")
    per_target = Counter(kernel.target for kernel in compiled.kernels)
    assert per_target == {"host": len(compiled.kernels) // 2, "sm_80,sm_90": per_target["host"]}
    loaded = load(path)
    inputs = random_inputs(loaded, 6, seed=1)
    torch.testing.assert_close(loaded(**inputs), compiled(**inputs))
    assert loaded.target == compiled.target


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("target", ["cuda", "host,cuda", ["host", "cuda"], ["host,cuda"]])
def test_no_gpu_to_compile_for(target: str | list[str]) -> None:
    with pytest.raises(ArgumentError, match="target: cuda: expected a GPU in this machine, got"):
        compile(convolution(), target)


def test_dtype_of_a_module() -> None:
    graph = with_dtype(convolution(), "float64")
    assert as_graph(GraphModule(graph), "float32")[0] == convolution()


def test_verify_takes_graphs() -> None:
    assert verify(convolution(), rows=5).tolerance == 1e-4


def test_other_target(artifact: Artifact, tmp_path: Path) -> None:
    compiled = compile(convolution(), "x86-64-v2", derivatives=0)
    (target,) = read(compiled.save(tmp_path / "v2.tvmeq")).manifest.targets
    assert (target.name, target.machine) == ("x86-64-v2", "x86_64")
    assert "avx2" not in target.features


def test_several_cpus_in_one_artifact(artifact: Artifact, tmp_path: Path) -> None:
    names = ["x86-64-v4", "x86-64-v2", "x86-64-v3"]
    compiled = compile(convolution(), ",".join([*names, "x86-64-v2"]), derivatives=0)
    assert compiled.target.split(",") == names
    assert len(compiled.kernels) == 3 * len({kernel.key for kernel in compiled.kernels})
    if not host_family():
        return
    loaded = load(compiled.save(tmp_path / "fat.tvmeq"))
    inputs = random_inputs(loaded, 6, seed=1)
    expected = artifact(**{name: _as(value, torch.float64) for name, value in inputs.items()})
    for target in loaded.content.targets:  # each that this CPU runs gives the same numbers
        if target.name > host_family():
            continue
        content = replace(
            loaded.content,
            targets=(target,),
            kernels=tuple(each for each in loaded.kernels if each.target == target.name),
        )
        single = Artifact(loaded.graph, dict(artifact.float().named_parameters()), content)
        single.install()
        torch.testing.assert_close(single(**inputs).double(), expected, atol=1e-5, rtol=1e-5)


def _as(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return value.to(dtype) if value.is_floating_point() else value


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
    assert any(len(kernel_plans(plan)) == 2 for plan in compiled.content.plans)  # two passes
    inputs = random_inputs(unfused, 7, seed=1)
    expected = training(unfused, inputs)
    again = load(compiled.save(tmp_path / "model.tvmeq"))
    for artifact in (compiled, again):
        names = [name for name, _ in artifact.named_parameters()]
        assert names == [name for name, _ in unfused.named_parameters()]
        found = training(artifact.requires_grad_(), inputs)
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)


@pytest.mark.skipif(not host_family(), reason="needs an x86-64 CPU")
def test_tune_then_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = two_layers()
    seen: list[int] = []
    options = Options(seconds=0.01, race_seconds=0.01, race_processes=2)
    outcomes = tune(
        graph,
        trials=20,
        db=tmp_path,
        derivatives=0,
        rows=64,
        options=options,
        watch=lambda outcomes: seen.append(sum(len(each.seconds) for each in outcomes)),
    )
    compiled = compile(graph, derivatives=0)
    assert len(outcomes) == len(compiled.kernels) > 1
    assert sum(len(each.seconds) for each in outcomes) == seen[-1] == 20
    assert seen == sorted(seen)
    assert all(each.task.dtype == "float64" and each.task.rows == 64 for each in outcomes)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for outcome in outcomes:
        record = tuned(outcome.task.kernel, "float64", "host")[0]
        assert outcome.chosen in (None, record.point)
    assert verify(compile(graph, derivatives=0), rows=9).forward < 1e-11


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"trials": 0}, ArgumentError, "tune: trials: expected 1 or more, got 0"),
        ({"target": "sparc"}, ArgumentError, "target: expected"),
        ({"target": ""}, ArgumentError, "target: expected"),
        ({"target": "x86-64-v2,sm_90"}, ArgumentError, "target: expected one CPU or GPU"),
        ({"target": "sm_80,sm_90"}, ArgumentError, "expected one CPU or GPU, got sm_80, sm_90"),
        ({"dtype": "int8"}, ArgumentError, "dtype"),
    ],
)
def test_what_tune_refuses(
    arguments: dict[str, object], error: type[Exception], text: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=text):
        tune(convolution(), db=tmp_path, **arguments)  # type: ignore[arg-type]


def test_targets_that_cannot_be_measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "host_family", lambda: "x86-64-v2")
    refused = pytest.raises(UnsupportedError, match="one that this machine runs, got x86-64-v3")
    with refused:
        compiler.tuning_target("x86-64-v3", has_workers=False)
    assert compiler.tuning_target("x86-64-v3", has_workers=True) == "x86-64-v3"
    assert compiler.tuning_target("sm_90", has_workers=True) == "sm_90"
    assert compiler.tuning_target(None, has_workers=True) == host_family()  # not this very CPU
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    for module in (devices, compiler):
        monkeypatch.setattr(module, "local_architectures", lambda: ("sm_90",))
    assert compiler.tuning_target("cuda", has_workers=False) == "sm_90"
    assert compiler.tuning_target("sm_80", has_workers=False) == "sm_80"  # its PTX runs there
    with pytest.raises(UnsupportedError, match="one that this machine runs, got sm_100"):
        compiler.tuning_target("sm_100", has_workers=False)


def test_kernels_of_one_structure_are_tuned_once(tmp_path: Path) -> None:
    build = GraphBuilder()
    x = build.input("x", "4x0e+4x1o", rows="node")
    for number, norm in enumerate(("element", "path")):
        build.linear(f"z{number}", x, "3x0e+3x1o", path_normalization=norm)
    graph = build.graph("z0", "z1")
    options = Options(seconds=0.01, race_seconds=0.01, race_processes=2)
    outcomes = tune(graph, trials=2, db=tmp_path, derivatives=0, rows=64, options=options)
    assert len(compile(graph, derivatives=0).kernels) >= len(outcomes) == 1
