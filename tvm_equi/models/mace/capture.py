"""A model of mace-torch as a program: energy, forces and virials of one structure.

In: a model, accelerated. Out: what `tvm_equi.export` captures, for `compile`, `pt2` and runtimes
without torch. Structures come as tensors that any neighbour list gives. Refused: models with
several heads, and those whose energy is no output.
"""

from __future__ import annotations

from typing import Any

import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.export.capture import Captured, capture
from tvm_equi.models.mace.elements import one_hot

OUTPUTS = ("energy", "node_energy", "forces", "virials")
"""In eV, eV, eV/angstrom and eV, where the model was trained on these units: [1], [nodes],
[nodes, 3] and [3, 3]."""


class _OneStructure(torch.nn.Module):
    """A model of mace-torch as a function of tensors.

    Args:
        model: a MACE or ScaleShiftMACE.
    """

    attributes: torch.Tensor
    model: torch.nn.Module

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        dtype = next(model.parameters()).dtype
        self.register_buffer("attributes", torch.eye(len(model.atomic_numbers), dtype=dtype))

    def forward(
        self,
        positions: torch.Tensor,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        unit_shifts: torch.Tensor,
        cell: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Energy, forces and virials."""
        attributes = self.attributes.index_select(0, species)
        data = {
            "positions": positions.detach(),
            "node_attrs": attributes,
            "edge_index": edge_index,
            "unit_shifts": unit_shifts,
            "shifts": unit_shifts @ cell,
            "cell": cell,
            "batch": torch.zeros_like(species),
            "ptr": torch.zeros(2, dtype=torch.int64),
        }
        with one_hot(attributes, species):
            found = self.model(data, compute_force=True, compute_virials=True)
        virials = found["virials"].reshape(3, 3)
        return {name: found[name] for name in OUTPUTS[:3]} | {"virials": virials}


def capture_mace(model: torch.nn.Module) -> Captured:
    """A model of mace-torch as a program.

    Its inputs: positions [nodes, 3] in angstrom; species, int64 [nodes], numbers of
    `model.atomic_numbers`; edge_index, int64 [2, edges], senders then receivers; unit_shifts
    [edges, 3], the cells between receiver and sender, whole numbers; cell [3, 3] in angstrom. Its
    outputs: `OUTPUTS`.

    Args:
        model: `accelerate_mace` made it; a MACE or ScaleShiftMACE.

    Returns:
        The program.

    Raises:
        UnsupportedError: a model with several heads, or of another kind.
    """
    heads = getattr(model, "heads", None) or ["Default"]
    if len(heads) != 1 or not hasattr(model, "atomic_energies_fn"):
        raise UnsupportedError(
            "capture_mace: model: expected a MACE or ScaleShiftMACE with one head, got "
            f"{type(model).__name__} with {len(heads)}; mace_select_head makes one of several"
        )
    like = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "positions": torch.randn((5, 3), generator=generator, dtype=like.dtype),
        "species": torch.zeros(5, dtype=torch.int64),
        "edge_index": torch.randint(0, 5, (2, 13), generator=generator),
        "unit_shifts": torch.zeros((13, 3), dtype=like.dtype),
        "cell": torch.eye(3, dtype=like.dtype),
    }
    sizes = {
        "positions": ("nodes", 3),
        "species": ("nodes",),
        "edge_index": (2, "edges"),
        "unit_shifts": ("edges", 3),
        "cell": (3, 3),
    }
    return capture(_OneStructure(model), inputs, sizes, OUTPUTS)
