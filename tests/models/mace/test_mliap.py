"""Accelerated models under LAMMPS's ML-IAP: what it calls of mace-torch's class, without LAMMPS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.mace.conftest import CUTOFF
from tvm_equi.models.mace.convolution import Convolution
from tvm_equi.models.mace.walk import accelerate_mace

TOLERANCE = 1e-10
NUMBERS = (1, 6, 8)


class Domain:
    """What LAMMPS hands over in a step: own atoms and ghosts of others, pairs, and exchanges.

    A ghost is an image of an own atom in another cell, as on one process of LAMMPS.
    """

    def __init__(self, atoms: Any) -> None:
        from ase.neighborlist import neighbor_list

        first, second, cells, vectors = neighbor_list("ijSD", atoms, CUTOFF)
        self.nlocal = len(atoms)
        ghosts: dict[tuple[int, ...], int] = {}
        others = []
        for j, cell in zip(second, cells, strict=True):
            image = (int(j), *map(int, cell))
            is_own = not any(image[1:])
            others.append(int(j) if is_own else self.nlocal + ghosts.setdefault(image, len(ghosts)))
        self.owners = torch.tensor([*range(self.nlocal), *(image[0] for image in ghosts)])
        self.ntotal, self.npairs = len(self.owners), len(first)
        self.pair_i, self.pair_j = torch.tensor(first), torch.tensor(others)
        self.rij = torch.tensor(vectors)
        species = torch.tensor([NUMBERS.index(number) for number in atoms.numbers])
        self.elems = species[self.owners]
        self.eatoms = torch.zeros(self.nlocal)
        self.energy = 0.0
        self.forces = torch.zeros(self.nlocal, 3)
        self.num_exchanges = 0

    def forward_exchange(self, features: torch.Tensor, out: torch.Tensor, length: int) -> None:
        """Features of ghosts are those of their owners."""
        assert features.shape == (self.ntotal, length)
        self.num_exchanges += 1
        out.copy_(features[self.owners])

    def reverse_exchange(self, gradient: torch.Tensor, out: torch.Tensor, length: int) -> None:
        """Gradients of ghosts are added to those of their owners."""
        assert gradient.shape == (self.ntotal, length)
        out.copy_(torch.zeros_like(gradient).index_add(0, self.owners, gradient))

    def update_pair_forces_gpu(self, forces: torch.Tensor) -> None:
        """A pair's force acts on both of its atoms, on a ghost's owner for a ghost."""
        self.forces.index_add_(0, self.pair_i, forces)
        self.forces.index_add_(0, self.owners[self.pair_j], -forces)


def step(module: Any, atoms: Any) -> Domain:
    domain = Domain(atoms)
    module.compute_forces(domain)
    return domain


@pytest.mark.parametrize("first", ["RealAgnosticResidualInteractionBlock"])
def test_steps_of_ml_iap(
    first: str,
    make_model: Callable[..., torch.nn.Module],
    crystal: Any,
    batch_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

    model = make_model(first=first)
    wanted = model(batch_of(crystal))
    before = step(LAMMPS_MLIAP_MACE(make_model(first=first, lammps_mliap=True)), crystal)
    torch.testing.assert_close(before.forces, wanted["forces"], atol=TOLERANCE, rtol=0)

    model = accelerate_mace(make_model(first=first, lammps_mliap=True))
    assert all(isinstance(block.conv_tp, Convolution) for block in model.interactions)
    module = LAMMPS_MLIAP_MACE(model)
    # LAMMPS loads what mace_create_lammps_model saved: the whole object.
    torch.save(module, tmp_path / "mace-mliap_lammps.pt")
    loaded = torch.load(tmp_path / "mace-mliap_lammps.pt", weights_only=False)
    for each in (module, loaded, loaded):
        found = step(each, crystal)
        assert found.num_exchanges == before.num_exchanges > 0
        torch.testing.assert_close(found.eatoms, before.eatoms, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(found.forces, wanted["forces"].detach(), atol=TOLERANCE, rtol=0)
        assert abs(found.energy - float(wanted["energy"])) < TOLERANCE


def test_the_atoms_may_change(make_model: Callable[..., torch.nn.Module], crystal: Any) -> None:
    """Numbers of atoms, ghosts and pairs change from step to step, down to no pair at all."""
    from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

    plain = LAMMPS_MLIAP_MACE(make_model(lammps_mliap=True))
    module = LAMMPS_MLIAP_MACE(accelerate_mace(make_model(lammps_mliap=True)))
    larger = crystal.repeat((2, 1, 1))
    larger.rattle(0.1, seed=3)
    alone = crystal[:1]
    alone.set_cell([20.0, 20.0, 20.0])
    for atoms in (crystal, larger, alone, crystal):
        wanted, found = step(plain, atoms), step(module, atoms)
        torch.testing.assert_close(found.forces, wanted.forces, atol=TOLERANCE, rtol=0)
        assert abs(found.energy - wanted.energy) < TOLERANCE
