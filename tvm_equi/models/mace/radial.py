"""MACE's radial networks, whose last layer is left to the convolution.

In: e3nn's `FullyConnectedNet` or MACE's `RadialMLP` of an interaction block. Out: a module that
gives the last hidden features and the last matrix, whose product, the weights of all edges, the
convolution's kernel computes tile by tile and never stores. Refused: another activation than one
of e3nn's normalised ones, an activation after the last layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tvm_equi.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class RadialWeights:
    """Weights of edges, as a product: hidden @ last.

    Args:
        hidden: [edges, features].
        last: [features, weights].
    """

    hidden: torch.Tensor
    last: torch.Tensor

    def __mul__(self, factor: torch.Tensor) -> RadialWeights:
        """The weights times a factor of each edge: [edges, 1]."""
        return RadialWeights(self.hidden * factor, self.last)


class RadialNet(torch.nn.Module):
    """e3nn's `FullyConnectedNet` without its last product.

    Args:
        net: an `e3nn.nn.FullyConnectedNet`; its layers are kept.

    Raises:
        UnsupportedError: an activation that e3nn did not normalise, or one after the last layer.

    Source:
        e3nn.nn.FullyConnectedNet (e3nn 0.4.4 and 0.6).
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.hs = list(net.hs)
        layers = [getattr(net, f"layer{number}") for number in range(len(self.hs) - 1)]
        for number, layer in enumerate(layers):
            self.add_module(f"layer{number}", layer)
        self._scales = _scales(layers)
        self._num_layers = len(layers)
        self.train(net.training)

    def __repr__(self) -> str:
        """The sizes of the layers."""
        return f"{type(self).__name__}{self.hs}"

    def forward(self, x: torch.Tensor) -> RadialWeights:
        """The last hidden features and the last matrix.

        Args:
            x: [edges, hs[0]].
        """
        for number in range(self._num_layers - 1):
            layer = getattr(self, f"layer{number}")
            x = layer.act.f(x @ (layer.weight * self._scales[number]))
        last = getattr(self, f"layer{self._num_layers - 1}").weight
        return RadialWeights(x, last * self._scales[-1])


def _scales(layers: list[Any]) -> list[float]:
    """The factor of each matrix; an activation's constant goes to the next one.

    Raises:
        UnsupportedError: see `RadialNet`.
    """
    scales, carried = [], 1.0
    for layer in layers[:-1]:
        act = layer.act
        if type(act).__name__ != "normalize2mom":
            raise UnsupportedError(
                f"RadialNet: net: expected activations that e3nn normalised, got {act!r}"
            )
        scales.append(carried / (layer.h_in * layer.var_in) ** 0.5)
        carried = (1.0 if act._is_id else act.cst) * layer.var_out**0.5
    last = layers[-1]
    if last.act is not None:
        raise UnsupportedError(
            f"RadialNet: net: expected no activation after the last layer, got {last.act!r}"
        )
    return [*scales, carried / (last.h_in * last.var_in / last.var_out) ** 0.5]


class BiasedRadialNet(torch.nn.Module):
    """MACE's `RadialMLP` without its last product; the bias is one more row of the last matrix.

    Args:
        mlp: a `mace.modules.radial.RadialMLP`; its layers are kept.

    Raises:
        UnsupportedError: its last layer is not linear.
    """

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        if not isinstance(mlp.net[-1], torch.nn.Linear):
            raise UnsupportedError(
                f"BiasedRadialNet: mlp: expected a linear last layer, got {mlp.net[-1]!r}"
            )
        self.net, self.hs = mlp.net, list(mlp.hs)
        self.train(mlp.training)

    def forward(self, inputs: torch.Tensor) -> RadialWeights:
        """The last hidden features with a one, and the last matrix with the bias.

        Args:
            inputs: [edges, hs[0]].
        """
        *hidden, last = self.net
        for layer in hidden:
            inputs = layer(inputs)
        if last.bias is None:
            return RadialWeights(inputs, last.weight.T)
        ones = inputs.new_ones((inputs.shape[0], 1))
        matrix = torch.cat([last.weight.T, last.bias[None]])
        return RadialWeights(torch.cat([inputs, ones], dim=1), matrix)
