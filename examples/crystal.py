"""Energy, forces and stress of a crystal, with a NequIP-style model.

    python -m examples.crystal --help

The crystal is periodic: each edge carries the shift of its neighbour's image. A strain moves the
atoms and the shifts, so that the derivative of the energy to the strain, over the volume, is the
stress. The compiled model is compared with e3nn's modules in float64; the stress is also compared
with differences of the energy between small strains, and all three are turned and reflected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import typer

from examples.metals import Sample, both_models, rattled_alloys, settings_for_metals
from tvm_equi.demo.measure import random_rotation
from tvm_equi.demo.structures import Structure


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of a crystal.

    Args:
        energy: [1], in eV.
        forces: [nodes, 3], in eV per angstrom.
        stress: [3, 3], in eV per cubic angstrom, positive under tension.
    """

    energy: torch.Tensor
    forces: torch.Tensor
    stress: torch.Tensor


@dataclass(frozen=True, slots=True)
class Differences:
    """Largest differences, over the largest number of their kind.

    Args:
        energy: to e3nn's.
        forces: to e3nn's.
        stress: to e3nn's.
        strained: of the stress to differences of the energy.
        turned: of energy, forces and stress to those of the turned and reflected crystal.
    """

    energy: float
    forces: float
    stress: float
    strained: float
    turned: float


def strained(structure: Structure, strain: torch.Tensor) -> Structure:
    """The structure after a strain: x -> x + strain x, for positions and shifts.

    Args:
        structure: to strain.
        strain: [3, 3].
    """
    symmetric = (strain + strain.T) / 2  # a rotation does not change the energy
    return replace(
        structure,
        positions=structure.positions + structure.positions @ symmetric,
        shifts=structure.shifts + structure.shifts @ symmetric,
    )


def answer(model: Callable[..., torch.Tensor], structure: Structure, volume: float) -> Answer:
    """Energy, forces and stress by one backward pass.

    Args:
        model: gives the energy of a structure's inputs.
        structure: to compute.
        volume: of its cell.
    """
    positions = structure.positions.clone().requires_grad_()
    strain = torch.zeros(3, 3, dtype=positions.dtype, requires_grad=True)
    moved = strained(replace(structure, positions=positions), strain)
    energy = model(**moved.inputs())
    to_positions, to_strain = torch.autograd.grad(energy.sum(), [positions, strain])
    return Answer(energy.detach(), -to_positions, to_strain / volume)


def stress_by_differences(
    model: Callable[..., torch.Tensor], sample: Sample, step: float = 1e-5
) -> torch.Tensor:
    """The stress from energies under small strains of both signs.

    Args:
        model: gives the energy of a structure's inputs.
        sample: to compute.
        step: of the strain.
    """
    stress = torch.zeros(3, 3, dtype=sample.stress.dtype)
    with torch.no_grad():
        for row in range(3):
            for column in range(3):
                strain = torch.zeros_like(stress)
                strain[row, column] = step
                up, down = (
                    model(**strained(sample.structure, sign * strain).inputs()) for sign in (1, -1)
                )
                stress[row, column] = (up - down).sum() / (2 * step * sample.volume)
    return stress


def largest_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, over the largest number expected.

    Args:
        found: to compare.
        expected: of the same shape.
    """
    return float((found - expected).abs().max() / expected.abs().max())


def main(
    repeats: Annotated[int, typer.Option(help="Cells of 4 atoms in each direction.", min=1)] = 2,
    channels: Annotated[int, typer.Option(help="Channels of each irrep.", min=1)] = 16,
    layers: Annotated[int, typer.Option(help="Layers of interaction.", min=1)] = 2,
    max_degree: Annotated[int, typer.Option(help="Highest degree of all irreps.", min=1)] = 2,
) -> Differences:
    """Compare energy, forces and stress of a crystal: e3nn and compiled kernels."""
    settings = settings_for_metals(channels, layers, max_degree)
    (sample,) = rattled_alloys(1, settings, repeats=repeats)
    structure, volume = sample.structure, sample.volume
    reference, compiled = both_models(settings, ("positions", "shifts"), derivatives=1)
    expected, found = (answer(model, structure, volume) for model in (reference, compiled))
    turn = -random_rotation(torch.float64)
    turned = answer(compiled, structure.turned(turn), volume)
    differences = Differences(
        largest_difference(found.energy, expected.energy),
        largest_difference(found.forces, expected.forces),
        largest_difference(found.stress, expected.stress),
        largest_difference(found.stress, stress_by_differences(compiled, sample)),
        max(
            largest_difference(turned.energy, found.energy),
            largest_difference(turned.forces, found.forces @ turn.T),
            largest_difference(turned.stress, turn @ found.stress @ turn.T),
        ),
    )
    print(f"{structure.name}: {len(found.forces)} atoms, {len(structure.senders)} pairs")
    print(
        f"energy, in eV: {float(found.energy):.12f}, largest force: {found.forces.abs().max():.6f}"
    )
    print("stress, in eV per cubic angstrom:")
    for row in found.stress:
        print("  " + "  ".join(f"{float(entry):>13.9f}" for entry in row))
    print(
        f"difference to e3nn: energy {differences.energy:.1e}, forces {differences.forces:.1e}, "
        f"stress {differences.stress:.1e}"
    )
    print(f"stress, to differences of the energy: {differences.strained:.1e}")
    print(f"turned and reflected: {differences.turned:.1e}")
    return differences


if __name__ == "__main__":
    typer.run(main)
