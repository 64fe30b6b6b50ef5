"""Products between a gather and a sum become convolutions; others stay, with a reason."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from e3nn import o3
from torch import fx
from torch._dynamo.backends.registry import lookup_backend

import tvm_equi
from tests.dynamo.models import convolutions, float64, largest_difference, watched
from tvm_equi.dynamo import backend, reports
from tvm_equi.dynamo.convolution import edges_of
from tvm_equi.dynamo.entry import lower
from tvm_equi.errors import IndexRangeError

TOLERANCE = 1e-10
NODES, EDGES = 5, 40
INPUTS = {"x": (NODES, 8), "y": (EDGES, 4), "radial": (EDGES, 3)}


class Layer(torch.nn.Module):
    """A layer whose gather and sum a function writes.

    Args:
        product: e3nn's class, or ours.
        body: (layer, x, y, w, senders, receivers) -> sums.
    """

    def __init__(self, product: Any, body: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        instructions = [
            (0, 0, 0, "uvu", True),
            (0, 1, 1, "uvu", True),
            (1, 0, 2, "uvu", True),
            (1, 1, 3, "uvu", True),
            (1, 1, 4, "uvu", True),
        ]
        out = "2x0e + 2x1o + 2x1o + 2x0e + 2x2e"
        self.tp = product("2x0e + 2x1o", "1x0e + 1x1o", out, instructions, shared_weights=False)
        self.last = torch.nn.Parameter(torch.randn(3, self.tp.weight_numel))
        self.body = body

    def forward(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        radial: torch.Tensor,
        senders: torch.Tensor,
        receivers: torch.Tensor,
    ) -> torch.Tensor:
        """Sums over edges."""
        return self.body(self, x, y, radial @ self.last, senders, receivers)


def plain(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    """As the demo writes it."""
    messages = layer.tp(x[senders], y, w)
    total = messages.new_zeros((x.shape[0], messages.shape[1]))
    return total.index_add(0, receivers, messages)


def in_place(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    """As torch_scatter writes it, for sums that somebody keeps."""
    messages = layer.tp(x.index_select(0, senders), y, w)
    total = torch.zeros(x.size(0), messages.size(1), dtype=x.dtype)
    total.scatter_add_(0, receivers.unsqueeze(-1).expand(messages.size()), messages)
    return total * 2


def weights_twice(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    """Weights that something else reads are not computed inside."""
    messages = layer.tp(x[senders], y, w)
    return x.new_zeros(x.shape[0], 26).index_add(0, receivers, messages) + w.sum()


def two_layers(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    """Two sums over the same edges, of which each takes its part of the pairs itself."""
    pairs = torch.stack([senders, receivers])
    first = plain(layer, x, y, w, pairs[0], pairs[1])
    return first + plain(layer, x + 1, y, w, pairs[0], pairs[1])


def radial_changed(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> Any:
    """Something is changed after weights are computed, which therefore stay where they are."""
    x = (x + 0).mul_(2)
    return plain(layer, x, y, w, senders, receivers)


def indices_changed(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> Any:
    """Indices that are changed are other edges; zeros by the size of something."""
    senders = senders + 0
    first = plain(layer, x, y, w, senders, receivers)
    senders.add_(1).remainder_(NODES)
    messages = layer.tp(x[senders], y, w)
    return first + torch.zeros(first.size(), dtype=x.dtype).index_add(0, receivers, messages)


FUSED: dict[str, tuple[Callable[..., torch.Tensor], int]] = {
    "plain": (plain, 1),
    "in place": (in_place, 1),
    "weights twice": (weights_twice, 1),
    "two layers": (two_layers, 2),
    "radial changed": (radial_changed, 1),
}


def inputs() -> dict[str, torch.Tensor]:
    """Random values and edges."""
    values = {
        name: torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for name, shape in INPUTS.items()
    }
    senders, receivers = torch.randint(0, NODES, (2, EDGES))
    return values | {"senders": senders, "receivers": receivers}


def derivatives(function: Any, layer: Layer, given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Value, gradients, and gradients of their squares."""
    wrt = [given[name] for name in INPUTS] + list(layer.parameters())
    value = function(**given)
    first = torch.autograd.grad(value.square().sum(), wrt, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), wrt)
    return [value, *first, *second]


def made(product: Any, body: Callable[..., torch.Tensor]) -> Layer:
    with float64():
        return Layer(product, body)


@pytest.mark.parametrize("product", [o3.TensorProduct, tvm_equi.TensorProduct])
@pytest.mark.parametrize("name", FUSED)
def test_fused(name: str, product: Any) -> None:
    body, count = FUSED[name]
    layer, graphs, given = made(product, body), list[fx.GraphModule](), inputs()
    compiled = torch.compile(layer, backend=watched(graphs), fullgraph=True, dynamic=True)
    ours, theirs = (derivatives(f, layer, given) for f in (compiled, layer))
    assert largest_difference(ours, theirs) < TOLERANCE
    found = convolutions(graphs[0])
    assert len(found) == count
    assert all(module.num_hidden == (3 if name in ("plain", "in place") else 0) for module in found)
    targets = [node.target for node in graphs[0].graph.nodes]
    assert targets.count(edges_of) == 1
    assert not {"index_add", "scatter_add_", "index_select"} & set(map(str, targets))
    assert len(reports()[-1].fused) == count
    assert reports()[-1].num_sorted == 1
    assert reports()[-1].reasons == ()


def test_no_value_of_all_edges_and_paths() -> None:
    layer, graphs, given = made(o3.TensorProduct, plain), list[fx.GraphModule](), inputs()
    compiled = torch.compile(layer, backend=watched(graphs), fullgraph=True, dynamic=True)
    compiled(**given)
    values = [node.meta.get("example_value") for node in graphs[0].graph.nodes]
    shapes = [value.shape for value in values if isinstance(value, torch.Tensor)]
    edges = next(value.shape[0] for value in values if getattr(value, "shape", ())[1:] == (4,))
    assert max(shape[1] for shape in shapes if len(shape) == 2 and shape[0] == edges) < 10
    kept = {}
    for name, function in (("ours", compiled), ("e3nn", layer)):
        with torch.autograd.graph.saved_tensors_hooks(keep := Kept(), lambda tensor: tensor):
            derivatives(function, layer, given)
        kept[name] = keep.columns
    assert kept["ours"] <= layer.tp.weight_numel == 10 < kept["e3nn"]


def test_indices_changed() -> None:
    layer, given = made(o3.TensorProduct, indices_changed), inputs()
    options = {"rest": "eager"}
    compiled = torch.compile(layer, backend=backend, fullgraph=True, dynamic=True, options=options)
    with torch.no_grad():
        torch.testing.assert_close(compiled(**given), layer(**given), rtol=0, atol=TOLERANCE)
    assert (len(reports()[-1].fused), reports()[-1].num_sorted) == (2, 2)


def test_under_aot_autograd() -> None:
    layer, given, graphs = made(o3.TensorProduct, plain), inputs(), list[fx.GraphModule]()

    @functools.wraps(backend)
    def ahead_of_time(module: fx.GraphModule, inputs: Any) -> Any:
        graphs.append(lower(module, "inductor"))
        return lookup_backend("aot_eager")(module, inputs)

    compiled = torch.compile(layer, backend=ahead_of_time, fullgraph=True, dynamic=True)
    wrt = [given[name] for name in INPUTS] + list(layer.parameters())
    values = [function(**given) for function in (compiled, layer)]
    ours, theirs = ([v, *torch.autograd.grad(v.square().sum(), wrt)] for v in values)
    assert largest_difference(ours, theirs) < TOLERANCE
    assert len(convolutions(graphs[0])) == 1


class Kept:
    """Keeps the largest number of columns of what is saved on edges for a backward pass."""

    columns = 0

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() > 1 and tensor.shape[0] == EDGES:
            self.columns = max(self.columns, tensor.numel() // EDGES)
        return tensor


def scaled(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    messages = layer.tp(x[senders], y, w) * 2
    return x.new_zeros(x.shape[0], 26).index_add(0, receivers, messages)


def from_values(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    return x.repeat(1, 4)[:, :26].index_add(0, receivers, layer.tp(x[senders], y, w))


def kept(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    messages = layer.tp(x[senders], y, w)
    return x.new_zeros(x.shape[0], 26).index_add(0, receivers, messages) + messages.sum()


def of_edges(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    messages = layer.tp(x[senders] + x[receivers], y, w)
    return x.new_zeros(x.shape[0], 26).index_add(0, receivers, messages)


def seen_before(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    total = x.new_zeros(x.shape[0], 26)
    view = total[:1]
    total.index_add_(0, receivers, layer.tp(x[senders], y, w))
    return view.sum() + total


def mixed_indices(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    messages = layer.tp(x[senders.int()], y, w)
    return x.new_zeros(x.shape[0], 26).index_add(0, receivers, messages)


def changed(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> torch.Tensor:
    x = x + 0
    messages = layer.tp(x[senders], y, w)
    x.mul_(2)
    return x.new_zeros(x.shape[0], 26).index_add(0, receivers, messages)


def of_another_dtype(layer: Any, x: Any, y: Any, w: Any, senders: Any, receivers: Any) -> Any:
    messages = layer.tp(x[senders], y, w)
    return torch.zeros(x.shape[0], 26).index_add(0, receivers, messages.float()).double()


LEFT: dict[str, tuple[Callable[..., torch.Tensor], str]] = {
    "scaled": (scaled, "changed before it is summed"),
    "from values": (from_values, "starts from values that are not fresh zeros"),
    "kept": (kept, "read by more than its sum"),
    "of edges": (of_edges, r"does not take x[senders] as its first operand"),
    "seen before": (seen_before, "starts from values that are not fresh zeros"),
    "changed": (changed, "changed in place between a gather and the sum"),
    "of another dtype": (of_another_dtype, "changed before it is summed"),
    "mixed indices": (mixed_indices, "senders and receivers have different dtypes"),
}


@pytest.mark.parametrize("name", LEFT)
def test_left(name: str) -> None:
    body, reason = LEFT[name]
    layer, graphs, given = made(o3.TensorProduct, body), list[fx.GraphModule](), inputs()
    compiled = torch.compile(layer, backend=watched(graphs), fullgraph=True, dynamic=True)
    ours, theirs = (derivatives(f, layer, given) for f in (compiled, layer))
    assert largest_difference(ours, theirs) < TOLERANCE
    assert not convolutions(graphs[0])
    assert any(reason in text for text in reports()[-1].reasons)


def test_indices_out_of_range() -> None:
    layer, given = made(o3.TensorProduct, plain), inputs()
    compiled = torch.compile(layer, backend=watched([]), fullgraph=True, dynamic=True)
    with pytest.raises(IndexRangeError, match=r"receivers \(row 1\) from 0 to 4, got 0 to 5"):
        compiled(**given | {"receivers": torch.arange(EDGES) % 6})
