"""Where segments are written, and that what no path reaches becomes zero."""

from collections.abc import Callable

import pytest
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Operand, Segment
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.artifact.codegen import tensorir
from tvm_equi.lower.storage import Place, RowLanes, Storage


def storage(*, is_partial: bool = False) -> Storage:
    operand = Operand((Segment(4, 3), Segment(0, 1), Segment(2, 1)))
    return Storage({"z": Place(operand, None, is_partial=is_partial)}, 0, 0, "float32")


def test_first_write_stores_and_later_ones_add() -> None:
    tile = storage()
    assert not tile.adds("z", 0)
    assert tile.unwritten("z") == [0, 2]
    tile.mark("z", 0)
    assert tile.adds("z", 0)
    assert tile.unwritten("z") == [2]


def test_partial_sums_are_only_added_to() -> None:
    tile = storage(is_partial=True)
    assert tile.adds("z", 0)
    assert tile.unwritten("z") == []


def test_rows_in_lanes_share_what_is_written() -> None:
    tile = storage()
    view = tile.rows_in_lanes()
    assert isinstance(view, RowLanes)
    view.mark("z", 2)
    assert tile.adds("z", 2)


def test_segments_out_of_reach_are_zero(check_kernel: Callable[..., None]) -> None:
    path = (Instruction(1, 0, 2, "uvu", True, 1.0),)
    kernel = tensor_product_kernel(
        ((3, 0), (5, 1)), ((1, 1),), ((3, 2), (0, 1), (5, 0), (7, 1)), path, weight_rows="row"
    )
    check_kernel(kernel)
    check_kernel(vjp(kernel, (0, 1, 2), (0,)))


def test_a_kernel_without_paths_gives_zeros(check_kernel: Callable[..., None]) -> None:
    kernel = tensor_product_kernel(((3, 1),), ((1, 1),), ((3, 1),), (), weight_rows="none")
    check_kernel(kernel)
    check_kernel(vjp(kernel, (0, 1), (0,)))


@pytest.mark.parametrize("ahead", [1, 2, 50])
def test_rows_fetched_ahead_change_no_value(
    ahead: int, check_kernel: Callable[..., None], decide: Callable[..., None]
) -> None:
    """Past the last row, the last is fetched."""
    decide(ahead_rows=ahead, lanes=4)
    paths = (Instruction(0, 0, 0, "uvu", True, 1.0), Instruction(1, 0, 1, "uvu", True, 1.0))
    kernel = tensor_product_kernel(
        ((33, 1), (20, 0)), ((1, 1),), ((33, 2), (20, 1)), paths, weight_rows="row"
    )
    assert "llvm.prefetch" in tensorir(kernel, "float64")
    check_kernel(kernel)
    check_kernel(vjp(kernel, (0, 1, 2), (0,)))


def test_operands_with_few_lines_are_not_fetched() -> None:
    """Of 20 bytes there are not two parts to fetch."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        y = T.match_buffer(T.arg("y", T.handle()), (9, 5), "float32")
        x = T.match_buffer(T.arg("x", T.handle()), (9, 64), "float32")
        operand = Operand((Segment(5, 1),))
        places = {"y": Place(operand, y), "x": Place(Operand((Segment(64, 1),)), x)}
        Storage(places, 0, 0, "float32", ahead=1).fetch(["x", "y"], 3, 1, 2)
    assert str(builder.get().script()).count("llvm.prefetch") == 2  # of the four lines of x
