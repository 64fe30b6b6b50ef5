"""What the demo measures: differences, symmetry, times.

In: models, each a function of a structure's inputs that gives the energy. Out: numbers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from tvm_equi.demo.structures import Structure

Model: TypeAlias = Callable[..., torch.Tensor]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How one model differs from another, and from its own symmetry.

    Args:
        energy: difference per atom.
        forces: largest difference of a component, over the largest component.
        rotation_energy: change of the energy per atom under a rotation and inversion.
        rotation_forces: largest change of turned forces, over the largest component.
    """

    energy: float
    forces: float
    rotation_energy: float
    rotation_forces: float


def energy_and_forces(model: Model, structure: Structure) -> tuple[torch.Tensor, torch.Tensor]:
    """The energy [1] and the forces [nodes, 3].

    Args:
        model: gives the energy.
        structure: to compute.
    """
    positions = structure.positions.clone().requires_grad_()
    energy = model(**(structure.inputs() | {"positions": positions}))
    (gradient,) = torch.autograd.grad(energy.sum(), positions)
    return energy.detach(), -gradient


def measure_accuracy(model: Model, reference: Model, structure: Structure) -> Accuracy:
    """The differences between two models, and the model's errors of symmetry.

    Args:
        model: to measure.
        reference: to compare with.
        structure: to compute.
    """
    energy, forces = energy_and_forces(model, structure)
    wanted_energy, wanted_forces = energy_and_forces(reference, structure)
    rotation = -random_rotation(structure.positions.dtype)  # with the inversion
    turned_energy, turned_forces = energy_and_forces(model, structure.turned(rotation))
    scale = float(wanted_forces.abs().max())
    num_atoms = len(structure.positions)
    return Accuracy(
        float((energy - wanted_energy).abs()) / num_atoms,
        float((forces - wanted_forces).abs().max()) / scale,
        float((turned_energy - energy).abs()) / num_atoms,
        float((turned_forces - forces @ rotation.T).abs().max()) / scale,
    )


def random_rotation(dtype: torch.dtype) -> torch.Tensor:
    """A rotation matrix, orthogonal to the precision of a dtype.

    Args:
        dtype: of the matrix.
    """
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(matrix)
    result: torch.Tensor = (rotation * torch.linalg.det(rotation).sign()).to(dtype)
    return result


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds for each use of a model: the median of a few runs.

    Args:
        forward: the energy.
        forces: the energy and the forces.
        training: a loss on energy and forces, and its gradient to all parameters.
    """

    forward: float
    forces: float
    training: float


def measure_times(model: torch.nn.Module, structure: Structure, seconds: float) -> Times:
    """Times of a model.

    Args:
        model: whose parameters require gradients; forward and forces are run without those.
        structure: to compute.
        seconds: to spend on each use, at least.
    """
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        forward = _median(lambda: model(**structure.inputs()), seconds)
        forces = _median(lambda: energy_and_forces(model, structure), seconds)
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
    return Times(forward, forces, _median(lambda: training_step(model, structure), seconds))


def training_step(model: torch.nn.Module, structure: Structure) -> None:
    """A loss on energy and forces, and its gradient to all parameters.

    Args:
        model: to train.
        structure: to train on.
    """
    model.zero_grad(set_to_none=True)
    positions = structure.positions.clone().requires_grad_()
    energy = model(**(structure.inputs() | {"positions": positions}))
    (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
    loss = energy.square().sum() / len(positions) + gradient.square().mean()
    loss.backward()


def _median(call: Callable[[], Any], seconds: float) -> float:
    """The median time of calls, after two that do not count (they load and specialise)."""
    for _ in range(2):
        call()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
