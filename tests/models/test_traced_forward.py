"""Forwards that were traced: one trace for each set of constants."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch

from tvm_equi.models.traced_forward import MAX_TRACES, Source, TracedForward, source

calls: list[dict[str, Any]] = []


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0

    def forward(self, x: float, own: float | None = None, double: bool = False) -> float:
        return -1.0


def trace(module: torch.nn.Module, given: Mapping[str, Any]) -> Source | None:
    """Code that shows what it was made of; none for a factor of 0."""
    calls.append(dict(given))
    if module.factor == 0:
        return None
    head = "def forward(self, x, own=None, double=False):"
    return source(f"{head}\n    return math.floor(x) * {module.factor}", {"math": math})


def made() -> tuple[Layer, TracedForward]:
    layer = Layer()
    forward = TracedForward(layer, ("factor",), trace)
    calls.clear()
    return layer, forward


def test_one_trace_for_each_set_of_constants() -> None:
    layer, forward = made()
    assert forward(3.5) == 6.0
    assert forward(4.5) == 8.0
    assert calls == [{"own": None, "double": False}]
    assert forward(3.5, 1.0, double=True) == 6.0
    assert forward(3.5, own=1.0, double=True) == 6.0
    assert calls[1:] == [{"double": True}]
    layer.factor = 3.0
    assert forward(3.5) == 9.0
    assert len(calls) == 3


def test_without_a_trace_the_own_forward_runs() -> None:
    layer, forward = made()
    layer.factor = 0
    assert forward(3.5) == -1.0
    assert not forward.prepare({"double": False})


def test_traces_are_few() -> None:
    layer, forward = made()
    for step in range(MAX_TRACES + 5):
        layer.factor = float(step + 1)
        forward(1.0)
    assert len(calls) == MAX_TRACES
    assert forward(1.0) == -1.0


def test_copies_belong_to_copies() -> None:
    layer, forward = made()
    layer.forward = forward  # type: ignore[method-assign]
    layer(1.0)
    other = copy.deepcopy(layer)
    other.factor = 5.0
    assert other(1.0) == 5.0
    assert layer(1.0) == 2.0
    assert len(calls) == 2
    other.factor = 2.0
    assert other(1.0) == 2.0
    assert len(calls) == 2  # the code came with the copy
