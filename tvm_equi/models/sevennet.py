"""SevenNet's convolutions on one kernel each, in the place where its own accelerators put theirs.

In: a SevenNet model, built or loaded; `accelerate_sevennet(calculator.model)` is all there is to
do. Out: its `IrrepsConvolution`s replaced by modules with the same state dict. No edges need no
special case. Refused: convolutions that are not instantiated yet, or that another accelerator
serves; these are left.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from e3nn import o3

from tvm_equi.models.change import Change, Rule
from tvm_equi.models.shared_topology import shared_topology
from tvm_equi.nn.convolution import TensorProductConv

MODULE, NAME = "sevenn.nn.convolution", "IrrepsConvolution"


class CompiledConvolution(torch.nn.Module):
    """SevenNet's `IrrepsConvolution` on one kernel over the edges.

    Args:
        source: the module of SevenNet, instantiated, whose parameters to use.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.key_x, self.key_filter = source.key_x, source.key_filter
        self.key_weight_input, self.key_edge_idx = source.key_weight_input, source.key_edge_idx
        self.is_parallel = source.is_parallel
        self.layer_instantiated = True
        self._comm_size = source._comm_size
        self.denominator = source.denominator
        self.convolution = source.convolution  # for its state, as checkpoints have it
        self.weight_nn = source.weight_nn
        # In a tuple, so that it adds nothing to the state dict.
        self._convolutions = (TensorProductConv.from_e3nn(source.convolution),)
        self._ghost_keys = _ghost_keys() if source.is_parallel else ("", "")
        self.train(source.training)

    def forward(self, data: Any) -> Any:
        """The graph with new features of nodes.

        Args:
            data: SevenNet's dictionary of tensors: features [nodes, irreps_x.dim], filters
                [edges, irreps_filter.dim], inputs of the radial network [edges, features], and
                indices [2, edges], receivers first.

        Returns:
            The same dictionary.
        """
        (convolution,) = self._convolutions
        ghosts, num_local = self._ghost_keys
        x = data[self.key_x]
        if self.is_parallel:
            x = torch.cat([x, data[ghosts]])
        receivers, senders = data[self.key_edge_idx]
        topology = shared_topology(senders, receivers, x.shape[0])
        weight = self.weight_nn(data[self.key_weight_input])
        x = convolution(x, data[self.key_filter], weight, topology).div(self.denominator)
        if self.is_parallel:
            x = torch.tensor_split(x, data[num_local])[0]
        data[self.key_x] = x
        return data

    def extra_repr(self) -> str:
        """The convolution."""
        return str(self._convolutions[0])


def _ghost_keys() -> tuple[str, str]:
    """The names of the features of other processes' atoms, and of the number of own atoms."""
    keys = importlib.import_module("sevenn._keys")
    return keys.NODE_FEATURE_GHOST, keys.NLOCAL


def fuse(module: torch.nn.Module) -> Change | None:
    """The rule for SevenNet's convolutions.

    Args:
        module: any.
    """
    kind = type(module)
    if (kind.__module__, kind.__name__) != (MODULE, NAME):
        return None
    product = getattr(module, "convolution", None)
    if product is None:
        return Change(module, "left", "it is not instantiated yet; accelerate the built model")
    if type(product) is not o3.TensorProduct:
        return Change(module, "left", f"its product is a {type(product).__name__}, not e3nn's")
    return Change(CompiledConvolution(module), "fused", "tvm_equi TensorProductConv")


def accelerate_sevennet(model: torch.nn.Module) -> torch.nn.Module:
    """Puts the convolutions of a SevenNet model on compiled kernels, in place.

    Args:
        model: built by sevenn, or a calculator's `model`.

    Returns:
        The model.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            change = fuse(child)
            if change is not None:
                setattr(parent, name, change.module)
    return model


RULES: tuple[Rule, ...] = (fuse,)
