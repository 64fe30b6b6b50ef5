"""Names of kernels: of each pass of a convolution, described, refused."""

import pytest

from tests.graphs import two_layers
from tvm_equi.compiler import compile
from tvm_equi.errors import ArgumentError
from tvm_equi.runtime.kernel_plans import describe_plan, kernel_plans, planned_kernel


def test_plans_are_described() -> None:
    kernels = compile(two_layers()).kernels
    found = {describe_plan(kernel.plan).split(" kernel")[0] for kernel in kernels}
    assert found == {"value", "gradient", "second gradient"}


def test_kernels_of_a_plan() -> None:
    plans = [kernel.plan for kernel in compile(two_layers()).kernels]
    split = next(plan for plan in plans if "/" in plan)
    plan = split.partition("/")[0]
    assert split in kernel_plans(plan)
    assert len(kernel_plans(plan)) == 2
    assert planned_kernel(split).key() != planned_kernel(plan).key()
    with pytest.raises(ArgumentError, match="plan: expected the number of a kernel below 2, got"):
        planned_kernel(f"{plan}/2")
