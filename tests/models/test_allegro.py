"""allegro's tensor product on a kernel, without allegro: a class of the same name does its dense
product. Tests with allegro itself are in the folder `nequip`."""

import math
from typing import Any

import pytest
import torch
from e3nn import o3

from tests.nn.conv_reference import derivatives, draw, largest_error
from tvm_equi.models.allegro import CONTRACTER, RULES, CompiledContracter

MUL = 3


class Contracter(torch.nn.Module):
    """The attributes that allegro's has, and its product."""

    def __init__(self, is_coupled: bool, paths: list[tuple[int, int, int]] | None) -> None:
        super().__init__()
        self.irreps_in1, self.irreps_in2 = o3.Irreps("0e + 1o + 1e"), o3.Irreps("0e + 1o")
        self.irreps_out, self.instructions, self.mul = o3.Irreps("0e + 1o"), paths, MUL
        self.base_dim1, self.base_dim2, self.base_dim_out = 7, 4, 4
        self.path_channel_coupling, self.irrep_normalization = is_coupled, "component"
        # What allegro finds where no instructions are given: outputs first.
        used = paths or [(0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1), (2, 1, 1)]
        self.num_paths = len(used)
        w3j = torch.zeros(len(used), 7, 4, 4, dtype=torch.float64)
        blocks = [side.slices() for side in (self.irreps_in1, self.irreps_in2, self.irreps_out)]
        for path, (i, j, k) in enumerate(used):
            ls = (self.irreps_in1[i].ir.l, self.irreps_in2[j].ir.l, self.irreps_out[k].ir.l)
            block = o3.wigner_3j(*ls, dtype=torch.float64) * math.sqrt(2 * ls[2] + 1)
            w3j[path, blocks[0][i], blocks[1][j], blocks[2][k]] = block
        self.register_buffer("w3j", w3j.squeeze(0))
        shape = (MUL,) * is_coupled + (len(used),) * (len(used) > 1)
        self.weights = torch.nn.Parameter(torch.randn(shape, dtype=torch.float64))

    def forward(self, x1: Any, x2: Any, idxs: Any) -> Any:
        weights = self.weights.reshape(-1, self.num_paths).expand(MUL, -1)
        w3j = self.w3j.reshape(self.num_paths, 7, 4, 4)
        return torch.einsum("zui,zuj,up,pijk->zuk", x1, x2[idxs], weights, w3j)


@pytest.fixture(autouse=True)
def _named_as_in_allegro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Contracter, "__module__", f"<torch_package_0>.{CONTRACTER.module}")


@pytest.mark.parametrize("is_coupled", [True, False])
@pytest.mark.parametrize("paths", [None, [(1, 1, 0)]], ids=["all", "one"])
@pytest.mark.parametrize("num_edges", [0, 11])
def test_values_and_derivatives(is_coupled: bool, paths: Any, num_edges: int) -> None:
    reference = Contracter(is_coupled, paths)
    change = RULES[0](reference)
    assert change is not None
    assert change.status == "swapped"
    compiled = change.module
    assert isinstance(compiled, CompiledContracter)
    assert compiled.weights is reference.weights
    assert list(compiled.state_dict()) == ["weights", "w3j"]
    generator = torch.Generator().manual_seed(4)
    inputs = [draw(generator, num_edges, MUL, 7), draw(generator, 5, MUL, 4)]
    idxs = torch.randint(0, 5, (num_edges,), generator=generator)

    def call(module: Any) -> Any:
        return lambda x1, x2, weights: module(x1, x2, idxs)

    found, wanted = (
        derivatives(call(module), [*inputs, reference.weights], 2)
        for module in (compiled, reference)
    )
    assert largest_error(found, wanted) < 1e-12


def test_other_modules_are_not_touched() -> None:
    assert RULES[0](torch.nn.Identity()) is None
