"""Blocks of lanes: covering an axis, masks, transposition and sums, run on this CPU."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import tvm
import tvm_ffi
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.vector import (
    block_width,
    deinterleave,
    interleave,
    lane_sum,
    lane_sums,
    load,
    num_blocks,
    static_blocks,
    store,
)
from tvm_equi.schedule.targets import cpu_target


def run(
    tmp_path: object, emit: Callable[[object, object], None], given: np.ndarray, size: int
) -> np.ndarray:
    """Compiles `emit(source, target)` over flat float32 buffers and runs it on `given`."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("f")
        T.func_attr({"tirx.noalias": True, "global_symbol": "f"})
        source = T.match_buffer(T.arg("source", T.handle()), (given.size,), "float32", align=4)
        target = T.match_buffer(T.arg("target", T.handle()), (size,), "float32", align=4)
        emit(source, target)
    path = f"{tmp_path}/f.so"
    tvm.compile(builder.get(), target=cpu_target("host").tvm_target()).export_library(path)
    result = torch.full((size,), -1.0)
    tvm_ffi.load_module(path)["f"](torch.tensor(given, dtype=torch.float32), result)
    return result.numpy()


@pytest.mark.parametrize(
    ("extent", "width", "count"), [(1, 1, 1), (3, 4, 1), (16, 16, 1), (33, 16, 3), (128, 16, 8)]
)
def test_blocks_cover_an_axis(extent: int, width: int, count: int) -> None:
    assert block_width(extent, 16) == width
    assert num_blocks(extent, 16) == count
    blocks = static_blocks(extent, 16)
    assert sum(block.valid for block in blocks) == extent
    assert [block.base for block in blocks] == [width * n for n in range(count)]
    assert all(block.valid == block.width for block in blocks[:-1])


@pytest.mark.parametrize("valid", [1, 5, 7, 8])
def test_masked_lanes_are_zero_and_stay_unwritten(tmp_path: object, valid: int) -> None:
    def emit(source: object, target: object) -> None:
        store(target, (), 0, load(source, (), 0, 8, valid), 8, 8)
        store(target, (), 8, load(source, (), 0, 8, 8), 8, valid)

    got = run(tmp_path, emit, np.arange(1, 9), 16)
    assert got[:8].tolist() == [*range(1, valid + 1), *([0] * (8 - valid))]
    assert got[8:].tolist() == [*range(1, valid + 1), *([-1] * (8 - valid))]


@pytest.mark.parametrize("dim", [2, 3, 5, 7, 9, 11, 17])
@pytest.mark.parametrize("width", [2, 4, 8, 16])
def test_interleave_and_back(tmp_path: object, dim: int, width: int) -> None:
    def emit(source: object, target: object) -> None:
        rows = [T.bind(load(source, (), i * width, width, width)) for i in range(dim)]
        chunks = [T.bind(chunk) for chunk in interleave(rows, width)]
        for q, chunk in enumerate(chunks):
            store(target, (), q * width, chunk, width, width)
        for i, row in enumerate(deinterleave(chunks, width)):
            store(target, (), (dim + i) * width, row, width, width)

    given = np.arange(dim * width)
    got = run(tmp_path, emit, given, 2 * dim * width)
    assert got[: dim * width].tolist() == given.reshape(dim, width).T.reshape(-1).tolist()
    assert got[dim * width :].tolist() == given.tolist()


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
def test_sums_over_lanes(tmp_path: object, width: int) -> None:
    def emit(source: object, target: object) -> None:
        rows = [T.bind(load(source, (), i * width, width, width)) for i in range(width)]
        store(target, (), 0, lane_sums(rows, width), width, width)
        store(target, (), width, lane_sum(rows[0], width), 1, 1)

    given = np.arange(width * width) ** 2 % 97
    got = run(tmp_path, emit, given, width + 1)
    sums = given.reshape(width, width).sum(1)
    assert got.tolist() == [*sums.tolist(), sums[0]]
