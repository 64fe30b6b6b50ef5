"""NequIP's hook for accelerators: tensor product and sum over edges in one kernel.

In: nequip's `TensorProductScatter`, built here or loaded from one of its packages. Out: a module
with the same state dict that convolves on a compiled kernel, on the CPU too. Importing this module
where nequip is installed, which nequip does itself if this package is installed, gives the class
the model modifier `enable_TVM`: for `modifiers` of a config and `nequip-compile --modifiers`.
Refused: a tensor product that no kernel serves.
"""

from __future__ import annotations

from typing import Any

import torch

from tvm_equi.models.change import Change, Rule
from tvm_equi.models.nequip_modifier import Place, add_modifier, replace
from tvm_equi.models.shared_topology import shared_topology
from tvm_equi.nn.convolution import TensorProductConv

MODIFIER = "enable_TVM"
SCATTER = Place("nequip.nn._tp_scatter_base", "TensorProductScatter")


class CompiledScatter(torch.nn.Module):
    """nequip's `TensorProductScatter` on one kernel over the edges.

    Args:
        scatter: the module of nequip whose tensor product to use, and whose state to keep.
    """

    # What nequip imports before it loads a model that was compiled ahead of time.
    _nequip_custom_ops_libs = ("tvm_equi.runtime.convolution",)

    def __init__(self, scatter: Any) -> None:
        super().__init__()
        self.feature_irreps_in = scatter.feature_irreps_in
        self.irreps_edge_attr = scatter.irreps_edge_attr
        self.irreps_mid = scatter.irreps_mid
        self.instructions = scatter.instructions
        self.model_dtype = scatter.model_dtype
        self.tp = scatter.tp  # for its state, as nequip's own accelerators keep it
        # In a tuple, so that it adds nothing to the state dict.
        self._convolutions = (TensorProductConv.from_e3nn(scatter.tp),)
        self.train(scatter.training)

    def forward(
        self,
        x: torch.Tensor,
        edge_attr: torch.Tensor,
        edge_weight: torch.Tensor,
        edge_dst: torch.Tensor,
        edge_src: torch.Tensor,
    ) -> torch.Tensor:
        """The sum over each node's edges.

        Args:
            x: [nodes, feature_irreps_in.dim].
            edge_attr: [edges, irreps_edge_attr.dim].
            edge_weight: [edges, weights].
            edge_dst: integers [edges], the receivers.
            edge_src: integers [edges], the senders.

        Returns:
            [nodes, irreps_mid.dim], in the dtype of the model whatever autocast made of inputs.
        """
        dtype = self.model_dtype
        topology = shared_topology(edge_src, edge_dst, x.shape[0])
        (convolution,) = self._convolutions
        found: torch.Tensor = convolution(
            x.to(dtype), edge_attr.to(dtype), edge_weight.to(dtype), topology
        )
        return found

    def extra_repr(self) -> str:
        """The convolution."""
        return str(self._convolutions[0])


def accelerate_scatters(model: torch.nn.Module) -> torch.nn.Module:
    """Puts a `CompiledScatter` in the place of each `TensorProductScatter`, in place.

    Args:
        model: of nequip.

    Returns:
        The model.
    """
    return replace(model, SCATTER, CompiledScatter)


def fuse(module: torch.nn.Module) -> Change | None:
    """The rule for nequip's convolutions.

    Args:
        module: any.
    """
    if not SCATTER.has(module):
        return None
    return Change(CompiledScatter(module), "fused", "tvm_equi TensorProductConv")


def enable_tvm(cls: type[torch.nn.Module], model: torch.nn.Module) -> torch.nn.Module:
    """Enable compiled kernels of tvm_equi for NequIP training and inference, on the CPU too."""
    return accelerate_scatters(model)


RULES: tuple[Rule, ...] = (fuse,)

add_modifier(SCATTER, MODIFIER, enable_tvm)
