"""Stages of a tensor product over edges: names, and equal results however they are split."""

import pytest
import torch

from tvm_equi.algebra.products import Instruction, WeightRows, tensor_product_kernel
from tvm_equi.nn.stages import radial_blocks, run_stages, stage_plans
from tvm_equi.runtime.topology import Topology
from tvm_equi.runtime.torch_op import run

PATHS = (
    Instruction(0, 0, 0, "uvw", True, 0.7),
    Instruction(1, 1, 0, "uvw", True, -0.3),
    Instruction(1, 0, 1, "uvu", True, 1.1),
)


def product(weight_rows: WeightRows, *, over_edges: bool = False) -> str:
    return tensor_product_kernel(
        ((6, 1), (2, 0)),
        ((1, 1), (1, 0)),
        ((4, 0), (2, 1)),
        PATHS,
        weight_rows=weight_rows,
        over_edges=over_edges,
    ).plan()


def test_names() -> None:
    per_edge = stage_plans(product("row"))
    assert (per_edge.before, per_edge.after) == ("", "")
    assert (per_edge.inputs, per_edge.outputs) == (("x", "y", "w"), ("z",))
    inside = stage_plans(product("row"), 5, "component")
    assert inside.inputs == ("x", "one", "vectors", "radial", "last")
    shared = stage_plans(product("shared", over_edges=True))
    assert shared.before
    assert shared.after
    assert set(shared.inputs) == {"x", "y", "w", "h"}
    assert set(shared.outputs) == {"z", "t"}


@pytest.mark.parametrize("over_edges", [False, True])
@pytest.mark.parametrize("weight_rows", ["row", "shared"])
def test_equal_gather_product_and_sum(weight_rows: WeightRows, over_edges: bool) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    edges = torch.randint(0, 5, (2, 30), generator=generator)
    x, y = draw(5, 20), draw(30, 4)
    w = draw(34) if weight_rows == "shared" else draw(30, 34)
    messages = run(product(weight_rows), [x[edges[0]], y, w])[0]
    wanted = torch.zeros(5, messages.shape[1], dtype=torch.float64).index_add(0, edges[1], messages)
    plans = stage_plans(product(weight_rows, over_edges=over_edges))
    found = run_stages(plans, {"x": x, "y": y, "w": w}, Topology(edges, 5))
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)


def test_radial_blocks() -> None:
    last = torch.arange(10.0).reshape(2, 5)
    assert radial_blocks(last, [2, 0, 3]).tolist() == [0, 1, 5, 6, 2, 3, 4, 7, 8, 9]
