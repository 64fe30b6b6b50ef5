"""Lowering equals the oracle: every mode, weight kind and layout, with both derivatives."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tvm_equi.algebra.contraction import Layout
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import (
    Instruction,
    WeightRows,
    linear_kernel,
    tensor_product_kernel,
)
from tvm_equi.algebra.symmetric_kernel import symmetric_kernel
from tvm_equi.artifact.codegen import tensorir
from tvm_equi.lower.bundles import bundles
from tvm_equi.lower.primfunc import (
    Decisions,
    fits_row_lanes,
    has_shared_output,
    row_tile,
    staged_segments,
)

# mode, multiplicities of x, y and z: odd ones, ones past a vector, and loops past the unrolled ones
MODES = [
    ("uvu", 19, 1, 19),
    ("uvu", 3, 11, 3),
    ("uvv", 3, 20, 20),
    ("uvv", 1, 4, 4),
    ("uvuv", 3, 5, 15),
    ("uvuv", 17, 2, 34),
    ("uuu", 21, 21, 21),
    ("uvw", 10, 1, 20),
    ("uvw", 20, 1, 9),
    ("uvw", 1, 6, 20),
    ("uvw", 1, 1, 33),
    ("uvw", 3, 4, 70),
    ("uuw", 7, 7, 18),
    ("uvu<v", 6, 6, 15),
    ("u<vw", 5, 5, 9),
]


def product(
    mode: str, muls: tuple[int, int, int], weight_rows: WeightRows, layout: Layout = "mul_ir"
) -> Kernel:
    """Three paths of one mode, two of them into one output, with an output that no path reaches."""
    u, v, w = muls
    has_weight = weight_rows != "none"
    return tensor_product_kernel(
        ((u, 1), (u, 2)),
        ((v, 1), (v, 0)),
        ((w, 1), (w, 2), (w, 3)),
        tuple(
            Instruction(*segments, mode, has_weight, coefficient)
            for segments, coefficient in (((0, 0, 0), 0.7), ((1, 0, 1), 0.3), ((1, 1, 1), -0.4))
        ),
        weight_rows=weight_rows,
        layout=layout,
    )


def derivatives(kernel: Kernel) -> list[Kernel]:
    """The kernel, its gradients, and the gradients of these, with respect to everything."""
    first = vjp(kernel, tuple(range(len(kernel.inputs))), tuple(range(len(kernel.outputs))))
    second = vjp(first, tuple(range(len(first.inputs))), tuple(range(len(first.outputs))))
    return [kernel, first, second]


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize(("mode", "u", "v", "w"), MODES)
def test_equals_the_oracle(
    mode: str, u: int, v: int, w: int, weight_rows: WeightRows, check_kernel: Callable[..., None]
) -> None:
    for kernel in derivatives(product(mode, (u, v, w), weight_rows)):
        check_kernel(kernel)


@pytest.mark.parametrize("mode", ["uvu", "uvw", "uuu", "u<vw"])
def test_ir_mul_equals_the_oracle(mode: str, check_kernel: Callable[..., None]) -> None:
    muls = {"uvu": (5, 1, 5), "uvw": (4, 1, 6), "uuu": (5, 5, 5), "u<vw": (4, 4, 3)}[mode]
    for kernel in derivatives(product(mode, muls, "row", "ir_mul")):
        check_kernel(kernel)


@pytest.mark.parametrize("mode", ["uvu", "uvv", "uvuv", "uuu", "uvu<v"])
def test_no_weights_equals_the_oracle(mode: str, check_kernel: Callable[..., None]) -> None:
    muls = {"uvuv": (3, 2, 6), "uvu<v": (4, 4, 6)}.get(mode, (5, 5, 5))
    for kernel in derivatives(product(mode, muls, "none")):
        check_kernel(kernel)


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_named_targets_equal_the_oracle(
    dtype: str, target: str, check_kernel: Callable[..., None]
) -> None:
    for kernel in derivatives(product("uvu", (13, 1, 13), "row"))[:2]:
        check_kernel(kernel, dtype, 5, target)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 40])
def test_any_number_of_rows(rows: int, check_kernel: Callable[..., None]) -> None:
    kernel = product("uvw", (1, 1, 9), "shared")
    for one in derivatives(kernel)[:2]:
        check_kernel(one, "float32", rows)


def test_degree_eight(check_kernel: Callable[..., None]) -> None:
    path = (Instruction(0, 0, 0, "uvu", True, 1.0),)
    kernel = tensor_product_kernel(((3, 8),), ((1, 4),), ((3, 8),), path, weight_rows="row")
    for one in derivatives(kernel)[:2]:
        check_kernel(one)


def test_linear(check_kernel: Callable[..., None]) -> None:
    instructions = ((0, 0, 0.5), (1, 1, 0.25), (0, 0, 2.0))
    for weight_rows in ("row", "shared"):
        kernel = linear_kernel(
            ((7, 0), (33, 2)), ((19, 0), (5, 2)), instructions, weight_rows=weight_rows
        )
        for one in derivatives(kernel):
            check_kernel(one, rows=21)


def staged(kernel: Kernel, **decisions: object) -> dict[str, list[int]]:
    found = replace(Decisions(lanes=16, row_tile=8, chunk_rows=64), **decisions)
    return staged_segments(kernel, bundles(kernel), found)


def test_segments_that_paths_share_are_staged() -> None:
    kernel = product("uvu", (4, 1, 4), "row")
    # z[1] has two paths; x[1] is read once by the two paths of its group.
    assert staged(kernel) == {"z": [1]}
    assert staged(product("uvu", (4, 1, 4), "row", "ir_mul")) == {}


def test_segments_that_pairs_read_again_are_staged() -> None:
    kernel = vjp(product("uvu", (4, 1, 4), "row"), (1,), (0,))
    once = staged(kernel, pair_sums=100)
    again = staged(kernel, pair_sums=2)
    assert once == staged(kernel)
    assert once == {"i3": [1]}
    assert again == {"i0": [0, 1], "i3": [0, 1]}


def test_rows_run_over_lanes_where_all_irreps_have_one_channel() -> None:
    decisions = Decisions(lanes=16, row_tile=8, chunk_rows=64)
    single = product("uuu", (1, 1, 1), "row")
    assert fits_row_lanes(single.contractions[0])
    assert row_tile(single, bundles(single), decisions) == 16
    for kernel, rows in (
        (product("uvu", (4, 1, 4), "row"), 1),
        (product("uvw", (4, 1, 4), "shared"), 8),
    ):
        assert row_tile(kernel, bundles(kernel), decisions) == rows
    assert not fits_row_lanes(product("uuu", (1, 1, 1), "shared").contractions[0])


def test_shared_outputs_are_partial_sums() -> None:
    kernel, first, _ = derivatives(product("uvu", (4, 1, 4), "shared"))
    assert not has_shared_output(kernel)
    assert has_shared_output(first)
    assert "num_chunks" in tensorir(first, "float32") or "T.parallel" in tensorir(first, "float32")


def test_blocks_are_named() -> None:
    text = tensorir(product("uvw", (4, 2, 4), "row"), "float64")
    for name in ("rows", "couple_0", "mix_1"):
        assert f'T.sblock("{name}")' in text


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
def test_symmetric_contraction_equals_the_oracle(
    weight_rows: WeightRows, check_kernel: Callable[..., None]
) -> None:
    irreps = ((0, 1), (1, -1), (2, 1))
    kernel = symmetric_kernel(irreps, irreps[:2], 3, 5, weight_rows=weight_rows)
    for one in derivatives(kernel):
        check_kernel(one)
