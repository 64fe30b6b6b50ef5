"""Locations: addresses of elements in both layouts, and blocks that move between them."""

import numpy as np
import pytest
import torch
import tvm
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Operand, Segment
from tvm_equi.lower.location import in_lanes, move, row_location
from tvm_equi.lower.vector import each_block

OPERAND = Operand((Segment(3, 1), Segment(19, 5)))


def test_addresses() -> None:
    here = row_location(OPERAND, 1, None, 4)
    assert (here.lead, here.start, here.is_interleaved) == ((4,), 3, True)
    assert here.address(2, 3) == 3 + 2 * 5 + 3
    there = row_location(in_lanes(OPERAND), 1, None, 4)
    assert not there.is_interleaved
    assert there.address(2, 3) == 3 + 3 * 19 + 2


@pytest.mark.parametrize("add", [False, True])
def test_move_transposes(add: bool) -> None:
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        source = T.match_buffer(T.arg("source", T.handle()), (1, OPERAND.dim), "float32", align=4)
        target = T.match_buffer(T.arg("target", T.handle()), (1, OPERAND.dim), "float32", align=4)
        for segment in range(2):
            ours = row_location(in_lanes(OPERAND), segment, target, 0)
            theirs = row_location(OPERAND, segment, source, 0)
            each_block(
                OPERAND.segments[segment].mul,
                8,
                lambda block, a=ours, b=theirs: move(a, b, block, add=add),
            )
    function = tvm.compile(tvm.IRModule({"main": builder.get()}), target="llvm")["main"]
    x = torch.randn(1, OPERAND.dim)
    out = torch.ones(1, OPERAND.dim)
    function(x, out)
    wanted = np.concatenate([x[0, :3], x[0, 3:].reshape(19, 5).T.reshape(-1)]) + (1 if add else 0)
    assert np.array_equal(out[0].numpy(), wanted.astype(np.float32))
