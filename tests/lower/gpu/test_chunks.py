"""Which rows each slot takes: every one once, none that is not there, tiles for the longest."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tests.lower.gpu.helpers import run_emitted
from tvm_equi.lower.gpu.chunks import Chunks
from tvm_equi.lower.gpu.shape import Shape
from tvm_equi.lower.gpu.values import At

SHAPE = Shape(lanes=8, slots=3, tile=4, has_tables=True)
STARTS = [0, 5, 5, 6, 14, 20, 20, 20]
"""Of 7 segments; the second and the last two have no edges."""

NODES = [0, 1, 2, 2, 4, -1, -1]


def lowering(**order: Any) -> SimpleNamespace:
    counts = {"num_rows": 50, "num_chunks": 5, "num_segments": 7}
    numbers = {name: tirx.IntImm("int64", count) for name, count in counts.items()}
    return SimpleNamespace(order=order, **numbers)


def bounds(
    blocks: int, turns: int, *, by_node: bool, has_shared: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[block, turn, slot, (first, last)], and [block, turn, slot] tiles that each slot takes."""
    out = torch.full((blocks, turns, SHAPE.slots, 2), -1)
    tiles = torch.full((blocks, turns, SHAPE.slots), -1)

    def emit(starts: Any, out: Any, tiles: Any) -> None:
        whole = Chunks(
            lowering(segment_starts=starts),  # type: ignore[arg-type]
            by_node,
            has_shared,
            SHAPE,
        )
        slots = SHAPE.slots
        with T.serial(0, blocks) as block, T.serial(0, turns) as turn, T.serial(0, slots) as slot:
            chunks = replace(whole, block=block, turn=turn, num_turns=turns)
            first, last = chunks.bounds(slot)
            T.buffer_store(out, first, [block, turn, slot, 0])
            T.buffer_store(out, last, [block, turn, slot, 1])
            T.buffer_store(tiles, chunks.num_tiles(first, last), [block, turn, slot])

    run_emitted(emit, {"starts": torch.tensor(STARTS), "out": out, "tiles": tiles})
    return out.numpy(), tiles.numpy()


def taken(found: NDArray[np.int64]) -> list[int]:
    """The positions of all rows, in order."""
    assert (found[..., 0] <= found[..., 1]).all()
    return sorted(p for first, last in found.reshape(-1, 2) for p in range(first, last))


def test_rows() -> None:
    found, tiles = bounds(6, 1, by_node=False, has_shared=False)  # 13 chunks of 4 rows
    assert taken(found) == list(range(50))
    assert (tiles == 1).all()


def test_rows_of_the_callers_chunks() -> None:
    found, tiles = bounds(2, 1, by_node=False, has_shared=True)  # 5 chunks of 10 rows
    assert taken(found) == list(range(50))
    assert (tiles == 3).all()
    assert found[1, 0, 2].tolist() == [50, 50]  # there is no sixth chunk


def test_segments() -> None:
    found, tiles = bounds(3, 1, by_node=True, has_shared=False)
    assert taken(found) == list(range(20))
    assert found[0, 0].tolist() == [[0, 5], [5, 5], [5, 6]]
    # All slots of a block take as many tiles as the longest, so that they meet at barriers.
    assert tiles[:, 0].tolist() == [[2, 2, 2], [2, 2, 2], [0, 0, 0]]


def test_segments_of_the_callers_chunks() -> None:
    found, tiles = bounds(2, 2, by_node=True, has_shared=True)  # 2 segments each of 5 chunks
    assert taken(found) == list(range(20))
    assert (tiles == tiles[..., :1]).all()
    assert tiles[..., 0].tolist() == [[2, 2], [0, 0]]
    assert found[0, :, 1].tolist() == [[5, 6], [6, 14]]


def test_number_of_chunks() -> None:
    known = lowering()

    def total(*, by_node: bool, has_shared: bool) -> Any:
        return Chunks(known, by_node, has_shared, SHAPE).total  # type: ignore[arg-type]

    assert int(total(by_node=False, has_shared=False)) == 13
    assert total(by_node=True, has_shared=False) is known.num_segments
    assert total(by_node=True, has_shared=True) is known.num_chunks
    assert total(by_node=False, has_shared=True) is known.num_chunks


@pytest.mark.parametrize("by_node", [False, True])
def test_rows_and_edges(by_node: bool) -> None:
    out = torch.zeros(4, dtype=torch.int64)
    edges, others = torch.tensor([7, 9, 8]), torch.tensor([2, 0, 1])

    def emit(edges: Any, others: Any, out: Any) -> None:
        chunks = Chunks(
            lowering(edges=edges, others=others),  # type: ignore[arg-type]
            by_node,
            False,
            SHAPE,
        )
        at = chunks.row_at(2, At(node=5, other=6, chunk=3))
        for number, value in enumerate((at.row, at.other, at.node, at.chunk)):
            T.buffer_store(out, tirx.Cast("int64", value), [number])

    run_emitted(emit, {"edges": edges, "others": others, "out": out})
    assert out.tolist() == ([8, 1, 5, 3] if by_node else [2, 6, 5, 3])
