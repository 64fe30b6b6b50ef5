"""MACE as what is deployed: energy and forces of atoms and their neighbours, as one function.

In: a size. Out: a module whose forward takes tensors by name and gives energy and forces, with what
`tvm_equi.export.capture` must know of it; and inputs for it. Refused: an environment without
mace-torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from bench.models.mace import Size, batch, build
from tvm_equi.models.mace import accelerate_mace

INPUTS = ("positions", "node_attrs", "edge_index", "shifts")
OUTPUTS = ("energy", "forces")


class EnergyForces(torch.nn.Module):
    """The energy of one structure and the forces on its atoms.

    Args:
        model: of mace-torch, accelerated or not.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        positions: torch.Tensor,
        node_attrs: torch.Tensor,
        edge_index: torch.Tensor,
        shifts: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Energy [1] and forces [nodes, 3]; mace-torch takes the positions' gradient itself."""
        num_nodes = positions.shape[0]
        of_node = torch.zeros(num_nodes, dtype=torch.int64)
        one = torch.zeros((), dtype=torch.int64)
        data = {
            "positions": positions,
            "node_attrs": node_attrs,
            "edge_index": edge_index,
            "shifts": shifts,
            "unit_shifts": shifts,  # read for stresses alone, like the cell
            "cell": positions.new_zeros(3, 3),
            "batch": of_node,
            "ptr": torch.stack([one, torch.full((), num_nodes, dtype=torch.int64)]),
            "head": torch.zeros(1, dtype=torch.int64),
        }
        found = self.model(data, training=False, compute_force=True)
        return {name: found[name] for name in OUTPUTS}


def single(size: Size, *, is_accelerated: bool = True) -> EnergyForces:
    """The model in float32.

    Args:
        size: of the model.
        is_accelerated: whether with kernels of ours, or as mace-torch runs it.
    """
    model = build(size, "float32")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return EnergyForces(accelerate_mace(model) if is_accelerated else model).eval()


def reference(size: Size) -> EnergyForces:
    """The same model as mace-torch runs it, from the same weights, in float64.

    Args:
        size: of the model.
    """
    model = single(size, is_accelerated=False).double()
    torch.set_default_dtype(torch.float64)
    return model


def inputs(size: Size, structure: str, num_atoms: int, dtype: str) -> dict[str, torch.Tensor]:
    """Inputs of the module.

    Args:
        size: of the model.
        structure: its name.
        num_atoms: wanted.
        dtype: of the values.
    """
    found: Mapping[str, Any] = batch(size, structure, num_atoms, dtype)
    return {name: found[name].detach() for name in INPUTS}


def sizes(size: Size) -> dict[str, tuple[int | str, ...]]:
    """What the axes of the inputs are.

    Args:
        size: of the model.
    """
    return {
        "positions": ("nodes", 3),
        "node_attrs": ("nodes", size.num_elements),
        "edge_index": (2, "edges"),
        "shifts": ("edges", 3),
    }
