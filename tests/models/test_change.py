"""What becomes of a module."""

import dataclasses

import pytest
import torch

from tvm_equi.models.change import Change


def test_change_is_frozen_and_ends_the_walk_by_default() -> None:
    change = Change(torch.nn.Identity(), "left", "no tensor product")
    assert change.is_done
    with pytest.raises(dataclasses.FrozenInstanceError):
        change.note = "other"  # type: ignore[misc]
