"""Decisions are data: they compare, and cannot change."""

from dataclasses import FrozenInstanceError

import pytest

from tvm_equi.lower.decisions import Decisions


def test_is_data() -> None:
    one = Decisions(16, 16, 64)
    assert one == Decisions(16, 16, 64, run_edges=0)
    with pytest.raises(FrozenInstanceError):
        one.lanes = 8  # type: ignore[misc]
