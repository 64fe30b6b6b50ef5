"""Where a forward gathers, multiplies and sums."""

from typing import Any

import torch
from e3nn import o3

from tests.models.networks import MIDDLE, product
from tvm_equi import nn
from tvm_equi.models.pattern import matches, takes_edges
from tvm_equi.models.trace import traced


class Layer(torch.nn.Module):
    def __init__(self, biases: bool = False) -> None:
        super().__init__()
        self.tps = torch.nn.ModuleList([nn.TensorProduct.from_e3nn(product())])
        self.mix = nn.Linear.from_e3nn(o3.Linear(o3.Irreps(MIDDLE), MIDDLE, biases=biases))

    def forward(self, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
        messages = self.mix(self.tps[0](x[s, :], weight=w, y=y)) * 2.0
        return messages.new_zeros((x.shape[0], 28)).index_add(0, r, messages)


def found(layer: Layer) -> list[Any]:
    return matches(traced(layer), dict(layer.named_modules()))


def test_match() -> None:
    (match,) = found(Layer())
    assert str(match.product.target) == "tps.0"
    names = [str(node.target) for node in (match.x, match.senders, match.edge_attr, match.weight)]
    assert names == ["x", "s", "y", "w"]
    assert [node.name for node in match.steps] == ["mix", "mul"]
    assert str(match.total.index.target) == "r"


def test_a_layer_with_biases_stays_before_the_sum() -> None:
    assert found(Layer(biases=True)) == []


def test_a_layer_with_hooks_stays_before_the_sum() -> None:
    layer = Layer()
    layer.mix.register_forward_hook(lambda *_: None)
    assert found(layer) == []


def test_products_that_take_edges() -> None:
    tp = nn.TensorProduct.from_e3nn(product())
    assert takes_edges(tp)
    assert not takes_edges(nn.TensorSquare("2x1o"))
    assert not takes_edges(nn.TensorProductConv.from_e3nn(product()))
    assert not takes_edges(product())
    tp.register_forward_pre_hook(lambda *_: None)
    assert not takes_edges(tp)
