"""NequIP's hook for accelerators: tensor product and sum over edges in one kernel.

In: nequip's `TensorProductScatter`, built here or loaded from one of its packages. Out: a module
with the same state dict that convolves on a compiled kernel, on the CPU too. Importing this module
where nequip is installed, which nequip does itself if this package is installed, gives the class
the model modifier `enable_TVM`: for `modifiers` of a config and `nequip-compile --modifiers`.
Refused: a tensor product that no kernel serves.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch

from tvm_equi.models.change import Change, Rule
from tvm_equi.models.shared_topology import shared_topology
from tvm_equi.nn.convolution import TensorProductConv

MODIFIER = "enable_TVM"
SCATTER = "nequip.nn._tp_scatter_base"
"""Where nequip defines `TensorProductScatter`; the end of the name in a package."""


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


def is_scatter(module: torch.nn.Module) -> bool:
    """Whether a module is nequip's `TensorProductScatter`, of the installed nequip or of a package.

    Args:
        module: any.
    """
    kind = type(module)
    return kind.__name__ == "TensorProductScatter" and kind.__module__.endswith(SCATTER)


def accelerate_scatters(model: torch.nn.Module) -> torch.nn.Module:
    """Puts a `CompiledScatter` in the place of each `TensorProductScatter`, in place.

    Args:
        model: of nequip.

    Returns:
        The model.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if is_scatter(child):
                setattr(parent, name, CompiledScatter(child))
    return model


def fuse(module: torch.nn.Module) -> Change | None:
    """The rule for nequip's convolutions.

    Args:
        module: any.
    """
    if not is_scatter(module):
        return None
    return Change(CompiledScatter(module), "fused", "tvm_equi TensorProductConv")


def enable_tvm(cls: type[torch.nn.Module], model: torch.nn.Module) -> torch.nn.Module:
    """Enable compiled kernels of tvm_equi for NequIP training and inference, on the CPU too."""
    return accelerate_scatters(model)


def register() -> None:
    """Gives nequip's class the modifier, and classes that come out of packages too.

    These are other classes than the installed one, so that they get it when nequip looks for the
    modifiers of a model.
    """
    modifiers = importlib.import_module("nequip.nn.model_modifier_utils")
    utilities: Any = importlib.import_module("nequip.model.modify_utils")
    decorate = modifiers.model_modifier(
        persistent=False,
        private=False,
        unsupported_devices=[],
        supported_compile_modes=["aotinductor"],
    )
    modifier = decorate(classmethod(enable_tvm))
    setattr(importlib.import_module(SCATTER).TensorProductScatter, MODIFIER, modifier)
    find = utilities.get_all_modifiers

    def get_all_modifiers(module: torch.nn.Module, *args: Any, **options: Any) -> Any:
        for part in module.modules():
            if is_scatter(part) and not hasattr(type(part), MODIFIER):
                setattr(type(part), MODIFIER, modifier)
        return find(module, *args, **options)

    utilities.get_all_modifiers = get_all_modifiers


RULES: tuple[Rule, ...] = (fuse,)

if importlib.util.find_spec("nequip") is not None:
    register()
