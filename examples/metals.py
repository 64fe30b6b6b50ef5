"""What the examples on metals share: data made with ASE's EMT, and a model twice.

In: how many structures, and sizes. Out: crystals of Al, Cu and Ni with the energies, forces and
stresses of effective medium theory; a NequIP-style model with e3nn, and the same one compiled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

import tvm_equi
from tvm_equi.demo.model import ReferenceModel, Settings, graph_parameters, interaction_graph
from tvm_equi.demo.run import make_reference
from tvm_equi.demo.structures import Structure, structure_of
from tvm_equi.graph import DEFAULT_PIPELINE
from tvm_equi.nn.graph_module import GraphModule

SPECIES = ("Al", "Cu", "Ni")
LATTICE_CONSTANT = 3.8  # angstrom: between those of copper and aluminium


@dataclass(frozen=True, slots=True)
class Sample:
    """A crystal with what EMT says of it.

    Args:
        structure: its atoms and their neighbours.
        energy: in eV.
        forces: [nodes, 3], in eV per angstrom.
        stress: [3, 3], in eV per cubic angstrom.
        volume: in cubic angstrom.
    """

    structure: Structure
    energy: float
    forces: torch.Tensor
    stress: torch.Tensor
    volume: float


def rattled_alloys(
    num: int, settings: Settings, *, repeats: int = 1, seed: int = 0
) -> list[Sample]:
    """Face-centred cubic crystals with random species, strain and displacements.

    Args:
        num: of crystals.
        settings: of the model: its cutoff and species.
        repeats: of the cell of 4 atoms, in each direction.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    samples = []
    for number in range(num):
        atoms = bulk("Cu", "fcc", a=LATTICE_CONSTANT, cubic=True).repeat(repeats)
        atoms.symbols[:] = random.choice(settings.species, len(atoms))
        strain = np.eye(3) + 0.02 * random.normal(size=(3, 3))
        atoms.set_cell(np.array(atoms.cell) @ strain, scale_atoms=True)
        atoms.positions += 0.1 * random.normal(size=(len(atoms), 3))
        atoms.calc = EMT()
        name = f"{atoms.get_chemical_formula()}, crystal {number}"
        samples.append(
            Sample(
                structure_of(name, atoms, settings.cutoff, settings.species),
                float(atoms.get_potential_energy()),
                torch.from_numpy(atoms.get_forces()),
                torch.from_numpy(atoms.get_stress(voigt=False)),
                float(atoms.get_volume()),
            )
        )
    return samples


def joined(samples: list[Sample]) -> tuple[Structure, torch.Tensor]:
    """Several crystals as one structure without edges between them, and all their forces.

    Args:
        samples: to join.
    """
    structures = [sample.structure for sample in samples]
    counts = [len(structure.positions) for structure in structures]
    starts = [sum(counts[:number]) for number in range(len(counts))]
    pairs = list(zip(structures, starts, strict=True))
    whole = Structure(
        f"{len(samples)} crystals",
        torch.cat([structure.positions for structure in structures]),
        torch.cat([structure.species for structure in structures]),
        torch.cat([structure.senders + start for structure, start in pairs]),
        torch.cat([structure.receivers + start for structure, start in pairs]),
        torch.cat([structure.shifts for structure in structures]),
    )
    return whole, torch.cat([sample.forces for sample in samples])


def settings_for_metals(channels: int, layers: int, max_degree: int) -> Settings:
    """Settings of a model of metals.

    Args:
        channels: of each irrep of the features.
        layers: of interaction.
        max_degree: of spherical harmonics and features.
    """
    return Settings(
        num_channels=channels,
        num_layers=layers,
        max_degree=max_degree,
        feature_degree=max_degree,
        num_hidden=2 * channels,
        cutoff=4.0,
        avg_neighbours=18.0,
        species=SPECIES,
    )


def both_models(
    settings: Settings, wrt: tuple[str, ...] = ("positions",), *, derivatives: int = 2
) -> tuple[ReferenceModel, tvm_equi.Artifact]:
    """The model with e3nn, and the same compiled, in float64 with the same numbers.

    Args:
        settings: of the model.
        wrt: inputs to which the energy is differentiated.
        derivatives: 2 to train on forces, 1 for forces alone.
    """
    reference = make_reference(settings)
    module = accelerated(reference).requires_grad_(derivatives > 1)
    compiled = tvm_equi.compile(module, derivatives=derivatives, wrt=list(wrt))
    return reference, compiled


def accelerated(reference: ReferenceModel) -> GraphModule:
    """The model as a planned graph, whose kernels are compiled when they are first called.

    Args:
        reference: whose numbers to take.
    """
    graph = DEFAULT_PIPELINE(interaction_graph(reference.settings, "float64"))
    return GraphModule(graph, graph_parameters(reference, graph)).requires_grad_()


class ForceLoss(torch.nn.Module):
    """The mean square error of the forces of a model of the energy.

    Args:
        model: gives the energy of a structure's inputs.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, structure: Structure, forces: torch.Tensor) -> torch.Tensor:
        """The loss, which may be differentiated to the model's parameters.

        Args:
            structure: to compute.
            forces: that are right: [nodes, 3].
        """
        positions = structure.positions.clone().requires_grad_()
        energy = self.model(**(structure.inputs() | {"positions": positions}))
        (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
        return (gradient + forces).square().mean()
