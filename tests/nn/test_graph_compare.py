"""Verification: right modules pass, wrong ones are refused with the error and where it is."""

import pytest
import torch

from tvm_equi.errors import ArtifactError
from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.types import canonical_irreps
from tvm_equi.nn.graph_compare import (
    compare,
    from_mul_ir,
    random_inputs,
    reference_module,
    to_mul_ir,
)
from tvm_equi.nn.graph_module import GraphModule


def module(layout: str = "mul_ir", dtype: str = "float64") -> GraphModule:
    build = GraphBuilder(dtype=dtype, layout=layout)
    x = build.input("x", "2x0e+2x1o", rows="node")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="node"), (0, 1))
    paths = [(1, 1, 0, "uvu", True, 1.0), (0, 1, 1, "uvu", True, 1.0)]
    build.tensor_product("tp", x, y, "2x0e+2x1o", paths)
    return GraphModule(build.graph(build.linear("z", "tp", "3x0e+2x1o", biases=True)))


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_right_modules_pass(layout: str) -> None:
    report = compare(module(layout), rows=7)
    assert max(report.forward, report.backward, report.double_backward) < 1e-12
    assert str(report).startswith("relative errors: forward ")


def test_values_without_columns() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e", rows="node")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="node"), ())
    tp = build.tensor_product("tp", x, y, "2x1o", [])
    assert compare(GraphModule(build.graph(tp, y))).forward == 0.0


def test_float32() -> None:
    assert compare(module(dtype="float32")).tolerance == 1e-4


def test_reference_shares_parameters() -> None:
    ours = module()
    theirs = reference_module(ours)
    assert theirs.get_parameter("z.weight") is ours.get_parameter("z.weight")


def test_wrong_reference() -> None:
    ours = module()
    with pytest.raises(ArtifactError) as error:
        compare(ours, lambda x, v: 1.5 * ours(x, v))
    assert str(error.value).startswith(
        "verify: forward: expected a relative error of at most 1e-10, got 3.3e-01"
    )


def test_wrong_gradient() -> None:
    ours = module()

    def other(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = ours(x, v)
        return out.detach() + 2 * (out - out.detach())

    with pytest.raises(ArtifactError, match="verify: backward: expected a relative error"):
        compare(ours, other)


def test_random_inputs_are_reproducible() -> None:
    first, second = (random_inputs(module(), 4, seed=3) for _ in range(2))
    assert torch.equal(first["x"], second["x"])


def test_layouts_exchange() -> None:
    irreps = canonical_irreps("2x0e+3x1o+1x2e")
    x = torch.arange(16.0).reshape(1, 16)
    turned = from_mul_ir(x, irreps)
    assert turned[0, 2:11].tolist() == [2, 5, 8, 3, 6, 9, 4, 7, 10]
    torch.testing.assert_close(to_mul_ir(turned, irreps), x)
