"""Models of every interaction block: energies, forces, stresses, gradients, symmetry."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tvm_equi.models.e3nn import swap
from tvm_equi.models.mace.convolution import Convolution
from tvm_equi.models.mace.elements import ElementLinear
from tvm_equi.models.mace.radial import BiasedRadialNet, RadialNet
from tvm_equi.models.mace.rules import INTERACTIONS, RULES, interaction
from tvm_equi.models.mace.walk import accelerate_mace

Make = Callable[..., torch.nn.Module]
Batch = Callable[..., dict[str, Any]]

RESIDUAL = "RealAgnosticResidualInteractionBlock"
TOLERANCE = 1e-10
OUTPUTS = ("energy", "node_energy", "forces", "virials", "stress", "node_feats")

CASES = [(first, "4x0e + 4x1o", True) for first in INTERACTIONS]
CASES += [(RESIDUAL, "4x0e", True), (RESIDUAL, "4x0e + 4x1o + 4x2e", True)]
CASES += [(RESIDUAL, "4x0e + 4x1o", False)]


def outputs(model: torch.nn.Module, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """What a model computes, and the gradient of a loss on it to each parameter."""
    model.zero_grad()
    out = model(dict(batch), training=True, compute_stress=True, compute_virials=True)
    loss = out["energy"].square().sum() + out["forces"].square().sum()
    (loss + 100 * out["stress"].square().sum()).backward()
    found = {name: out[name].detach() for name in OUTPUTS}
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return found | {f"gradient of {name}": gradient for name, gradient in gradients.items()}


def assert_close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        scale = max(1.0, float(tensor.abs().max()))
        error = float((found[name] - tensor).abs().max()) / scale
        assert error < TOLERANCE, f"{name}: {error}"


@pytest.mark.parametrize(("first", "hidden", "reduced"), CASES)
def test_model_is_as_before(
    first: str, hidden: str, reduced: bool, make_model: Make, crystal: Any, batch_of: Batch
) -> None:
    # Blocks without a skip connection of their own come first only, as in mace-torch.
    other = first if "Residual" in first else RESIDUAL
    model = make_model(hidden, first, other, use_reduced_cg=reduced)
    batch = batch_of(crystal)
    wanted = outputs(model, batch)
    model = accelerate_mace(model)
    assert all(isinstance(block.conv_tp, Convolution) for block in model.interactions)
    assert_close(outputs(model, batch), wanted)


@pytest.mark.parametrize(
    "options",
    [
        {"apply_cutoff": False},
        {"distance_transform": "Agnesi", "pair_repulsion": True},
        {"use_agnostic_product": True},
        {"num_interactions": 3, "correlation": [3, 2, 1]},
        {"heads": ["one", "two"], "atomic_energies": [[0.0] * 3, [1.0] * 3]},
    ],
    ids=lambda options: ", ".join(options),
)
def test_options(options: dict[str, Any], make_model: Make, crystal: Any, batch_of: Batch) -> None:
    import numpy as np

    if "heads" in options:
        scales = {"atomic_inter_scale": [1.0, 2.0], "atomic_inter_shift": [0.0, 0.1]}
        options = options | scales | {"atomic_energies": np.array(options["atomic_energies"])}
    model, batch = make_model(**options), batch_of(crystal)
    wanted = outputs(model, batch)
    assert_close(outputs(accelerate_mace(model), batch), wanted)


@pytest.mark.parametrize("determinant", [1, -1])
def test_equivariance(determinant: int, make_model: Make, crystal: Any, batch_of: Batch) -> None:
    model = accelerate_mace(make_model("4x0e + 4x1o + 4x2e"))
    matrix, _ = torch.linalg.qr(torch.randn(3, 3))
    matrix = matrix * torch.linalg.det(matrix) * determinant
    turned = crystal.copy()
    turned.set_cell(crystal.cell @ matrix.T.numpy(), scale_atoms=False)
    turned.positions = crystal.positions @ matrix.T.numpy()
    out, rotated = (model(batch_of(atoms), compute_stress=True) for atoms in (crystal, turned))
    assert torch.allclose(rotated["energy"], out["energy"], rtol=0, atol=1e-11)
    assert torch.allclose(rotated["forces"], out["forces"] @ matrix.T, rtol=0, atol=1e-11)
    stress = matrix @ out["stress"] @ matrix.T
    assert torch.allclose(rotated["stress"], stress, rtol=0, atol=1e-11)


def test_forces_are_minus_the_energys_gradient(
    make_model: Make, crystal: Any, batch_of: Batch
) -> None:
    model, step = accelerate_mace(make_model()), 1e-4
    forces = model(batch_of(crystal))["forces"]
    for atom, axis in ((0, 0), (3, 2)):
        energies = []
        for sign in (1, -1):
            moved = crystal.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(float(model(batch_of(moved))["energy"].detach()))
        slope = (energies[0] - energies[1]) / (2 * step)
        assert abs(float(forces[atom, axis]) + slope) < 1e-7


def test_a_structure_without_neighbours(make_model: Make, batch_of: Batch) -> None:
    from ase import Atoms

    atoms = Atoms("CO", positions=[[0, 0, 0], [30, 0, 0]])
    model, batch = make_model(), batch_of(atoms)
    wanted = model(dict(batch))["energy"]
    out = accelerate_mace(model)(dict(batch))
    assert torch.allclose(out["energy"], wanted, rtol=0, atol=1e-12)
    assert float(out["forces"].abs().max()) == 0


def test_parts_of_a_block(make_model: Make) -> None:
    block = make_model().interactions[0]
    old = dict(block.named_children())
    change = interaction(block)
    assert change is not None
    assert change.status == "fused"
    assert isinstance(change.module.conv_tp, Convolution)
    assert isinstance(change.module.conv_tp_weights, RadialNet)
    assert isinstance(change.module.skip_tp, ElementLinear)
    assert dict(block.named_children()) == old, "the old block stays"
    assert not hasattr(block, "conv_fusion")
    nonlinear = make_model(first="RealAgnosticResidualNonLinearInteractionBlock").interactions[0]
    change = interaction(nonlinear)
    assert change is not None
    assert isinstance(change.module.conv_tp_weights, BiasedRadialNet)


def test_blocks_that_are_left_say_why(make_model: Make) -> None:
    block = make_model().interactions[0]
    change = interaction(interaction(block).module)  # type: ignore[union-attr]
    assert change is not None
    assert change.status == "left"
    assert change.note == "has another accelerator: Convolution"

    class Own(type(block)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    own = copy.copy(block)
    own.__class__ = Own
    change = interaction(own)
    assert change is not None
    assert "forward is that of" in change.note
    assert "Own, which is not known here" in change.note


def test_other_modules_are_not_known(make_model: Make) -> None:
    make_model()
    assert all(rule(torch.nn.ReLU()) is None for rule in RULES)


def test_harmonics_keep_what_mace_torch_reads(make_model: Make) -> None:
    change = swap(make_model().spherical_harmonics)
    assert change is not None
    assert change.module._lmax == 2
