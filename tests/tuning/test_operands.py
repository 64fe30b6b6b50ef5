"""Operands to try kernels on: representative rows, and an oracle that finds what is wrong."""

import numpy as np
import pytest

from tests.kernels import kinds, linear
from tvm_equi.algebra.convolution import is_convolution
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.gpu.arguments import argument_names
from tvm_equi.tuning.measure import CHECKED_ROWS
from tvm_equi.tuning.operands import (
    REPRESENTATIVE_BYTES,
    Case,
    make_case,
    representative_rows,
)

KINDS = kinds()


def filled(kernel: Kernel, case: Case) -> list[np.ndarray]:
    """The outputs of a right kernel."""
    right = []
    values = evaluate(kernel, [array.astype(float) for array in case.inputs], case.nodes)
    for name, value, room in zip(kernel.outputs, values, case.outputs, strict=True):
        assert np.isnan(room).all()
        if kernel.operand(name).rows == "shared":
            value = np.concatenate([value[None], np.zeros((len(room) - 1, len(value)))])
        right.append(value)
    return right


@pytest.mark.parametrize("kernel", KINDS.values(), ids=KINDS)
def test_the_oracle_finds_what_is_wrong(kernel: Kernel) -> None:
    case = make_case(kernel, "float64", 300)
    right = filled(kernel, case)
    for is_whole in (True, False):
        assert case.error(right, is_whole=is_whole) < 1e-14
        assert case.error(list(case.outputs), is_whole=is_whole) == float("inf")
    for number, name in enumerate(kernel.outputs):
        wrong = [value.copy() for value in right]
        wrong[number][1] += 1.0
        assert case.error(wrong, is_whole=True) > 1e-3
        unwritten = [value.copy() for value in right]
        unwritten[number][-1] = np.nan
        assert case.error(unwritten, is_whole=False) == float("inf")
        wrong = [value + 1.0 if n == number else value for n, value in enumerate(right)]
        is_sampled = kernel.operand(name).rows != "shared"
        assert (case.error(wrong, is_whole=False) > 1e-3) == is_sampled


def test_graphs_have_every_kind_of_node() -> None:
    case = make_case(KINDS["conv uvu"], "float32", CHECKED_ROWS)
    index, count = case.nodes["receiver"].index, case.nodes["receiver"].count
    degrees = np.bincount(index, minlength=count)
    assert (np.diff(index) >= 0).all()
    assert degrees[-1] == 0 < np.count_nonzero(degrees[:-1] == 0)
    assert np.unique(degrees).size > 4
    assert len(np.unique(case.nodes["sender"].index)) > 4


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
