"""A crystal and a molecule from ASE, as inputs of an interaction model.

In: a wanted number of atoms and a cutoff. Out: tensors. Refused: a machine without ASE, with the
command that installs it; without matscipy, ASE's slower neighbour list is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tvm_equi.errors import UnsupportedError

SPECIES = ("H", "C", "O")
LATTICE_CONSTANT = 3.567
"""Of diamond, in angstrom. Source: CRC Handbook of Chemistry and Physics, 97th edition."""


@dataclass(frozen=True, slots=True)
class Structure:
    """Atoms and their neighbours.

    Args:
        name: what it is.
        positions: [nodes, 3], in angstrom.
        species: [nodes, number of species], one-hot.
        senders: [edges], the neighbour of each pair.
        receivers: [edges], the atom of each pair.
        shifts: [edges, 3], what periodicity adds to the neighbour's position.
    """

    name: str
    positions: torch.Tensor
    species: torch.Tensor
    senders: torch.Tensor
    receivers: torch.Tensor
    shifts: torch.Tensor

    def to(self, dtype: torch.dtype) -> Structure:
        """The structure with values of another dtype."""
        return Structure(
            self.name,
            self.positions.to(dtype),
            self.species.to(dtype),
            self.senders,
            self.receivers,
            self.shifts.to(dtype),
        )

    def turned(self, rotation: torch.Tensor) -> Structure:
        """The structure under an element of O(3): [3, 3]."""
        return Structure(
            self.name,
            self.positions @ rotation.T,
            self.species,
            self.senders,
            self.receivers,
            self.shifts @ rotation.T,
        )

    def inputs(self) -> dict[str, torch.Tensor]:
        """The inputs of a model by name."""
        return {
            "positions": self.positions,
            "species": self.species,
            "senders": self.senders,
            "receivers": self.receivers,
            "shifts": self.shifts,
        }


def crystal(num_atoms: int, cutoff: float) -> Structure:
    """Diamond, rattled, with about as many atoms.

    Args:
        num_atoms: wanted; a cube of cells is made of 8 atoms each.
        cutoff: of neighbours, in angstrom.
    """
    build = _ase("ase.build")
    repeats = max(1, round((num_atoms / 8) ** (1 / 3)))
    atoms = build.bulk("C", "diamond", a=LATTICE_CONSTANT, cubic=True).repeat(repeats)
    atoms.rattle(0.05, seed=1)
    return structure_of(f"diamond, {len(atoms)} atoms", atoms, cutoff)


def molecule(cutoff: float) -> Structure:
    """Ethanol, rattled.

    Args:
        cutoff: of neighbours, in angstrom.
    """
    atoms = _ase("ase.build").molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=2)
    atoms.center(vacuum=cutoff)  # matscipy wants a box, periodic or not
    return structure_of(f"ethanol, {len(atoms)} atoms", atoms, cutoff)


def _ase(module: str) -> Any:
    """A module of ASE.

    Raises:
        UnsupportedError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnsupportedError(
            f"demo: expected the package ase, got: {error}; pip install 'tvm_equi[demo]'"
        ) from error


def structure_of(
    name: str, atoms: Any, cutoff: float, species: tuple[str, ...] = SPECIES
) -> Structure:
    """Tensors of ASE's atoms.

    Args:
        name: what they are.
        atoms: ASE's.
        cutoff: of neighbours, in angstrom.
        species: chemical symbols, in the order of the one-hot columns.
    """
    receivers, senders, shifts = neighbours(atoms, cutoff)
    symbols = atoms.get_chemical_symbols()
    one_hot = np.array([[symbol == known for known in species] for symbol in symbols], float)
    return Structure(
        name,
        torch.from_numpy(np.array(atoms.get_positions())),
        torch.from_numpy(one_hot),
        torch.from_numpy(senders.astype(np.int64)),
        torch.from_numpy(receivers.astype(np.int64)),
        torch.from_numpy(shifts.astype(float) @ np.array(atoms.cell)),
    )


def neighbours(atoms: Any, cutoff: float) -> tuple[Any, Any, Any]:
    """(atom, neighbour, periodic shift in cells) of each pair closer than the cutoff.

    Args:
        atoms: ASE's.
        cutoff: in angstrom.
    """
    try:
        from matscipy.neighbours import neighbour_list
    except ImportError:
        neighbour_list = _ase("ase.neighborlist").neighbor_list
    found: tuple[Any, Any, Any] = neighbour_list("ijS", atoms, cutoff)
    return found
