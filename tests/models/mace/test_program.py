"""MACE as a program: energy and forces on TVM's virtual machine are mace-torch's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.programs import load

pytest.importorskip("mace")

SIZES: dict[str, tuple[int | str, ...]] = {
    "positions": ("nodes", 3),
    "node_attrs": ("nodes", 3),
    "edge_index": (2, "edges"),
    "shifts": ("edges", 3),
    "unit_shifts": ("edges", 3),
    "cell": (3, 3),
    "batch": ("nodes",),
    "ptr": (2,),
}


class Potential(torch.nn.Module):
    """The model as a function of tensors."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.model(dict(inputs), training=False, compute_force=True)
        return {name: found[name] for name in ("energy", "forces")}


def test_energy_and_forces_for_several_sizes(
    make_model: Callable[..., torch.nn.Module], crystal: Any, batch_of: Callable[..., Any]
) -> None:
    from tvm_equi.export.capture import capture
    from tvm_equi.models.mace import accelerate_mace
    from tvm_equi.relax import build_program

    model = accelerate_mace(make_model(hidden="2x0e + 2x1o")).eval()
    batch = batch_of(crystal)
    inputs = {name: batch[name] for name in SIZES}
    captured = capture(Potential(model), inputs, SIZES, ["energy", "forces"])
    run = load(build_program(captured))
    exact = make_model(hidden="2x0e + 2x1o").eval()
    for repeats in (1, 2):
        batch = batch_of(crystal.repeat((repeats, 1, 1)))
        found = run(*(batch[name].contiguous() for name in SIZES))
        wanted = exact(batch, training=False, compute_force=True)
        torch.testing.assert_close(found[0], wanted["energy"].detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found[1], wanted["forces"].detach(), rtol=1e-10, atol=1e-12)
