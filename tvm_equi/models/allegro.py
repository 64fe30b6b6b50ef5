"""Allegro's hook for accelerators: its tensor product on a compiled kernel.

In: allegro's `Contracter`, built here or loaded from one of nequip's packages. Out: a module with
the same state dict that multiplies only what is not zero, where the original multiplies with a
dense tensor of all paths. Importing this module where allegro is installed, which nequip does
itself if this package is installed, gives the class the model modifier `enable_TVMContracter`.
Refused: nothing that a `Contracter` can be.
"""

from __future__ import annotations

from typing import Any

import torch

from tvm_equi.models.change import Change, Rule
from tvm_equi.models.nequip_modifier import Place, add_modifier, replace
from tvm_equi.nn.tensor_product import TensorProduct

MODIFIER = "enable_TVMContracter"
CONTRACTER = Place("allegro.nn._strided._contract", "Contracter")


class CompiledContracter(torch.nn.Module):
    """allegro's `Contracter` on a kernel.

    Values of all channels lie side by side in the kernel, and by channel in allegro. What comes out
    is a view in allegro's order, so that the next layer, which turns it back, copies nothing.

    Args:
        contracter: the module of allegro whose product to compute, and whose state to keep.
    """

    # What nequip imports before it loads a model that was compiled ahead of time.
    _nequip_custom_ops_libs = ("tvm_equi.runtime.torch_op",)

    w3j: torch.Tensor

    def __init__(self, contracter: Any) -> None:
        super().__init__()
        self.mul = contracter.mul
        self.num_paths = contracter.num_paths
        self.path_channel_coupling = contracter.path_channel_coupling
        self.dims = (contracter.base_dim1, contracter.base_dim2, contracter.base_dim_out)
        self.weights = contracter.weights
        self.register_buffer("w3j", contracter.w3j)  # for the state dict
        sides = (contracter.irreps_in1, contracter.irreps_in2, contracter.irreps_out)
        first, second, last = (
            " + ".join(f"{self.mul}x{mul_ir.ir}" for mul_ir in side) for side in sides
        )
        # In a tuple, so that it adds nothing to the state dict.
        self._products = (
            TensorProduct(
                first,
                second,
                last,
                [(*path, "uuu", True) for path in _paths(contracter)],
                irrep_normalization=contracter.irrep_normalization or "none",
                path_normalization="none",
                shared_weights=True,
                internal_weights=False,
                layout="ir_mul",
            ),
        )
        self.train(contracter.training)

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, idxs: torch.Tensor) -> torch.Tensor:
        """The product of each edge's features with those of its centre.

        Args:
            x1: [edges, channels, dim1], by edge.
            x2: [nodes, channels, dim2], by node.
            idxs: integers [edges], the centres.

        Returns:
            [edges, channels, dim_out].
        """
        (product,) = self._products
        first, second, last = self.dims
        x = x1.reshape(-1, self.mul, first).transpose(1, 2).reshape(-1, first * self.mul)
        nodes = x2.reshape(-1, self.mul, second).transpose(1, 2).reshape(-1, second * self.mul)
        out = product(x, torch.index_select(nodes, 0, idxs), self._path_weights())
        turned: torch.Tensor = out.view(-1, last, self.mul).transpose(1, 2)
        return turned

    def _path_weights(self) -> torch.Tensor:
        """Weights as the kernel takes them: for each path those of its channels."""
        shape = (self.mul, self.num_paths)
        weights = self.weights.reshape(-1, self.num_paths)
        found: torch.Tensor = weights.expand(shape).t().reshape(-1)
        return found

    def extra_repr(self) -> str:
        """The product."""
        return str(self._products[0])


def _paths(contracter: Any) -> list[tuple[int, int, int]]:
    """The instructions; where none are given, all that symmetry allows, in allegro's order."""
    if contracter.instructions is not None:
        return [tuple(path) for path in contracter.instructions]
    first, second, last = (
        [mul_ir.ir for mul_ir in side]
        for side in (contracter.irreps_in1, contracter.irreps_in2, contracter.irreps_out)
    )
    return [
        (i, j, k)
        for k, ir_out in enumerate(last)
        for i, ir_1 in enumerate(first)
        for j, ir_2 in enumerate(second)
        if ir_out in ir_1 * ir_2
    ]


def swap(module: torch.nn.Module) -> Change | None:
    """The rule for allegro's tensor products.

    Args:
        module: any.
    """
    if not CONTRACTER.has(module):
        return None
    return Change(CompiledContracter(module), "swapped", "tvm_equi TensorProduct, uuu")


def enable_tvm_contracter(cls: type[torch.nn.Module], model: torch.nn.Module) -> torch.nn.Module:
    """Enable compiled kernels of tvm_equi for Allegro training and inference, on the CPU too."""
    return replace(model, CONTRACTER, CompiledContracter)


RULES: tuple[Rule, ...] = (swap,)

add_modifier(CONTRACTER, MODIFIER, enable_tvm_contracter)
