"""SevenNet's convolution on a kernel, without sevenn: a class of the same name does what its does.

Tests with sevenn itself are in the folder `nequip`.
"""

from typing import Any

import pytest
import torch
from e3nn import nn, o3

from tests.nn.conv_reference import derivatives, draw, largest_error
from tvm_equi.models.sevennet import MODULE, CompiledConvolution, accelerate_sevennet, fuse

PATHS = [(0, 0, 0, "uvu", True), (0, 1, 2, "uvu", True), (1, 1, 1, "uvu", True)]


class IrrepsConvolution(torch.nn.Module):
    """The attributes that SevenNet's has, and its sum."""

    def __init__(self) -> None:
        super().__init__()
        self.key_x, self.key_filter = "x", "edge_attr"
        self.key_weight_input, self.key_edge_idx = "edge_embedding", "edge_index"
        self.is_parallel, self._comm_size = False, 9
        self.denominator = torch.nn.Parameter(torch.tensor([3.5], dtype=torch.float64))
        self.convolution: Any = o3.TensorProduct(
            "3x0e + 2x1o",
            "0e + 1o",
            "3x0e + 2x0e + 3x1o",
            PATHS,
            shared_weights=False,
            internal_weights=False,
        ).double()
        self.weight_nn = nn.FullyConnectedNet([4, 8], torch.nn.functional.silu).double()

    def forward(self, data: Any) -> Any:
        receivers, senders = data[self.key_edge_idx]
        weight = self.weight_nn(data[self.key_weight_input])
        products = self.convolution(data[self.key_x][senders], data[self.key_filter], weight)
        total = products.new_zeros((len(data[self.key_x]), products.shape[1]))
        data[self.key_x] = total.index_add(0, receivers, products).div(self.denominator)
        return data


@pytest.fixture(autouse=True)
def _named_as_in_sevennet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IrrepsConvolution, "__module__", MODULE)


@pytest.mark.parametrize("num_edges", [0, 30])
def test_values_and_derivatives(num_edges: int) -> None:
    reference = IrrepsConvolution()
    change = fuse(reference)
    assert change is not None
    assert change.status == "fused"
    compiled = change.module
    assert isinstance(compiled, CompiledConvolution)
    assert list(compiled.state_dict()) == list(reference.state_dict())
    assert dict(compiled.named_parameters()).keys() == dict(reference.named_parameters()).keys()
    generator = torch.Generator().manual_seed(5)
    sizes = ((6, 9), (num_edges, 4), (num_edges, 4))
    inputs = [draw(generator, *size) for size in sizes]
    index = torch.randint(0, 6, (2, num_edges), generator=generator)

    def call(module: Any) -> Any:
        def run(x: Any, edge_attr: Any, edge_embedding: Any) -> Any:
            data = {"x": x, "edge_attr": edge_attr, "edge_embedding": edge_embedding}
            return module(data | {"edge_index": index})["x"]

        return run

    found, wanted = (derivatives(call(module), inputs, 2) for module in (compiled, reference))
    assert largest_error(found, wanted) < 1e-12


def test_what_is_left() -> None:
    model = torch.nn.Sequential(IrrepsConvolution(), IrrepsConvolution(), torch.nn.Identity())
    model[0].convolution = None
    model[1].convolution = torch.nn.Identity()
    notes = [fuse(module) for module in model]
    assert [note and note.status for note in notes] == ["left", "left", None]
    assert "not instantiated" in str(notes[0])
    assert "Identity" in str(notes[1])
    before = list(model)
    assert accelerate_sevennet(model) is model
    assert list(model) == before
