"""Operands to try kernels on: representative rows, and an oracle that finds what is wrong."""

import numpy as np
import pytest

from tests.kernels import kinds, linear
from tvm_equi.algebra.convolution import is_convolution
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.gpu.arguments import argument_names
from tvm_equi.tuning.operands import REPRESENTATIVE_BYTES, make_case, representative_rows

KINDS = kinds()


@pytest.mark.parametrize("kernel", KINDS.values(), ids=KINDS)
def test_the_oracle_finds_what_is_wrong(kernel: Kernel) -> None:
    case = make_case(kernel, "float64", 60)
    right = []
    values = evaluate(kernel, [array.astype(float) for array in case.inputs], case.nodes)
    for name, value, room in zip(kernel.outputs, values, case.outputs, strict=True):
        assert np.isnan(room).all()
        if kernel.operand(name).rows == "shared":
            value = np.concatenate([value[None], np.zeros((len(room) - 1, len(value)))])
        right.append(value)
    assert case.error(right) < 1e-14
    assert case.error(list(case.outputs)) == float("inf")
    picked = np.array([3, 59])
    for number, name in enumerate(kernel.outputs):
        wrong = [value.copy() for value in right]
        wrong[number][-1] += 1.0
        assert case.error(wrong) > 1e-3
        assert (case.error(wrong, picked) > 1e-3) == (kernel.operand(name).rows == "row")


def test_representative_rows() -> None:
    kernel = linear()
    rows = representative_rows(kernel, "float32")
    assert 256 <= rows <= 8192
    wide = KINDS["uvw"]
    dims = [wide.operand(name).dim for name in (*wide.inputs, *wide.outputs)]
    by_bytes = {device: limit // (8 * sum(dims)) for device, limit in REPRESENTATIVE_BYTES.items()}
    assert representative_rows(wide, "float64") == min(8192, by_bytes["cpu"])
    assert representative_rows(wide, "float64", "cuda") == min(65536, by_bytes["cuda"])
    assert representative_rows(wide, "float32") >= representative_rows(wide, "float64")


@pytest.mark.parametrize("kernel", KINDS.values(), ids=KINDS)
def test_gpus_take_what_their_functions_name(kernel: Kernel) -> None:
    case = make_case(kernel, "float32", 60, device="cuda")
    assert len(case.arguments) == len(argument_names(kernel))
    assert case.arguments[: len(case.inputs)] == case.inputs
    over_edges = is_convolution(kernel)
    assert case.arguments[-1].dtype == (np.int64 if over_edges else np.float32)
    assert len(make_case(kernel, "float32", 60).arguments) != len(case.arguments) or not over_edges
