"""Graphs of forwards with a convolution in them."""

from typing import Any

import pytest
import torch

from tests.models.networks import product
from tvm_equi import nn
from tvm_equi.errors import UnsupportedError
from tvm_equi.models.edges import convolve_edges
from tvm_equi.models.pattern import matches
from tvm_equi.models.rewrite import rewrite
from tvm_equi.models.trace import traced


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tp = nn.TensorProduct.from_e3nn(product())


class Fusable(Layer):
    def forward(self, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
        messages = self.tp(x[s], y, w) / 2.0
        out = messages.new_zeros(x.shape[0], messages.shape[1])
        return out.scatter_add_(0, r.reshape(-1, 1).expand_as(messages), messages)


class ReadTwice(Layer):
    def forward(self, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
        messages = self.tp(x[s], y, w)
        total = messages.new_zeros((x.shape[0], 28)).index_add(0, r, messages)
        return total, messages.shape[0]


def test_nothing_of_the_edges_is_left() -> None:
    layer = Fusable()
    graph = traced(layer)
    (match,) = matches(graph, dict(layer.named_modules()))
    rewrite(graph, match)
    graph.lint()
    targets = [node.target for node in graph.nodes if node.op.startswith("call")]
    assert convolve_edges in targets
    assert not {"tp", "new_zeros", "scatter_add_", "reshape", "expand_as"} & set(targets)
    (call,) = [node for node in graph.nodes if node.target is convolve_edges]
    names = [str(node.target) for node in call.args[1:6]]
    assert names == ["x", "s", "y", "w", "r"]


def test_a_product_that_is_read_elsewhere_is_refused() -> None:
    layer = ReadTwice()
    graph = traced(layer)
    (match,) = matches(graph, dict(layer.named_modules()))
    with pytest.raises(UnsupportedError, match="the product of each edge is also read by"):
        rewrite(graph, match)
