"""Accelerated models as exported programs with forces; `deploy_pt2.md` compiles such programs."""

from collections.abc import Callable
from typing import Any

import torch

from tests.models.mace.test_rules import TOLERANCE
from tvm_equi.export.capture import capture
from tvm_equi.models.mace.walk import accelerate_mace

NAMES = ("positions", "node_attrs", "edge_index", "shifts")


class Forces(torch.nn.Module):
    """One structure without a batch, from what any neighbour list gives."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **data: torch.Tensor) -> dict[str, torch.Tensor]:
        positions = data["positions"]
        batch = {
            "batch": torch.zeros(positions.shape[0], dtype=torch.int64),
            "ptr": torch.tensor([0, 1]),
            "cell": positions.new_zeros(3, 3),
            "unit_shifts": data["shifts"],  # read for stresses only
        }
        found: dict[str, torch.Tensor] = self.model(data | batch, compute_force=True)
        return {name: found[name] for name in ("energy", "forces")}


def test_energies_and_forces_of_other_sizes(
    make_model: Callable[..., torch.nn.Module],
    crystal: Any,
    batch_of: Callable[..., dict[str, Any]],
) -> None:
    model = make_model()
    batches = [batch_of(crystal), batch_of(crystal.repeat((2, 1, 1)))]
    wanted = [model(dict(batch)) for batch in batches]
    accelerated = accelerate_mace(make_model())
    inputs = {name: batches[0][name] for name in NAMES}
    sizes = {"positions": ("nodes", 3), "node_attrs": ("nodes", 3)}
    sizes |= {"edge_index": (2, "edges"), "shifts": ("edges", 3)}
    captured = capture(Forces(accelerated), inputs, sizes, ["energy", "forces"])
    called = {str(node.target) for node in captured.program.graph.nodes}
    assert {"tvm_equi.run.default", "tvm_equi.convolve.default"} <= called
    program = captured.program.module()
    for batch, values in zip(batches, wanted, strict=True):
        energy, forces = program(*(batch[name] for name in NAMES))
        torch.testing.assert_close(energy, values["energy"].detach(), atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(forces, values["forces"].detach(), atol=TOLERANCE, rtol=0)
