"""Names of kernels: of each pass of a convolution, described, refused."""

import pytest

from tests.graphs import convolution, two_layers
from tvm_equi.compiler import compile
from tvm_equi.errors import ArgumentError
from tvm_equi.graph import DEFAULT_PIPELINE
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.nn.graph_trace import needed_plans
from tvm_equi.runtime.kernel_plans import describe_plan, kernel_plans, planned_kernel


def test_plans_are_described() -> None:
    plans = needed_plans(GraphModule(DEFAULT_PIPELINE(two_layers())), 2, None)
    found = {describe_plan(plan).split(" kernel")[0] for plan in plans}
    assert found == {"value", "gradient", "second gradient"}


def test_kernels_of_a_plan() -> None:
    plans = needed_plans(GraphModule(DEFAULT_PIPELINE(two_layers())), 2, None)
    plan = next(plan for plan in plans if len(kernel_plans(plan)) == 2)
    split = f"{plan}/1"
    assert split in kernel_plans(plan)
    assert planned_kernel(split).key() != planned_kernel(plan).key()
    with pytest.raises(ArgumentError, match="plan: expected the number of a kernel below 2, got"):
        planned_kernel(f"{plan}/2")


def test_artifacts_hold_the_kernels_of_their_plans() -> None:
    artifact = compile(convolution(), derivatives=1)
    keys = {kernel.key for kernel in artifact.kernels}
    wanted = {
        planned_kernel(part).key() for plan in artifact.content.plans for part in kernel_plans(plan)
    }
    assert wanted == keys
