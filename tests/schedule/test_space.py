"""The design space: the rule is in it, every choice gives the same values, bad points are told."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.kernels import kinds, linear, product
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import compile_point
from tvm_equi.deploy.runtime import use_threads
from tvm_equi.errors import ScheduleError
from tvm_equi.lower import streaming
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.runtime.library import load_function
from tvm_equi.schedule import space
from tvm_equi.schedule.targets import cpu_target, gpu_target
from tvm_equi.tuning.operands import make_case

KINDS = kinds()
HOST = cpu_target("host")


@pytest.mark.parametrize(
    "target", [cpu_target("x86-64-v3"), gpu_target("sm_80")], ids=["cpu", "gpu"]
)
@pytest.mark.parametrize("kernel", KINDS.values(), ids=KINDS)
def test_the_rule_is_a_legal_point(kernel: Kernel, target: object) -> None:
    rule = space.as_point(space.rule(kernel, "float32", target))  # type: ignore[arg-type]
    choices = space.choices(kernel, "float32", target)  # type: ignore[arg-type]
    assert len(choices) >= 4
    for choice in choices:
        assert rule[choice.name] in choice.values
        assert len(choice.values) > 1
    decisions = space.rule(kernel, "float32", target)  # type: ignore[arg-type]
    assert space.illegality(decisions, kernel, "float32", target) == ""  # type: ignore[arg-type]
    assert space.apply_point(kernel, "float32", target, rule) == decisions  # type: ignore[arg-type]


def _points(kernel: Kernel) -> list[dict[str, object]]:
    """Points that differ from the rule in one choice, and one in which all choices differ."""
    rule = space.as_point(space.rule(kernel, "float64", HOST))
    found: list[dict[str, object]] = []
    last: dict[str, object] = {}
    for choice in space.choices(kernel, "float64", HOST):
        others = [value for value in choice.values if value != rule[choice.name]]
        found += [{choice.name: others[0]}, {choice.name: others[-1]}]
        last[choice.name] = others[len(others) // 2]
    return [*found, last]


@pytest.mark.parametrize("name", KINDS)
def test_every_choice_gives_the_oracles_values(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "STREAM_BYTES", 1)
    kernel = KINDS[name]
    case = make_case(kernel, "float64", 277)
    start = len(case.inputs)
    use_threads(1)
    for number, point in enumerate(_points(kernel)):
        if not space.is_legal_point(kernel, "float64", HOST, point):
            continue
        path = tmp_path / f"{number}.so"
        compile_point(kernel, "float64", "host", point, path)
        tensors = [torch.tensor(array) for array in case.arguments]
        load_function(path)(*tensors)
        outputs = [tensor.numpy() for tensor in tensors[start : start + len(case.outputs)]]
        assert case.error(outputs, is_whole=True) < 1e-12, point


@pytest.mark.parametrize(
    ("point", "text"),
    [
        ({"lane": 8}, "expected decisions among .*'lane'"),
        ({"lanes": "8"}, "lanes: expected one like 16, got '8'"),
        ({"lanes": True}, "lanes: expected one like 16, got True"),
        ({"lanes": 12}, "lanes: expected a power of two"),
        ({"is_staged": 1}, "is_staged: expected one like True, got 1"),
    ],
)
def test_bad_points_are_told(point: dict[str, object], text: str) -> None:
    target = cpu_target("x86-64-v4")
    with pytest.raises(ScheduleError, match=text):
        space.apply_point(linear(), "float32", target, point)
    assert not space.is_legal_point(linear(), "float32", target, point)


def test_streaming_needs_x86() -> None:
    arm = replace(HOST, is_x86=False)
    with pytest.raises(ScheduleError, match="is_streamed: expected an x86-64 CPU"):
        space.apply_point(product(), "float32", arm, {"is_streamed": True})
    names = [choice.name for choice in space.choices(product(), "float32", arm)]
    assert "is_streamed" not in names


def test_gpu_points() -> None:
    target = gpu_target("sm_80")
    found = space.apply_point(linear(), "float32", target, {"matrix_tile": [32, 32, 8]})
    assert isinstance(found, GpuDecisions)
    assert found.matrix_tile == (32, 32, 8)
    for value in ([32, "32", 8], [32, True, 8], 32):
        with pytest.raises(ScheduleError, match="matrix_tile: expected one like"):
            space.apply_point(linear(), "float32", target, {"matrix_tile": value})


def test_choices_fit_the_registers() -> None:
    kernel = KINDS["conv uvu gradient 0"]
    for name, most in (("x86-64-v3", 16), ("x86-64-v4", 32)):
        found = {c.name: c.values for c in space.choices(kernel, "float32", cpu_target(name))}
        assert max(found["pair_sums"]) == most  # type: ignore[type-var]
        assert found["pair_sums"][0] == 0
