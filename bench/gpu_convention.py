"""How a contestant's data differ from e3nn's: the layout of irreps, the order of weights.

In: e3nn's module, tensors in e3nn's convention. Out: the same numbers in a contestant's, and back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from e3nn import o3
from torch import Tensor

from bench.graphs import Graph
from bench.passes import Product, Tensors

Change = Callable[[Tensor], Tensor]
Outputs = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Convention:
    """How data differ from e3nn's, by role "x", "y", "w", "z"; a role that is missing is alike.

    Args:
        into: from e3nn's.
        back: to e3nn's.
    """

    into: Mapping[str, Change] = field(default_factory=dict)
    back: Mapping[str, Change] = field(default_factory=dict)

    def tensors(self, given: Tensors) -> Tensors:
        """What a pass reads, converted; what is alike is shared."""
        inputs = tuple(
            self._changed(r, t).requires_grad_() for r, t in zip("xyw", given.inputs, strict=True)
        )
        g = self._changed("z", given.g).requires_grad_()
        # A forward pass has no cotangents.
        pairs = zip("xyw", given.cotangents, strict=False)
        return Tensors(inputs, g, tuple(self._changed(role, t) for role, t in pairs))

    def outputs(self, roles: str, found: Outputs) -> Outputs:
        """What a pass returned, in e3nn's convention."""
        return tuple(self.back.get(role, _same)(t) for role, t in zip(roles, found, strict=True))

    def _changed(self, role: str, tensor: Tensor) -> Tensor:
        return self.into.get(role, _same)(tensor.detach()).detach()


def _same(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True, slots=True)
class Contestant:
    """A product that was built.

    Args:
        bind: the product over a graph on the device, or over none.
        convention: of its data.
        how: its method, where it has several.
        is_fused: whether it stores nothing per edge.
    """

    bind: Callable[[Graph | None], Product]
    convention: Convention = Convention()
    how: str = ""
    is_fused: bool = True


def given_graph(graph: Graph | None) -> Graph:
    """A graph that must be there.

    Raises:
        ValueError: it is not.
    """
    if graph is None:
        raise ValueError("bind: graph: expected a graph, got None")
    return graph


def components_first(module: o3.TensorProduct) -> Convention:
    """The layout in which an irrep's components come before its channels."""
    irreps = dict(zip("xyz", irreps_of(module), strict=True))
    return Convention(
        {role: partial(_turned, irreps=each, first=0) for role, each in irreps.items()},
        {role: partial(_turned, irreps=each, first=1) for role, each in irreps.items()},
    )


def _turned(tensor: Tensor, irreps: o3.Irreps, first: int) -> Tensor:
    """Each irrep's block transposed; `first` is 0 where channels come first in `tensor`."""
    blocks = []
    for block, (mul, ir) in zip(irreps.slices(), irreps, strict=True):
        sizes = (ir.dim, mul) if first else (mul, ir.dim)
        part = tensor[:, block].reshape(tensor.shape[0], *sizes)
        blocks.append(part.transpose(1, 2).reshape(tensor.shape[0], mul * ir.dim))
    return torch.cat(blocks, dim=1)


def irreps_of(module: o3.TensorProduct) -> tuple[o3.Irreps, o3.Irreps, o3.Irreps]:
    """Those of x, y and z."""
    return module.irreps_in1, module.irreps_in2, module.irreps_out
