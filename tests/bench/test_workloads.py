"""Workloads build the e3nn modules that published models have."""

import pytest
import torch
from e3nn import o3

from bench.workloads import Workload, channelwise_paths, load, select

# (paths, weights, output dimension), counted by hand: a channelwise path from mul x l1 has mul
# weights and mul (2 l3 + 1) outputs, a fully connected one has mul1 mul2 mul_out weights.
EXPECTED = {
    "mace-large": (17, 2176, 9088),
    "mace-medium": (8, 1024, 128 * (2 * 1 + 3 * 3 + 3 * 5)),
    "nequip-lips": (30, 960, 32 * 2 * (3 * 1 + 6 * 3 + 6 * 5)),
    "e3tools-shared": (4, 64 * 64 + 16 * 64 + 64 * 16 + 16 * 16, 64 + 48),
    "single-l1": (1, 128, 384),
    "single-l5": (1, 128, 1408),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_size_of_modules(name: str) -> None:
    module = select([name])[0].build()
    size = (len(module.instructions), module.weight_numel, module.irreps_out.dim)
    assert size == EXPECTED[name]


@pytest.mark.parametrize("workload", load(), ids=lambda workload: workload.name)
def test_modules_run(workload: Workload) -> None:
    module = workload.build(torch.float64)
    weight_rows = () if workload.shared_weights else (2,)
    x = module.irreps_in1.randn(2, -1, dtype=torch.float64)
    y = module.irreps_in2.randn(2, -1, dtype=torch.float64)
    w = torch.randn(*weight_rows, module.weight_numel, dtype=torch.float64)
    z = module(x, y, w)
    assert z.shape == (2, module.irreps_out.dim)
    assert z.dtype == torch.float64
    assert bool((z.norm(dim=1) > 0).all())


def test_constants_are_exact_in_float64() -> None:
    module = Workload("p", "channelwise", "1x2e", "1x2e", "1x2e").build(torch.float64)
    x, y = torch.eye(5, dtype=torch.float64), torch.ones(5, 5, dtype=torch.float64)
    z = module(x, y, torch.ones(5, 1, dtype=torch.float64))
    expected = o3.wigner_3j(2, 2, 2, dtype=torch.float64).sum(dim=1) * 5**0.5
    assert torch.allclose(z, expected, rtol=0, atol=1e-14)


def test_channelwise_paths_are_sorted_by_irrep() -> None:
    out, instructions = channelwise_paths("8x0e + 4x1o", "0e + 1o", "8x0e + 8x1o")
    assert str(out) == "8x0e+4x0e+8x1o+4x1o"
    assert [ins[:3] for ins in instructions] == [(0, 0, 0), (1, 1, 1), (0, 1, 2), (1, 0, 3)]
    assert {ins[3:] for ins in instructions} == {("uvu", True)}


def test_default_dtype_is_restored() -> None:
    load()[0].build(torch.float64)
    assert torch.get_default_dtype() == torch.float32


def test_select_keeps_the_order_of_names() -> None:
    assert [workload.name for workload in select(["single-l5", "single-l1"])] == [
        "single-l5",
        "single-l1",
    ]
    assert select(None) == load()


def test_select_refuses_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"--only: expected some of mace-large, .*, got mace-huge"):
        select(["mace-huge"])


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match=r"p: kind: expected one of .*, got 'uvu'"):
        Workload("p", "uvu", "0e", "0e", "0e")
