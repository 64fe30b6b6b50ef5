"""The kernels of exported programs."""

from pathlib import Path

import pytest
import torch

from tests.kernels import linear, product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.deploy.container import read
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.export.capture import capture
from tvm_equi.export.kernels import (
    UsedPlan,
    compile_kernels,
    cpu_targets,
    program_plans,
    save_kernels,
)
from tvm_equi.runtime.plans import derivative_plan

PLAN = linear().plan()
EDGES = derivative_plan(convolution_kernel(product(u=3)).plan(), (0, 1), (0,))


class Calls(torch.nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.to(self.dtype)
        first = torch.ops.tvm_equi.run([x, x.new_ones(660)], PLAN)[0]
        second = torch.ops.tvm_equi.run([y, y.new_ones(660)], PLAN)[0]
        third = torch.ops.tvm_equi.run([x + 1, x.new_ones(660)], PLAN)[0]
        return first + second.to(x.dtype) + third


def test_plans_of_a_program() -> None:
    module = Calls(torch.float64)
    found = capture(module, {"x": torch.rand(4, 99)}, {"x": ("rows", 99)}, ["y"])
    assert program_plans(found.program) == [UsedPlan(PLAN, "float32"), UsedPlan(PLAN, "float64")]
    half = capture(Calls(torch.float16), {"x": torch.rand(4, 99)}, {"x": ("rows", 99)}, ["y"])
    with pytest.raises(ArgumentTypeError, match=r"expected float32 or float64, got torch\.float16"):
        program_plans(half.program)


def test_file_of_kernels(tmp_path: Path) -> None:
    used = [UsedPlan(PLAN, "float64"), UsedPlan(PLAN, "float32"), UsedPlan(EDGES, "float64")]
    path = save_kernels(tmp_path / "kernels.tvmeq", used)
    manifest = read(path).manifest
    assert [entry.plan for entry in manifest.plans] == [PLAN, EDGES]
    assert [entry.operator for entry in manifest.plans] == ["run", "convolve"]
    keys = {part.kernel for entry in manifest.plans for part in entry.passes}
    assert {entry.key for entry in manifest.kernels} == keys
    dtypes = sorted(entry.dtype for entry in manifest.kernels)
    assert dtypes == ["float32", *["float64"] * len(keys)]
    again = save_kernels(tmp_path / "again.tvmeq", used)
    assert again.read_bytes() == path.read_bytes()


def test_refused() -> None:
    with pytest.raises(ArgumentError, match="expected a program that calls tvm_equi::run"):
        compile_kernels([])
    with pytest.raises(ArgumentError, match=r"got 'sm_80': the operators in C\+\+ have no kernels"):
        compile_kernels([UsedPlan(PLAN, "float32")], ["host", "sm_80"])
    assert cpu_targets(None) == ["host"]
    assert cpu_targets(["x86-64-v2", "x86-64-v3"]) == ["x86-64-v2", "x86-64-v3"]


def test_progress_counts_kernels_of_every_target() -> None:
    seen: list[tuple[int, int]] = []
    plans = [UsedPlan(PLAN, "float32")]
    compile_kernels(plans, ["x86-64-v2", "x86-64-v3"], lambda *counts: seen.append(counts))
    assert seen[-1] == (2, 2)
    assert seen == sorted(seen)
