"""Work that threads share: all of them in turn do what all would do between two barriers."""

from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tests.lower.gpu.helpers import forms, run_emitted
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.gpu import tile
from tvm_equi.lower.gpu.chunks import Chunks
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.launches import Walk, launches
from tvm_equi.lower.gpu.sums import Key, plan_sums
from tvm_equi.lower.gpu.tile import TileEmitter, table_plan
from tvm_equi.lower.gpu.values import Letters, Memory


def walks(kernel: Kernel) -> list[Walk]:
    return [launch for launch in launches(kernel, GpuDecisions()) if isinstance(launch, Walk)]


def emitter(
    kernel: Kernel, decisions: GpuDecisions, buffers: dict[str, Any], rows: int, **written: bool
) -> Any:
    """Of the first launch of a kernel on rows."""
    launch = walks(kernel)[0]
    operands = {name: kernel.operand(name) for name in (*kernel.inputs, *kernel.outputs)}
    lowering = SimpleNamespace(
        kernel=kernel,
        decisions=decisions,
        memory=Memory(operands, buffers, frozenset(), {}, "", "float64"),
        num_rows=tirx.IntImm("int64", rows),
    )
    sums = plan_sums(kernel.contractions[launch.contraction], launch, "")
    is_written = {key: written.get(key[0], False) for key in sums}
    return TileEmitter(lowering, launch, sums, is_written)  # type: ignore[arg-type]


def test_which_operands_have_tables() -> None:
    uvu, uuu = product("uvu", (19, 1, 19), "row"), product("uuu", (9, 9, 9), "row")

    def keys(kernel: Kernel) -> list[set[tuple[int, str]]]:
        plans = [
            table_plan(form, launch, "float32")
            for _, launch, form in forms([kernel])
            if isinstance(launch, Walk)
        ]
        return [set(plan.keys) if plan else set() for plan in plans]

    forward, backward, _ = derivatives(uvu)
    assert keys(forward) == [{(0, "y"), (1, "y"), (2, "y")}]
    # i1 is y; the gradient to it needs no table of it, those to x and w do.
    assert keys(backward) == [{(0, "i1"), (1, "i1"), (2, "i1")}]
    assert keys(uuu) == [set()]  # y has lanes as well
    assert keys(product("uvw", (5, 1, 9), "row"))[1:] == [set()]  # a matrix has no coefficients
    looped = table_plan(
        product("uvu", (16, 3, 16), "row").contractions[0],
        walks(product("uvu", (16, 3, 16), "row"))[0],
        "float32",
    )
    assert looped is not None
    assert looped.loop == 3


@pytest.mark.parametrize("tile_rows", [1, 4, 32])
@pytest.mark.parametrize(("mul", "v"), [(19, 1), (16, 3), (70, 1)])
def test_tables_of_all_rows(mul: int, v: int, tile_rows: int) -> None:
    """Of blocks with fewer rows than threads, and with more, the last of which is not full."""
    num_rows = 200
    kernel = product("uvu", (mul, v, mul), "row")
    decisions = GpuDecisions(tile=tile_rows, table_bytes=1 << 20)
    y = torch.randn(num_rows, kernel.operand("y").dim, dtype=torch.float64)
    known = emitter(kernel, decisions, {}, num_rows)
    plan, shape = known.plan, known.shape
    assert (shape.tile, shape.slots) == (tile_rows, max(1, 128 // mul))
    per_block = shape.slots * shape.tile
    num_blocks = -(-num_rows // per_block)
    past = shape.threads  # rows that no thread may write to
    size = (per_block + past) * plan.entries
    tables = torch.full((num_blocks, size), float("nan"), dtype=torch.float64)

    def emit(y: Any, tables: Any) -> None:
        tiles = emitter(kernel, decisions, {"y": y}, num_rows)
        with T.serial(0, num_blocks) as block, T.serial(0, shape.threads) as thread:
            tiles.tables = _Row(tables, block)
            chunks = Chunks(tiles.lowering, False, False, shape, block=block)
            tiles.combine(chunks, 0, thread, Letters("u", 0, "v" if v > 1 else ""))

    with (
        mock.patch.object(tile, "barrier") as barriers,
        mock.patch.object(T, "buffer_store", _stores(T.buffer_store)),
    ):
        run_emitted(emit, {"y": y, "tables": tables})
    assert barriers.call_count == 2
    by_row = tables.reshape(num_blocks, per_block + past, v, plan.per_loop).numpy()
    assert np.isnan(by_row[:, per_block:]).all()
    found = by_row[:, :per_block].reshape(-1, v, plan.per_loop)[:num_rows]
    operand = kernel.operand("y")
    for key in plan.keys:
        roles = plan.roles[key[0]]
        segment = roles.path.segments[1]
        first, dim = operand.offsets[segment], operand.segments[segment].dim
        values = y[:, first : first + v * dim].reshape(num_rows, v, dim).numpy()
        wanted = np.einsum("ijk,rvj->rvik", roles.coefficients, values)
        for position, (i, k) in enumerate(roles.pattern):
            got = found[:, :, plan.starts[key] + position]
            assert np.allclose(got, wanted[:, :, i, k], rtol=0, atol=1e-13)


class _Row:
    """A row of a buffer, as a buffer."""

    def __init__(self, buffer: Any, row: Any) -> None:
        self.buffer, self.row = buffer, row


def _stores(store: Any) -> Any:
    def through(buffer: Any, value: Any, index: list[Any]) -> None:
        if isinstance(buffer, _Row):
            store(buffer.buffer, value, [buffer.row, *index])
        else:
            store(buffer, value, index)

    return through


@pytest.mark.parametrize("num_rows", [21, 30])
@pytest.mark.parametrize("is_written", [False, True])
def test_sums_over_lanes(is_written: bool, num_rows: int) -> None:
    """Of both segments of the gradient to y, in a block of 24 rows that are not all there."""
    kernel = derivatives(product("uvu", (40, 1, 40), "row"))[1]
    decisions = GpuDecisions(tile=8)
    known = emitter(kernel, decisions, {}, num_rows)
    shape, keys = known.shape, list(known.laned)
    assert keys == [("o1", 0), ("o1", 1)]
    assert (shape.slots, shape.tile) == (3, 8)
    assert known.num_sums == sum(known.laned[key].dim for key in keys) == 4
    lanes = torch.randn(num_rows, 4, shape.lanes, dtype=torch.float64)
    o1 = torch.full((num_rows, 4), 3.0 if is_written else float("nan"), dtype=torch.float64)
    o1[24:] = 7  # of another block
    size = shape.slots * shape.tile * known.num_sums * shape.sum_stride
    partial = torch.full((2 * size,), float("nan"), dtype=torch.float64)
    base: dict[Key, int] = {("o1", 0): 0, ("o1", 1): 3}

    def emit(lanes: Any, partial: Any, o1: Any) -> None:
        tiles = emitter(kernel, decisions, {"o1": o1}, num_rows, o1=is_written)
        tiles.partial = partial
        chunks = Chunks(tiles.lowering, False, False, shape, block=0)
        with T.serial(0, shape.slots) as slot, T.serial(0, shape.lanes) as lane:
            first, last = chunks.bounds(slot)
            with T.serial(0, last - first) as q:
                for key, start in base.items():
                    values = [
                        lanes[first + q, start + k, lane] for k in range(tiles.laned[key].dim)
                    ]
                    tiles.keep(key, values, slot, q, lane)
        with T.serial(0, shape.threads) as thread:
            tiles.sum_over_lanes(chunks, 0, thread)

    with mock.patch.object(tile, "barrier") as barriers:
        run_emitted(emit, {"lanes": lanes, "partial": partial, "o1": o1})
    assert barriers.call_count == 2
    operand = kernel.operand("o1")
    assert [operand.offsets[segment] for _, segment in keys] == [0, 3]
    wanted = lanes.sum(2).numpy() + 3 * is_written
    assert np.allclose(o1[:24].numpy(), wanted[:24], rtol=0, atol=1e-12)
    assert (o1[24:] == 7).all()
    assert partial[size:].isnan().all()
