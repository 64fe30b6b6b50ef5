"""What a model file says of a plan is what the torch operators do."""

import pytest
import torch

from tests.graphs import two_layers
from tests.runtime.conftest import make
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.compiler import compile
from tvm_equi.errors import ArgumentError
from tvm_equi.runtime import convolution, plans
from tvm_equi.runtime.plan_records import plan_record


def test_plain_kernels(plan: str, shared_plan: str) -> None:
    for text in (plan, shared_plan, plans.derivative_plan(shared_plan, (0, 2), (0,))):
        record = plan_record(text)
        assert (record.plan, record.operator) == (text, "run")
        facts = plans.signature(text)
        for found, wanted in ((record.inputs, facts.inputs), (record.outputs, facts.outputs)):
            assert [(columns, rows == "row") for columns, rows in found] == list(wanted)
            assert {rows for _, rows in found} <= {"row", "shared"}
        (only,) = record.passes
        assert only.kernel == plans.resolve(text).key()
        assert only.outputs == tuple(range(len(record.outputs)))
        assert (only.order, only.copied, only.summed) == ("", (), ())


def check(plan: str) -> int:
    """Compares a record with what the operator has; gives the number of passes."""
    record, facts = plan_record(plan), convolution.signature(plan)
    assert record.operator == "convolve"
    assert (record.inputs, record.outputs) == (facts.inputs, facts.outputs)
    compiled = convolution.program(plan, torch.float64)
    for found, wanted, part in zip(record.passes, compiled, convolution.kernels(plan), strict=True):
        assert found.kernel == part.key()
        assert (found.order, found.outputs) == (wanted.order, wanted.outputs)
        assert (found.copied, found.summed) == (wanted.copied, wanted.summed)
    return len(compiled)


def test_convolutions() -> None:
    kernel = convolution_kernel(make("row"))
    counts = {check(plan) for plan in plans.derivative_plans(kernel.plan(), 2)}
    assert counts == {1, 2}


def test_every_plan_of_an_artifact_is_made_of_its_kernels() -> None:
    artifact = compile(two_layers(), derivatives=1)
    records = [plan_record(plan) for plan in artifact.content.plans]
    used = {part.kernel for record in records for part in record.passes}
    assert used == {kernel.key for kernel in artifact.kernels}
    assert all(check(record.plan) for record in records if record.operator == "convolve")


def test_other_texts() -> None:
    with pytest.raises(ArgumentError):
        plan_record("no plan")
