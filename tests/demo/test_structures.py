"""Structures from ASE: pairs in both directions, within the cutoff, turned as they should."""

import sys

import pytest
import torch

from tvm_equi.demo.measure import random_rotation
from tvm_equi.demo.structures import SPECIES, crystal, molecule
from tvm_equi.errors import UnsupportedError

CUTOFF = 3.0


def test_crystal() -> None:
    found = crystal(8, CUTOFF)
    assert found.name == "diamond, 8 atoms"
    vectors = found.positions[found.senders] - found.positions[found.receivers] + found.shifts
    assert vectors.norm(dim=1).max() < CUTOFF
    pairs = {*zip(found.senders.tolist(), found.receivers.tolist(), strict=True)}
    assert pairs == {(b, a) for a, b in pairs}
    assert vectors.sum(0).norm() < 1e-9
    assert found.species.sum(0).tolist() == [0, 8, 0]


def test_number_of_atoms_is_met_as_well_as_cubes_allow() -> None:
    assert len(crystal(60, 2.0).positions) == 64
    assert len(crystal(1, 2.0).positions) == 8


def test_molecule() -> None:
    found = molecule(CUTOFF)
    counts = dict(zip(SPECIES, found.species.sum(0).tolist(), strict=True))
    assert counts == {"H": 6, "C": 2, "O": 1}
    assert not found.shifts.any()
    assert found.to(torch.float32).positions.dtype == torch.float32
    assert set(found.inputs()) == {"positions", "species", "senders", "receivers", "shifts"}


def test_turned() -> None:
    found = molecule(CUTOFF)
    rotation = random_rotation(torch.float64)
    turned = found.turned(rotation)
    torch.testing.assert_close(
        torch.pdist(turned.positions), torch.pdist(found.positions), rtol=1e-12, atol=1e-12
    )


def test_without_matscipy_ase_finds_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = crystal(8, CUTOFF)
    monkeypatch.setitem(sys.modules, "matscipy.neighbours", None)
    found = crystal(8, CUTOFF)
    assert sorted(found.senders.tolist()) == sorted(expected.senders.tolist())


def test_without_ase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ase.build", None)
    with pytest.raises(UnsupportedError, match="demo: expected the package ase, got: "):
        molecule(CUTOFF)
