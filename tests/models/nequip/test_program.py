"""NequIP as a program: energy and forces on TVM's virtual machine are nequip's."""

import numpy as np
import pytest
import torch

from tests.programs import load

pytest.importorskip("nequip")

ELEMENTS = ("H", "C", "O")
SIZES: dict[str, tuple[int | str, ...]] = {
    "pos": ("nodes", 3),
    "edge_index": (2, "edges"),
    "atom_types": ("nodes",),
    "cell": (1, 3, 3),
    "edge_cell_shift": ("edges", 3),
}


class Potential(torch.nn.Module):
    """The model as a function of tensors."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.model(dict(inputs))
        return {name: found[name] for name in ("total_energy", "forces")}


def make_model() -> torch.nn.Module:
    """A small model, always with the same weights."""
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    model: torch.nn.Module = NequIPGNNModel(
        seed=0,
        model_dtype="float64",
        r_max=3.5,
        type_names=list(ELEMENTS),
        num_layers=2,
        l_max=1,
        num_features=4,
        avg_num_neighbors=10.0,
        per_type_energy_scales=dict.fromkeys(ELEMENTS, 1.0),
        per_type_energy_shifts=dict.fromkeys(ELEMENTS, 0.5),
    )
    return model.eval().requires_grad_(False)


def make_data(repeats: int) -> dict[str, torch.Tensor]:
    """A shaken crystal of three elements."""
    from ase.build import bulk
    from nequip.data import compute_neighborlist_, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper

    atoms = bulk("C", "diamond", cubic=True).repeat((repeats, 1, 1))
    atoms.rattle(0.1, seed=1)
    atoms.numbers[:] = np.random.default_rng(2).choice([1, 6, 8], len(atoms))
    names = ChemicalSpeciesToAtomTypeMapper(
        model_type_names=list(ELEMENTS),
        chemical_species_to_atom_type_map={name: name for name in ELEMENTS},
    )
    found: dict[str, torch.Tensor] = compute_neighborlist_(names(from_ase(atoms)), r_max=3.5)
    return found


def test_energy_and_forces_for_several_sizes() -> None:
    from nequip.model import modify

    from tvm_equi.export.capture import capture
    from tvm_equi.models.nequip import MODIFIER
    from tvm_equi.relax import build_program

    model, data = make_model(), make_data(1)
    modify(model, [{"modifier": MODIFIER}])
    inputs = {name: data[name] for name in SIZES}
    run = load(build_program(capture(Potential(model), inputs, SIZES, ["total_energy", "forces"])))
    exact = make_model()
    for repeats in (1, 2):
        data = make_data(repeats)
        found = run(*(data[name].contiguous() for name in SIZES))
        wanted = exact(dict(data))
        for value, name in zip(found, ("total_energy", "forces"), strict=True):
            torch.testing.assert_close(value, wanted[name].detach(), rtol=1e-10, atol=1e-11)
