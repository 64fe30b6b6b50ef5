"""The kernels that are found ahead are those that calls ask for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tvm_equi.algebra.convolution import is_convolution
from tvm_equi.errors import ArgumentError
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.instructions import channelwise
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.nn.graph_trace import needed_plans
from tvm_equi.runtime import convolution, torch_op
from tvm_equi.runtime.plans import resolve


def graph() -> TensorProductGraph:
    build = GraphBuilder()
    x = build.input("x", "2x0e+2x1o", rows="node")
    y = build.input("y", "1o", rows="node")
    paths = [(1, 0, 0, "uvu", True, 1.0), (0, 0, 1, "uvu", True, 1.0)]
    build.tensor_product("tp", x, y, "2x0e+2x1o", paths)
    return build.graph(build.linear("z", "tp", "1x0e"))


def test_values_only() -> None:
    assert len(needed_plans(GraphModule(graph()), 0)) == 2


def test_orders_come_one_after_the_other() -> None:
    plans = needed_plans(GraphModule(graph()), 2)
    orders = [plan.count(" ") for plan in plans]
    assert orders == sorted(orders)
    assert set(orders) == {0, 1, 2}
    assert len(plans) == len(set(plans))


def test_frozen_parameters_need_fewer() -> None:
    module = GraphModule(graph())
    trained = needed_plans(module, 1, ["x"])
    module.requires_grad_(False)
    frozen = needed_plans(module, 1, ["x"])
    assert len(frozen) < len(trained)
    assert set(frozen) <= set(trained)


def test_unknown_input() -> None:
    with pytest.raises(ArgumentError, match="compile: wrt: expected one of 'x', 'y', got 'z'"):
        needed_plans(GraphModule(graph()), 1, ["z"])


def asked_plans(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The plans that calls run from now on, as they come."""
    asked: set[str] = set()

    def noting(program: Callable[..., Any]) -> Callable[..., Any]:
        def note(plan: str, dtype: torch.dtype) -> Any:
            asked.add(plan)
            return program(plan, dtype)

        return note

    for module in (torch_op, convolution):
        monkeypatch.setattr(module, "program", noting(module.program))
    return asked


def test_calls_ask_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    module = GraphModule(graph())
    known = set(needed_plans(module, 2, ["y"]))
    asked = asked_plans(monkeypatch)
    x, y = torch.randn(4, 8), torch.randn(4, 3, requires_grad=True)
    energy = module(x, y).sum()
    (forces,) = torch.autograd.grad(energy, y, create_graph=True)
    (forces.square().sum() + energy**2).backward()
    assert {plan.count(" ") for plan in asked} == {0, 1, 2}
    assert asked <= known


def edges(fuse: Fuse) -> TensorProductGraph:
    """Two layers over edges, fused."""
    build = GraphBuilder()
    x, v = build.input("x", "2x0e+2x1o", rows="node"), build.input("v", "1o", rows="edge")
    i, j = (build.index(name, rows="edge", into="node") for name in "ij")
    y = build.spherical_harmonics("y", v, (0, 1))
    basis = build.norm("length", v)
    out, paths = channelwise("2x0e+2x1o", "0e+1o", "0e+1o")
    for layer in range(2):
        w = build.mlp(f"fc{layer}", basis, [1, 4, 2 * len(paths)])
        sent = build.gather(f"sent{layer}", x, i)
        build.tensor_product(f"tp{layer}", sent, y, out, paths, weights=w)
        total = build.scatter_sum(f"sum{layer}", f"tp{layer}", j)
        x = build.linear(f"mix{layer}", total, "2x0e+2x1o")
    return fuse(build.graph(build.sum("energy", build.linear("read", x, "1x0e"))))


@pytest.mark.parametrize("fuse", [Fuse(), Fuse(radial=True, harmonics=True)])
def test_convolutions_ask_for_nothing_else(fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    module = GraphModule(edges(fuse))
    known = set(needed_plans(module, 2, ["v"]))
    assert any(is_convolution(resolve(plan)) for plan in known)
    asked = asked_plans(monkeypatch)
    v = torch.randn(5, 3, requires_grad=True)
    index = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 0, 3, 2, 2])
    energy = module(torch.randn(4, 8), v, *index).sum()
    (forces,) = torch.autograd.grad(energy, v, create_graph=True)
    (forces.square().sum() + energy**2).backward()
    found = {plan for plan in asked if is_convolution(resolve(plan))}
    assert {plan.count(" ") for plan in found} == {0, 1, 2}
    assert asked <= known
