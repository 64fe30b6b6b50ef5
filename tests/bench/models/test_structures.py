"""Structures of about a wanted number of atoms."""

import numpy as np
import pytest

from bench.models.structures import carbon, water


@pytest.mark.parametrize(("wanted", "found"), [(500, 501), (24, 24), (1, 3)])
def test_water_has_at_least_so_many_atoms(wanted: int, found: int) -> None:
    atoms = water(wanted)
    assert wanted <= len(atoms) <= found + 6
    assert (atoms.numbers == 8).sum() * 3 == len(atoms)
    assert atoms.pbc.all()
    assert np.array_equal(water(wanted).positions, atoms.positions)


def test_molecules_of_water_are_whole() -> None:
    atoms = water(24)
    lengths = [atoms.get_distance(0, 1, mic=True), atoms.get_distance(0, 2, mic=True)]
    assert np.allclose(lengths, 0.969, atol=0.01)


def test_carbon() -> None:
    atoms = carbon(500)
    assert len(atoms) == 512
    assert (atoms.numbers == 6).all()
    assert len(carbon(8)) == 8
