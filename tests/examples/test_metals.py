"""The data of the examples are EMT's, the same in every run, and batches are disjoint."""

import torch
from ase import Atoms
from ase.calculators.emt import EMT

from examples.metals import SPECIES, joined, rattled_alloys, settings_for_metals

SETTINGS = settings_for_metals(2, 1, 1)


def test_crystals_are_the_same_in_every_run() -> None:
    first, again = (rattled_alloys(2, SETTINGS, repeats=1) for _ in range(2))
    for left, right in zip(first, again, strict=True):
        assert left.structure.name == right.structure.name
        assert torch.equal(left.forces, right.forces)
    assert first[0].structure.name != first[1].structure.name
    structure = first[0].structure
    assert structure.species.sum(1).tolist() == [1] * 4
    vectors = structure.positions[structure.senders] - structure.positions[structure.receivers]
    lengths = (vectors + structure.shifts).norm(dim=1)
    assert lengths.max() < SETTINGS.cutoff
    assert len(lengths) / 4 > 12
    assert float(first[0].forces.sum(0).abs().max()) < 1e-10


def test_the_atoms_without_their_images_have_a_higher_energy() -> None:
    (sample,) = rattled_alloys(1, SETTINGS, repeats=2)
    symbols = [SPECIES[int(number)] for number in sample.structure.species.argmax(1)]
    isolated = Atoms(symbols, positions=sample.structure.positions.numpy())
    isolated.calc = EMT()
    assert isolated.get_potential_energy() > sample.energy


def test_joined_crystals_have_no_edges_between_them() -> None:
    samples = rattled_alloys(3, SETTINGS)
    whole, forces = joined(samples)
    assert forces.shape == whole.positions.shape == (12, 3)
    assert torch.equal(whole.senders // 4, whole.receivers // 4)
    sizes = [len(sample.structure.senders) for sample in samples]
    assert torch.bincount(whole.receivers // 4).tolist() == sizes
    last = samples[2].structure
    assert torch.equal(whole.senders[-sizes[2] :] - 8, last.senders)
