"""The CPU rule: what it decides, and that its schedule runs rows in parallel."""

import pytest

from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, linear_kernel, tensor_product_kernel
from tvm_equi.schedule.cpu import CHUNK_BYTES, ROW_TILE, decide, schedule
from tvm_equi.schedule.targets import cpu_target


def linear(mul: int) -> Kernel:
    return linear_kernel(((mul, 1),), ((mul, 1),), ((0, 0, 1.0),), weight_rows="shared")


@pytest.mark.parametrize("mul", [1, 30, 3000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chunks_are_whole_tiles_of_bounded_size(mul: int, dtype: str) -> None:
    decisions = decide(linear(mul), dtype, cpu_target("x86-64-v4"))
    assert decisions.lanes == (16 if dtype == "float32" else 8)
    assert decisions.chunk_rows % decisions.row_tile == 0
    assert ROW_TILE <= decisions.chunk_rows <= 256
    row_bytes = 6 * mul * (4 if dtype == "float32" else 8)
    assert decisions.chunk_rows == ROW_TILE or decisions.chunk_rows * row_bytes <= CHUNK_BYTES


def test_chunks_run_in_parallel() -> None:
    kernel = linear(3)
    target = cpu_target("x86-64-v3")
    decisions = decide(kernel, "float32", target)
    assert "T.parallel((n + " in schedule(kernel, "float32", decisions).script()
    gradient = vjp(kernel, (1,), (0,))
    decisions = decide(gradient, "float32", target)
    assert "T.parallel(num_chunks)" in schedule(gradient, "float32", decisions).script()


@pytest.mark.parametrize(
    ("in1", "paths", "wanted"),
    [
        (((256, 1), (256, 2)), 3, 1),  # many streams of many bytes
        (((4, 1), (4, 2)), 3, 0),  # few bytes
        (((4000, 1),), 1, 0),  # few streams: the hardware sees what comes next
    ],
)
def test_later_rows_are_fetched_where_that_pays(
    in1: tuple[tuple[int, int], ...], paths: int, wanted: int
) -> None:
    out = tuple((in1[n % len(in1)][0], in1[n % len(in1)][1]) for n in range(paths))
    instructions = tuple(Instruction(n % len(in1), 0, n, "uvu", True, 1.0) for n in range(paths))
    kernel = tensor_product_kernel(in1, ((1, 0),), out, instructions, weight_rows="row")
    decisions = decide(kernel, "float32", cpu_target("x86-64-v3"))
    assert decisions.ahead_rows == wanted
    text = schedule(kernel, "float32", decisions).script()
    assert ("llvm.prefetch" in text) == bool(wanted)
    assert decide(convolution_kernel(kernel), "float32", cpu_target("x86-64-v3")).ahead_rows == 0
