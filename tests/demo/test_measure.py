"""Measurements, on a model whose energy and forces are known."""

import torch

from tvm_equi.demo.measure import (
    energy_and_forces,
    measure_accuracy,
    measure_times,
    random_rotation,
    training_step,
)
from tvm_equi.demo.structures import Structure, molecule


class Springs(torch.nn.Module):
    """Half the sum of squared distances between neighbours."""

    def __init__(self, stiffness: float = 1.0) -> None:
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.tensor(stiffness, dtype=torch.float64))

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        x = inputs["positions"]
        vectors = x[inputs["senders"]] - x[inputs["receivers"]] + inputs["shifts"]
        return 0.5 * self.stiffness * vectors.square().sum().reshape(1)


def structure() -> Structure:
    return molecule(3.0)


def test_energy_and_forces() -> None:
    energy, forces = energy_and_forces(Springs(), structure())
    assert energy.shape == (1,)
    assert forces.sum(0).norm() < 1e-10


def test_accuracy() -> None:
    found = measure_accuracy(Springs(1.01), Springs(), structure())
    assert abs(found.forces - 0.01) < 1e-9
    assert found.energy > 0
    assert max(found.rotation_energy, found.rotation_forces) < 1e-12


def test_a_model_without_symmetry_is_found_out() -> None:
    def along_x(**inputs: torch.Tensor) -> torch.Tensor:
        return inputs["positions"][:, 0].square().sum().reshape(1)

    assert measure_accuracy(along_x, along_x, structure()).rotation_forces > 0.01


def test_rotation() -> None:
    rotation = random_rotation(torch.float64)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(rotation) > 0


def test_times_leave_parameters_as_they_were() -> None:
    model = Springs()
    found = measure_times(model, structure(), seconds=0.0)
    assert min(found.forward, found.forces, found.training) > 0
    assert model.stiffness.requires_grad
    training_step(model, structure())
    assert model.stiffness.grad is not None
