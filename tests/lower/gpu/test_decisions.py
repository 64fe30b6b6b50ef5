"""Decisions that fit the smallest GPUs, and each other."""

import dataclasses

import pytest

from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.scalars import num_bytes, wide_lanes


def test_decisions_are_a_key() -> None:
    assert GpuDecisions() == GpuDecisions()
    assert len({GpuDecisions(), GpuDecisions(), GpuDecisions(tile=16)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        GpuDecisions().tile = 3  # type: ignore[misc]


def test_blocks_fit_a_device() -> None:
    decisions = GpuDecisions()
    assert max(decisions.block_threads, decisions.max_lanes) <= 1024
    assert decisions.table_bytes + 4 * decisions.reduce_elements <= 48 << 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_fit_a_device(dtype: str) -> None:
    decisions, wide = GpuDecisions(), wide_lanes(dtype)
    (rows, columns, depth), (by_row, by_column) = decisions.matrix_tile, decisions.matrix_thread
    assert rows % by_row == columns % by_column == 0
    assert (rows // by_row) * (columns // by_column) <= 1024
    assert by_row % wide == by_column % wide == 0  # a thread's part is whole wide reads
    assert (rows + columns + 2 * wide) * depth * num_bytes(dtype) <= 48 << 10
