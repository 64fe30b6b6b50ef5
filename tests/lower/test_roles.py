"""Roles of operands, by mode."""

from dataclasses import replace

import numpy as np
import pytest

from tvm_equi.algebra.kernel import Step
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.location import Channels
from tvm_equi.lower.roles import Roles


def roles(mode: str, u: int, v: int, w: int, *, has_weight: bool = True) -> Roles:
    path = (Instruction(0, 0, 0, mode, has_weight, 2.0),)
    rows = "row" if has_weight else "none"
    kernel = tensor_product_kernel(((u, 1),), ((v, 2),), ((w, 1),), path, weight_rows=rows)
    return Roles(kernel.contractions[0], kernel.contractions[0].paths[0])


@pytest.mark.parametrize(
    ("mode", "muls", "spread", "lane", "extent", "loop"),
    [
        ("uvu", (8, 3, 8), 0, "u", 8, 3),
        ("uvv", (8, 3, 3), 1, "v", 3, 8),
        ("uvuv", (8, 3, 24), 0, "u", 8, 3),
        ("uvuv", (3, 8, 24), 1, "v", 8, 3),
        ("uuu", (5, 5, 5), 0, "u", 5, 1),
    ],
)
def test_lanes_and_loop(
    mode: str, muls: tuple[int, int, int], spread: int, lane: str, extent: int, loop: int
) -> None:
    found = roles(mode, *muls)
    assert (found.spread, found.lane, found.extent, found.loop) == (spread, lane, extent, loop)
    assert found.common == 1 - spread
    assert found.common_has_lanes == (mode == "uuu")


def test_channels_of_weights_and_products() -> None:
    by_u = roles("uvuv", 8, 3, 24)
    assert by_u.channels(by_u.product, 2) == Channels(2, 3)
    by_v = roles("uvuv", 3, 8, 24)
    assert by_v.channels(by_v.product, 2) == Channels(16, 1)
    assert by_v.channels(by_v.spread, 2) == Channels()


def test_coefficients_have_the_spread_operand_first() -> None:
    found = roles("uvv", 1, 4, 4)
    assert found.coefficients.shape == (5, 3, 3)
    nonzero = {(i, k) for i, _, k in np.argwhere(found.coefficients)}
    assert set(found.pattern) == nonzero


def test_rows_in_lanes() -> None:
    single = roles("uvu", 1, 1, 1)
    in_lanes = Roles(single.form, single.path, rows=16)
    assert (in_lanes.extent, in_lanes.loop, in_lanes.common_has_lanes) == (16, 1, True)


@pytest.mark.parametrize(
    ("mode", "muls", "wanted", "spread", "loop"),
    [
        ("uvu", (8, 3, 8), "v", 1, 8),
        ("uvv", (8, 3, 3), "u", 0, 3),
        ("uvuv", (8, 3, 24), "v", 1, 8),
        ("uvuv", (3, 8, 24), "u", 0, 8),
    ],
)
def test_another_letter_may_be_wanted(
    mode: str, muls: tuple[int, int, int], wanted: str, spread: int, loop: int
) -> None:
    """Then the operand that has it is spread, and the other combined with the coefficients."""
    usual = roles(mode, *muls)
    found = Roles(usual.form, usual.path, wanted=wanted)
    assert usual.lane != wanted
    assert (found.lane, found.spread, found.common) == (wanted, spread, 1 - spread)
    assert (found.extent, found.loop) == (usual.path.extent(wanted), loop)
    assert not found.common_has_lanes
    assert np.array_equal(found.coefficients, usual.coefficients.transpose(1, 0, 2))
    assert Roles(usual.form, usual.path, wanted=usual.lane).pattern == usual.pattern


def test_no_weights() -> None:
    found = roles("uvu", 4, 1, 4, has_weight=False)
    assert found.weight is None
    assert found.product == 2


def test_pairs_are_split_so_that_registers_hold_them() -> None:
    """uvu 1 x 2 -> 1 has 9 pairs (i, k); of a step to y, and of steps to two values."""
    found = roles("uvu", 8, 1, 8)
    pairs = Decisions(8, 8, 8, pair_sums=5)
    to_y = Step(0, ("x", "gy", "w", "z"), found.common)
    to_another = Step(0, ("x", "hy", "w", "z"), found.common)
    to_x = Step(0, ("gx", "y", "w", "z"), found.spread)
    chunks = found.pair_chunks([to_y, to_x], pairs)
    assert [len(chunk) for chunk in chunks] == [5, 4]
    assert [pair for chunk in chunks for pair in chunk] == found.pattern
    assert [len(c) for c in found.pair_chunks([to_y, to_another], pairs)] == [3, 3, 3]
    assert found.pair_chunks([to_x], pairs) == []
    assert found.pair_chunks([to_y], replace(pairs, pair_sums=0)) == []
    assert roles("uvu", 8, 3, 8).pair_chunks([to_y], pairs) == []
    assert roles("uuu", 5, 5, 5).pair_chunks([to_y], pairs) == []
