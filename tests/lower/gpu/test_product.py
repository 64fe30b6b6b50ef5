"""Products with a shared matrix equal the oracle, a block of one thread after another."""

import pytest

from tests.lower.gpu.helpers import assert_close, cuda_kernels, outputs, random_inputs
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import linear_kernel
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.launches import Product, launches
from tvm_equi.lower.gpu.scalars import num_bytes, wide_lanes

INSTRUCTIONS = ((0, 0, 0.5), (1, 1, 0.25), (0, 0, 2.0))
"""Two of them into one segment; the last segment of the output is reached by none."""


def linear(u: int, w: int) -> Kernel:
    return linear_kernel(
        ((u, 0), (u + 2, 2)), ((w, 0), (5, 2), (2, 1)), INSTRUCTIONS, weight_rows="shared"
    )


@pytest.mark.parametrize(("block", "depth"), [((2, 2), 1), ((2, 6), 16), ((6, 4), 5)])
def test_equals_the_oracle(block: tuple[int, int], depth: int) -> None:
    """With blocks that end inside of the result, and outside of it."""
    decisions = GpuDecisions(matrix_tile=(*block, depth), matrix_thread=block, min_table_lanes=1000)
    for kernel in derivatives(linear(7, 9))[:2]:
        for rows in (1, 6, 11):
            inputs = random_inputs(kernel, rows)
            found = outputs(kernel, decisions, inputs, chunks=3, alone=True)
            assert_close(found, evaluate(kernel, inputs))


@pytest.mark.parametrize("chunks", [1, 2, 5, 20])
def test_chunks_of_the_gradient_to_the_matrix(chunks: int) -> None:
    decisions = GpuDecisions(matrix_tile=(4, 4, 4), matrix_thread=(4, 4))
    gradient = derivatives(linear(3, 5))[1]
    inputs = random_inputs(gradient, 13)
    found = outputs(gradient, decisions, inputs, chunks=chunks, alone=True)
    assert_close(found, evaluate(gradient, inputs))


def test_a_product_adds_to_what_another_launch_has_stored() -> None:
    decisions = GpuDecisions(matrix_tile=(4, 4, 4), matrix_thread=(4, 4), min_table_lanes=1000)
    kernel = vjp(product("uvw", (1, 6, 20), "shared"), (1,), (0,))
    targets: dict[tuple[str, int], list[bool]] = {}
    for launch in launches(kernel, decisions):
        paths = kernel.contractions[launch.contraction].paths
        for item in launch.items:
            key = (item.step.target, paths[item.path].segments[item.step.output])
            targets.setdefault(key, []).append(isinstance(launch, Product))
    assert any(True in some[1:] for some in targets.values())
    inputs = random_inputs(kernel, 5)
    found = outputs(kernel, decisions, inputs, alone=True)
    assert_close(found, evaluate(kernel, inputs))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks(dtype: str) -> None:
    decisions, wide = GpuDecisions(), wide_lanes(dtype)
    (rows, columns, depth), (by_row, by_column) = decisions.matrix_tile, decisions.matrix_thread
    for kernel in derivatives(linear(70, 90))[:2]:
        found = [one for one in cuda_kernels(kernel, dtype) if one.shared]
        reached = {"z": 2, "o0": 2, "o1": 3}  # segments; of the matrix, one for each instruction
        assert len(found) == sum(reached[name] for name in kernel.outputs)
        for one in found:
            assert one.threads == (rows // by_row) * (columns // by_column)
            sizes = [(extent + wide) * depth * num_bytes(dtype) for extent in (rows, columns)]
            assert sorted(one.shared) == sorted(sizes)
            assert one.body.count("fmaf(") + one.body.count(" * ") >= by_row * by_column
            vector = "float4" if dtype == "float32" else "double2"
            assert one.body.count(f"*({vector}*)") >= (by_row + by_column) // wide
