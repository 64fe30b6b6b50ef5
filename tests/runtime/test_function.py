"""Derivative rules: eager, and under functorch."""

from collections.abc import Callable

import pytest
import torch

from tvm_equi.runtime import function
from tvm_equi.runtime.function import gradients
from tvm_equi.runtime.torch_op import run

Inputs = Callable[..., list[torch.Tensor]]


def test_grad_equals_autograd(plan: str, inputs: Inputs) -> None:
    x, y, w = inputs(plan, requires_grad=True)

    def energy(one: torch.Tensor) -> torch.Tensor:
        return run(plan, [one, y.detach(), w.detach()])[0].square().sum()

    (wanted,) = torch.autograd.grad(energy(x), x)
    assert torch.equal(torch.func.grad(energy)(x.detach()), wanted)
    hessian = torch.func.jacrev(torch.func.grad(energy))(x.detach())
    flat = hessian.reshape(x.numel(), x.numel())
    assert torch.allclose(flat, flat.T, rtol=0, atol=1e-12)


def test_vmap_over_rows(plan: str, inputs: Inputs) -> None:
    x, y, w = inputs(plan, 6)
    wanted = run(plan, [x, y, w])[0]
    shaped = [t.reshape(3, 2, -1) for t in (x, y, w)]
    got = torch.func.vmap(lambda *some: run(plan, some)[0])(*shaped)
    assert torch.equal(got.reshape(6, -1), wanted)
    swapped = torch.func.vmap(lambda a, b: run(plan, [a, b, w[:2]])[0], in_dims=(1, None))(
        x.reshape(2, 3, -1), y[:2]
    )
    for number in range(3):
        one = run(plan, [x.reshape(2, 3, -1)[:, number], y[:2], w[:2]])[0]
        assert torch.equal(swapped[number], one)


def test_vmap_over_shared_weights(shared_plan: str, inputs: Inputs) -> None:
    x, y, w = inputs(shared_plan, 5)
    weights = torch.stack([w, 2 * w])
    got = torch.func.vmap(lambda one: run(shared_plan, [x, y, one])[0])(weights)
    assert torch.equal(got[0], run(shared_plan, [x, y, w])[0])
    assert torch.allclose(got[1], 2 * got[0], rtol=1e-14)


def test_nothing_wanted_gives_nothing(plan: str, inputs: Inputs) -> None:
    some = inputs(plan)
    assert gradients(plan, some, [None], [True, True, True], run) == [None] * 3
    assert gradients(plan, some, [torch.ones(4, 34)], [False] * 3, run) == [None] * 3


def test_gradients_that_nobody_reads_are_left_out(
    plan: str, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []

    original = function.derivative_plan

    def derivative(of: str, wrt: tuple[int, ...], given: tuple[int, ...]) -> str:
        asked.append(wrt)
        return original(of, wrt, given)

    x, y, w = inputs(plan, requires_grad=True)
    w = torch.nn.Parameter(w.detach())
    monkeypatch.setattr(function, "derivative_plan", derivative)
    out = run(plan, [2 * x, 1 * y, w])[0].square().sum()
    torch.autograd.grad(out, x, create_graph=True)
    assert asked == [(0,)], "y and w are not asked for"
    asked.clear()
    torch.autograd.grad(out, w, retain_graph=True)
    assert asked == [(2,)]
    asked.clear()
    out.backward()
    assert asked == [(0, 1, 2)]
    assert w.grad is not None
