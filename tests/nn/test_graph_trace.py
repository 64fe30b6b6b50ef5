"""The kernels that are found ahead are those that calls ask for."""

import pytest
import torch

from tvm_equi.errors import ArgumentError
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.nn.graph_module import GraphModule
from tvm_equi.nn.graph_trace import needed_plans
from tvm_equi.runtime import torch_op


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


def test_calls_ask_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    module = GraphModule(graph())
    known = set(needed_plans(module, 2, ["y"]))
    asked: set[str] = set()
    execute = torch_op._run_cpu

    def note(inputs: list[torch.Tensor], plan: str) -> list[torch.Tensor]:
        asked.add(plan)
        return execute(inputs, plan)

    monkeypatch.setattr(torch_op, "_run_cpu", note)
    x, y = torch.randn(4, 8), torch.randn(4, 3, requires_grad=True)
    energy = module(x, y).sum()
    (forces,) = torch.autograd.grad(energy, y, create_graph=True)
    (forces.square().sum() + energy**2).backward()
    assert {plan.count(" ") for plan in asked} == {0, 1, 2}
    assert asked <= known
