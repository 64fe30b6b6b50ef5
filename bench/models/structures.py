"""Structures of about a wanted number of atoms, by the recipes of `workloads.json`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from bench.graphs import RATTLE, WATER_SPACING


def water(num_atoms: int) -> Any:
    """A periodic box of water: molecules on a grid, each turned at random; ASE's atoms.

    Args:
        num_atoms: wanted; the grid is as close to a cube as gives at least so many.
    """
    from ase import Atoms
    from ase.build import molecule

    generator = np.random.default_rng(2)
    sides = _sides(-(-num_atoms // 3))
    atoms = Atoms(cell=[side * WATER_SPACING for side in sides], pbc=True)
    for place in np.ndindex(*sides):
        turned = molecule("H2O")
        turned.positions -= turned.get_center_of_mass()
        turned.positions = turned.positions @ _rotation(generator).T
        turned.positions += WATER_SPACING * np.array(place)
        atoms += turned
    return atoms


def carbon(num_atoms: int) -> Any:
    """Rattled diamond; ASE's atoms.

    Args:
        num_atoms: wanted; a block of cubic cells of 8 atoms, as close to a cube as gives at least
            so many.
    """
    from ase.build import bulk

    atoms = bulk("C", "diamond", cubic=True).repeat(_sides(-(-num_atoms // 8)))
    atoms.rattle(RATTLE, seed=1)
    return atoms


STRUCTURES: dict[str, Callable[[int], Any]] = {"water": water, "carbon": carbon}


def _sides(count: int) -> tuple[int, int, int]:
    """Three numbers with a product of at least `count`: the least product, then the most cubic."""
    top = round(count ** (1 / 3)) + 3
    found = [sides for sides in product(range(1, top), repeat=3) if np.prod(sides) >= count]
    least: tuple[int, int, int] = min(found, key=lambda sides: (np.prod(sides), max(sides)))
    return least


def _rotation(generator: np.random.Generator) -> Any:
    """A rotation, every one as likely."""
    matrix, triangle = np.linalg.qr(generator.normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(triangle))
    return matrix * np.sign(np.linalg.det(matrix))
