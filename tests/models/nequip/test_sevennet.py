"""SevenNet's own tests of an accelerator, of ours; and what they do not look at."""

import pytest
import torch
from ase import Atoms
from sevenn.atom_graph_data import AtomGraphData
from sevenn.train.dataload import unlabeled_atoms_to_graph

from tests.models.nequip.vendor import sevennet_oeq
from tests.models.nequip.vendor.sevennet_oeq import (
    test_calculator,
    test_checkpoint_convert,
    test_checkpoint_convert_no_batch,
    test_model_output,
)
from tests.nn.conv_reference import largest_error
from tvm_equi.models.sevennet import CompiledConvolution, accelerate_sevennet

__all__ = [
    "test_calculator",
    "test_checkpoint_convert",
    "test_checkpoint_convert_no_batch",
    "test_model_output",
]


@pytest.fixture(autouse=True)
def _default_dtype() -> None:
    """float32, as SevenNet has it; nequip's fixtures set float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(before)


def outputs(model: torch.nn.Module, atoms: Atoms) -> list[torch.Tensor]:
    """Energy, forces, stress, and gradients of a loss on energy and forces, in float64."""
    graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, sevennet_oeq.cutoff))
    graph = graph.apply(lambda t: t.double() if t.is_floating_point() else t)
    model.train().set_is_batch_data(False)
    out = model(graph)
    loss = out.inferred_total_energy.square().sum() + out.inferred_force.square().sum()
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    values = [out.inferred_total_energy, out.inferred_force, out.inferred_stress]
    return [value.detach() for value in values] + [
        torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)
    ]


@pytest.mark.parametrize("kind", ["crystal", "alone"])
def test_float64(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All numbers to 1e-10; an atom alone has no edges."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # SevenNet knows float32 only
    atoms = sevennet_oeq._atoms if kind == "crystal" else Atoms("Na", cell=[30.0] * 3, pbc=True)
    torch.set_default_dtype(torch.float64)
    model = sevennet_oeq.get_model({"channel": 8}).double()
    reference = outputs(model, atoms)
    keys = list(model.state_dict())
    accelerate_sevennet(model)
    assert sum(isinstance(part, CompiledConvolution) for part in model.modules()) == 3
    assert list(model.state_dict()) == keys
    assert largest_error(outputs(model, atoms), reference) < 1e-10
