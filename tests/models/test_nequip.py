"""nequip's convolution on a kernel, without nequip: a class of the same name does what its does.

Tests with nequip itself are in the folder `nequip`.
"""

import copy
from typing import Any

import pytest
import torch
from e3nn import o3

from tests.nn.conv_reference import derivatives, draw, largest_error
from tvm_equi.errors import IndexRangeError
from tvm_equi.models.nequip import (
    RULES,
    SCATTER,
    CompiledScatter,
    accelerate_scatters,
)

INSTRUCTIONS = [(0, 0, 0, "uvu", True), (0, 1, 2, "uvu", True), (1, 1, 1, "uvu", True)]


class TensorProductScatter(torch.nn.Module):
    """The attributes that nequip's has, and its sum."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.feature_irreps_in = o3.Irreps("3x0e + 2x1o")
        self.irreps_edge_attr = o3.Irreps("0e + 1o")
        self.irreps_mid = o3.Irreps("3x0e + 2x0e + 3x1o")
        self.instructions = INSTRUCTIONS
        self.tp = o3.TensorProduct(
            self.feature_irreps_in,
            self.irreps_edge_attr,
            self.irreps_mid,
            INSTRUCTIONS,
            shared_weights=False,
            internal_weights=False,
        ).to(dtype)
        self.model_dtype = dtype

    def forward(
        self, x: Any, edge_attr: Any, edge_weight: Any, edge_dst: Any, edge_src: Any
    ) -> Any:
        products = self.tp(x[edge_src], edge_attr, edge_weight)
        return products.new_zeros((x.shape[0], products.shape[1])).index_add(0, edge_dst, products)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = TensorProductScatter()
        self.inner = torch.nn.ModuleDict({"second": TensorProductScatter()})


@pytest.fixture(autouse=True)
def _named_as_in_nequip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorProductScatter, "__module__", f"<torch_package_0>.{SCATTER.module}")


def inputs(num_edges: int, num_nodes: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [
        draw(generator, num_nodes, 9),
        draw(generator, num_edges, 4),
        draw(generator, num_edges, 8),
    ]


@pytest.mark.parametrize("num_edges", [0, 1, 40])
def test_values_and_derivatives_are_those_of_e3nn(num_edges: int) -> None:
    reference = TensorProductScatter()
    compiled = CompiledScatter(reference)
    ends = {name: torch.randint(0, 6, (num_edges,)) for name in ("edge_dst", "edge_src")}
    found, wanted = (
        derivatives(lambda *values, of=module: of(*values, **ends), inputs(num_edges), 2)
        for module in (compiled, reference)
    )
    assert largest_error(found, wanted) < 1e-12


def test_autocast_does_not_change_the_dtype() -> None:
    compiled = CompiledScatter(TensorProductScatter(torch.float32))
    x, edge_attr, weight = (tensor.detach().bfloat16() for tensor in inputs(4))
    ends = torch.tensor([0, 1, 2, 2])
    assert compiled(x, edge_attr, weight, ends, ends).dtype == torch.float32


def test_compiles_without_graph_break() -> None:
    reference = TensorProductScatter()
    compiled = torch.compile(CompiledScatter(reference), backend="aot_eager", fullgraph=True)
    for num_edges in (12, 17):
        values = inputs(num_edges)
        edges = torch.randint(0, 6, (2, num_edges))
        found, wanted = (module(*values, edges[0], edges[1]) for module in (compiled, reference))
        assert largest_error([found], [wanted]) < 1e-12


def test_an_edge_without_node_is_refused() -> None:
    compiled = CompiledScatter(TensorProductScatter())
    with pytest.raises(IndexRangeError, match=r"receivers \(row 1\) from 0 to 5, got 0 to 6"):
        compiled(*inputs(2), torch.tensor([0, 6]), torch.tensor([0, 1]))


def test_a_model_keeps_its_state_dict() -> None:
    model = Model()
    before = model.state_dict()
    assert accelerate_scatters(model) is model
    first, second = model.first, model.inner["second"]
    assert isinstance(first, CompiledScatter)
    assert isinstance(second, CompiledScatter)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(after[key].data_ptr() == tensor.data_ptr() for key, tensor in before.items())
    again = copy.deepcopy(model)
    assert list(again.state_dict()) == list(before)


def test_rule() -> None:
    (rule,) = RULES
    module = TensorProductScatter()
    assert SCATTER.has(module)
    change = rule(module)
    assert change is not None
    assert change.status == "fused"
    assert isinstance(change.module, CompiledScatter)
    assert str(change.module) == (
        "CompiledScatter(\n  TensorProductConv(3x0e+2x1o x 1x0e+1x1o -> 5x0e+3x1o "
        "| 8 paths | 8 weights)\n  (tp): " + str(module.tp) + "\n)"
    )
    assert rule(module.tp) is None
    assert rule(change.module) is None
