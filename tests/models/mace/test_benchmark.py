"""The benchmark of MACE on a small model: what it compares is the same."""

import pytest

pytest.importorskip("mace")

from bench.models.compare import FORCES, TRAINING
from bench.models.mace import DEFAULT, OURS, measure
from bench.models.measure import Question, table


@pytest.mark.parametrize("use", [FORCES, TRAINING])
def test_the_two_compute_the_same(use: str) -> None:
    question = Question(DEFAULT, use, "water", 24, "float64", 1, small=True)
    line = measure(question, rounds=1, has_memory=False)
    assert set(line.timings) == {DEFAULT, OURS}
    assert max(line.differences[OURS].values()) < 1e-10
    assert table("title", [line]).row_count == 1
