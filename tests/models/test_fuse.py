"""Convolutions found in forwards, however they are written, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from e3nn import o3

from tests.models.networks import MIDDLE, assert_close, edges_of_layer, product
from tvm_equi import nn
from tvm_equi.models.fuse import fuse

COLUMNS = o3.Irreps(MIDDLE).dim


def scatter(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Any = None,
    dim_size: int | None = None,
    reduce: str = "sum",
) -> torch.Tensor:
    """As torch_scatter's: its loop over dimensions can not be traced."""
    for _ in range(src.dim() - index.dim()):
        index = index.unsqueeze(-1)
    size = list(src.shape)
    size[dim] = int(index.max()) + 1 if dim_size is None else dim_size
    return src.new_zeros(size).scatter_add_(dim, index.expand_as(src), src)


scatter.__module__ = "torch_scatter.scatter"


class Layer(torch.nn.Module):
    """A forward of products with the tensors that all styles need."""

    def __init__(self) -> None:
        super().__init__()
        self.tp = nn.TensorProduct.from_e3nn(product())
        self.mix = nn.Linear.from_e3nn(o3.Linear(o3.Irreps(MIDDLE), MIDDLE))
        self.factor = 0.5
        self.dropped = 0.25


def e3nn_style(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    src = self.tp(x[s], y, w)
    out = src.new_zeros(x.shape[0], src.shape[1])
    index = r.reshape(-1, 1).expand_as(src)
    return out.scatter_add_(0, index, src).div(self.factor**0.5)


def index_select(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.tp(x.index_select(0, s), y, weight=w)
    return torch.zeros_like(x[:, :1]).expand(-1, COLUMNS).index_add(0, r, messages)


def of_torch(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.tp(torch.index_select(x, 0, s), y, w)
    zeros = torch.zeros(x.size(0), COLUMNS, dtype=x.dtype)
    return torch.index_add(zeros, 0, r, messages)


def scaled(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = 2.0 * self.tp(x[s], y, w).div(3.0) / 0.7
    return messages.new_zeros((x.shape[0], COLUMNS)).index_add_(0, r, messages)


def mixed(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.mix(self.tp(x[s], y, w)) * self.factor
    index = r[:, None].expand(-1, messages.shape[1])
    return messages.new_zeros(x.shape[0], COLUMNS).scatter_reduce(0, index, messages, "sum")


def onto_another(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    own = torch.cat([x, x, x], dim=1)[:, :COLUMNS]
    return own.index_add(0, r, self.tp(x[s], y, w))


def twice_in_place(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    total = x.new_zeros(x.shape[0], COLUMNS)
    total.index_add_(0, r, self.tp(x[s], y, w))
    total.index_add_(0, s, self.tp(x[r], y, w))
    return total * 2


def by_package(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    return scatter(self.tp(x[s], y, w), r, dim=0, dim_size=x.shape[0])


def by_package_without_size(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    return scatter(self.tp(x[s], y, w), r, dim=0)


def in_training(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    weight = w * self.dropped if self.training else w
    messages = self.tp(x[s], y, weight)
    return messages.new_zeros((x.shape[0], COLUMNS)).index_add(0, r, messages)


def with_default(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any, own: Any = None) -> Any:
    messages = self.tp(x[s], y, w)
    total = messages.new_zeros((x.shape[0], COLUMNS)).index_add(0, r, messages)
    return total if own is None else total + own


FUSED = [
    e3nn_style,
    of_torch,
    scaled,
    mixed,
    onto_another,
    twice_in_place,
    by_package,
    by_package_without_size,
    in_training,
    with_default,
]


def layer_of(function: Callable[..., Any]) -> Any:
    """A layer of a class whose forward is the function."""
    return type("Layer", (Layer,), {"forward": function, "__module__": __name__})()


def given() -> tuple[torch.Tensor, ...]:
    values = edges_of_layer()
    senders, receivers = values["edge_index"]
    return values["x"], values["y"], values["weight"], senders, receivers


def values_of(call: Callable[..., torch.Tensor]) -> dict[str, torch.Tensor]:
    """Values and gradients, and gradients of gradients to x."""
    x, y, w, *indices = given()
    leaves = [tensor.clone().requires_grad_() for tensor in (x, y, w)]
    out = call(*leaves, *indices)
    first = torch.autograd.grad(out.pow(2).sum(), leaves, create_graph=True)
    (second,) = torch.autograd.grad(first[0].pow(2).sum(), leaves[0])
    found = {f"first {number}": g.detach() for number, g in enumerate(first)}
    return {"out": out.detach(), "second": second} | found


@pytest.mark.parametrize("function", FUSED, ids=lambda function: function.__name__)
def test_fused(function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of(function)
    fusion = fuse(layer)
    assert fusion.reason == ""
    assert list(fusion.products) == ["tp"]
    assert fusion.forward is not None
    monkeypatch.setattr(nn.TensorProduct, "forward", None)  # nothing calls it any more
    got = values_of(fusion.forward)
    monkeypatch.undo()
    assert_close(got, values_of(layer), 1e-12)


def test_both_modes_are_traced() -> None:
    layer = layer_of(in_training)
    forward = fuse(layer).forward
    assert forward is not None
    for mode in (True, False):
        layer.train(mode)
        torch.testing.assert_close(forward(*given()), layer(*given()), rtol=1e-12, atol=1e-12)


def test_arguments_that_are_not_none() -> None:
    layer = layer_of(with_default)
    forward = fuse(layer).forward
    assert forward is not None
    own = torch.ones(5, COLUMNS)
    for arguments, options in (((own,), {}), ((), {"own": own}), ((None,), {}), ((), {})):
        got = forward(*given(), *arguments, **options)
        torch.testing.assert_close(got, layer(*given(), *arguments, **options))


def test_an_attribute_that_changed() -> None:
    layer = layer_of(scaled_by_attribute)
    forward = fuse(layer).forward
    assert forward is not None
    layer.factor = 3.0
    torch.testing.assert_close(forward(*given()), layer(*given()))


def scaled_by_attribute(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.tp(x[s], y, w)
    return messages.new_zeros((x.shape[0], COLUMNS)).index_add(0, r, messages) * self.factor


def test_a_mask_in_the_place_of_an_index() -> None:
    layer = layer_of(of_one_row)
    forward = fuse(layer).forward
    assert forward is not None
    x, y, w, *_ = given()
    mask = torch.tensor([True, False, True, True, False])
    receivers = torch.tensor([1, 0, 1])
    arguments = (x, y[:3], w[:3], mask, receivers)
    torch.testing.assert_close(forward(*arguments), layer(*arguments))


def of_one_row(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.tp(x[s], y, w)
    return messages.new_zeros((x.shape[0], COLUMNS)).index_add(0, r, messages)


def product_is_read(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.tp(x[s], y, w)
    total = messages.new_zeros((x.shape[0], COLUMNS)).index_add(0, r, messages)
    return total, messages.shape[0] * 2


def argument_in_place(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    y.index_add_(0, r, self.tp(x[s], y, w))
    return y


def changed_between(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.tp(x[s], y, w)
    y.mul_(2.0)
    return messages.new_zeros((x.shape[0], COLUMNS)).index_add(0, r, messages)


def branches(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    if s.shape[0] == 0:
        return x
    return x.index_add(0, r, self.tp(x[s], y, w))


def asks(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    return x.index_add(0, r, self.tp(x[s], y, w)) if isinstance(x, torch.Tensor) else x


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (product_is_read, "the product of each edge is also read by"),
        (argument_in_place, "its forward changes a tensor in place that others read"),
        (changed_between, "mul_ changes a tensor between a product and its sum"),
        (branches, "torch.fx cannot trace its forward: symbolically traced"),
        (asks, "calls isinstance, whose result a trace would freeze"),
    ],
)
def test_refused(function: Callable[..., Any], reason: str) -> None:
    fusion = fuse(layer_of(function))
    assert fusion.forward is None
    assert reason in fusion.reason


def squared(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.tp(x[s], y, w) ** 2
    return messages.new_zeros((x.shape[0], COLUMNS)).index_add(0, r, messages)


def along_columns(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    return scatter(self.tp(x[s], y, w), r)


def mean(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    return scatter(self.tp(x[s], y, w), r, dim=0, reduce="mean")


def not_gathered(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.tp(x, y, w)
    return messages.new_zeros((3, COLUMNS)).index_add(0, r, messages)


def part_of_columns(self: Any, x: Any, y: Any, w: Any, s: Any, r: Any) -> Any:
    messages = self.tp(x[s], y, w)
    index = r[:, None].expand(-1, 4)
    return messages.new_zeros((x.shape[0], COLUMNS)).scatter_add(0, index, messages)


@pytest.mark.parametrize(
    "function", [squared, along_columns, mean, not_gathered, part_of_columns, index_select]
)
def test_other_forwards_are_left_alone(function: Callable[..., Any]) -> None:
    fusion = fuse(layer_of(function))
    assert fusion.products == {} or function is index_select
    assert fusion.reason == ""


def test_modules_of_libraries_are_not_read() -> None:
    assert fuse(o3.Norm("2x1o")).forward is None
    assert fuse(torch.nn.Linear(2, 2)).forward is None
