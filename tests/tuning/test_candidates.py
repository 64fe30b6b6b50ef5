"""Candidates before the search: legal, new, and in the order in which they tell the most."""

from pathlib import Path

import pytest

from tests.kernels import kinds
from tvm_equi.schedule import space
from tvm_equi.schedule.records import Record
from tvm_equi.schedule.targets import cpu_target
from tvm_equi.tuning.candidates import MAX_SEEDS, Candidates
from tvm_equi.tuning.task import Task

FAMILY = "x86-64-v3"
TASK = Task.of("conv", kinds()["conv uvu gradient 0"], "float32", FAMILY, 64)
CANDIDATES = Candidates.of(TASK, cpu_target(FAMILY))
RULE = dict(CANDIDATES.rule)


def trial(seconds: float, **changes: object) -> Record:
    point = {**RULE, **changes}
    return Record(TASK.structure, TASK.kernel.plan(), {}, point, seconds, Path(), 1)


def test_neighbours_differ_in_one_choice_and_are_new() -> None:
    measured = [trial(3.0), trial(2.0, row_tile=8)]
    found = CANDIDATES.neighbours(measured)
    count = sum(len(choice.values) - 1 for choice in CANDIDATES.choices)
    assert len(found) == count - 1
    for point in found:
        assert sum(point[name] != RULE[name] for name in RULE) == 1
        assert space.is_legal_point(TASK.kernel, TASK.dtype, CANDIDATES.target, point)
    assert {**RULE, "row_tile": 8} not in found
    assert found.index({**RULE, "row_tile": 32}) < found.index({**RULE, "row_tile": 64})


def test_combination_takes_what_helped_by_itself() -> None:
    measured = [
        trial(3.0),
        trial(2.0, row_tile=8),
        trial(2.5, pair_sums=16),
        trial(9.0, lanes=16),
        trial(0.1, row_tile=2, lanes=4),
    ]
    assert CANDIDATES.combination(measured) == [{**RULE, "row_tile": 8, "pair_sums": 16}]
    assert CANDIDATES.combination(measured[:1]) == []  # the rule itself


def test_seeds_take_of_a_winner_what_there_is_here() -> None:
    winners = [{"row_tile": 4, "strip": 8}, {"row_tile": 5}, {"lanes": 16}]
    found = CANDIDATES.seeds(winners, [trial(1.0)])
    assert found == [{**RULE, "row_tile": 4}, {**RULE, "lanes": 16}]
    many = [{"row_tile": tile, "lanes": lanes} for tile in (2, 4, 8) for lanes in (4, 16)]
    assert len(CANDIDATES.seeds(many, [])) == MAX_SEEDS


@pytest.mark.parametrize(
    ("point", "wanted"),
    [
        (RULE, True),
        ({**RULE, "row_tile": 7}, False),
        ({**RULE, "other": 1}, False),
        ({"row_tile": 8}, False),
    ],
)
def test_points_of_another_version(point: dict[str, object], wanted: bool) -> None:
    assert CANDIDATES.is_current(point) == wanted
