"""Any checkpoint over fewer weights: symmetric contractions over independent polynomials, for good.

In: an accelerated model of mace-torch, whose contractions convert their weights at every call. Out:
the same model, whose contractions own the converted weights: 49 in place of 159 for a channel of
0e+1o+2e at correlation 3. It computes the same; what changes is the state dict, and training, which
moves in other coordinates from there on. mace-torch's dense tensors go, too.
"""

from __future__ import annotations

import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.mace.contraction import Contraction, flat_features
from tvm_equi.models.mace.elements import elements_of
from tvm_equi.nn.symmetric_contraction import SymmetricContraction


class ReducedContraction(SymmetricContraction):
    """A symmetric contraction that is called as mace-torch calls it.

    Args:
        contraction: whose weights are converted.
    """

    def __init__(self, contraction: Contraction) -> None:
        super().__init__(
            contraction.irreps_in,
            contraction.irreps_out,
            contraction.correlation,
            contraction.num_elements,
        )
        weight = contraction.converted_weights().detach().clone()
        self.weight = torch.nn.Parameter(weight, requires_grad=contraction.is_trainable)
        self.train(contraction.training)

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        """The contraction.

        Args:
            x: [rows, irreps_in.dim] in e3nn's layout, or [rows, channels, components].
            y: [rows, elements], one-hot or not.

        Returns:
            [rows, irreps_out.dim].

        Raises:
            ArgumentError: a wrong shape or device.
            ArgumentTypeError: a wrong dtype.
        """
        if x.dim() == 3:
            x = flat_features(x, self.irreps_in)
        elements, weight = elements_of(y), self.weight.flatten(1)
        if elements is None:
            return self.contract(x, y @ weight)
        return self.contract(x, elements.of_rows @ (elements.chosen @ weight))


def reduce_contractions(model: torch.nn.Module) -> torch.nn.Module:
    """Puts contractions with weights over independent polynomials in the place of accelerated ones.

    Args:
        model: that `accelerate` has changed.

    Returns:
        The model, changed in place; make an optimizer anew, since parameters are new.

    Raises:
        UnsupportedError: it has no accelerated contraction of mace-torch.
    """
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, Contraction)
    ]
    if not found:
        raise UnsupportedError(
            "reduce_contractions: model: expected an accelerated model of mace-torch, "
            f"got {type(model).__name__}; call accelerate_mace first"
        )
    for parent, name, child in found:
        setattr(parent, name, ReducedContraction(child))
    return model
