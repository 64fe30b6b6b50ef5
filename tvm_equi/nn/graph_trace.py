"""Which kernels a graph needs, found by running it on tensors that have shapes and no values.

In: a module and the order of derivatives. Out: plans, those of values first. The module is run as
it will be used: with and without gradients to parameters (without only, where none requires one),
and to each chosen input, alone and together; a first derivative to inputs may be differentiated
again, as in training on forces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tvm_equi.errors import ArgumentError, unknown_choice
from tvm_equi.graph.types import IndexType, ValueType
from tvm_equi.nn.graph_module import DTYPES, GraphModule

NUM_ROWS = {"node": 5, "edge": 7, "graph": 3}


class _Recorder(TorchDispatchMode):
    """Notes the plan of every kernel that is called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.plans: dict[str, None] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.tvm_equi.run.default:
            self.plans[args[1]] = None
        elif func is torch.ops.tvm_equi.convolve.default:
            self.plans[args[2]] = None
        return func(*args, **(kwargs or {}))


def needed_plans(
    module: GraphModule, derivatives: int, wrt: Sequence[str] | None = None
) -> list[str]:
    """The plans of all kernels that calls of a module run.

    Args:
        module: to look at.
        derivatives: the highest order of derivatives.
        wrt: inputs some of which require a gradient in every call; by default any may, or none.

    Raises:
        ArgumentError: `wrt` names no input that is a value.
    """
    types = module.graph.types
    values = [name for name in module.graph.inputs if isinstance(types[name], ValueType)]
    for name in wrt or ():
        if name not in values:
            raise ArgumentError(unknown_choice("compile", "wrt", values, name))
    chosen = tuple(values if wrt is None else wrt)
    with _Recorder() as recorder, FakeTensorMode(allow_non_fake_inputs=True):
        trainable = any(parameter.requires_grad for parameter in module.parameters())
        for active, has_parameters in _scenarios(chosen, trainable, wrt is None):
            _run(module, active, has_parameters, derivatives)
            if derivatives == 0:
                break
    return sorted(recorder.plans, key=lambda plan: plan.count(" "))


def _scenarios(
    chosen: tuple[str, ...], any_parameters: bool, or_none: bool
) -> Iterator[tuple[set[str], bool]]:
    """(inputs that require a gradient, whether parameters do) of each way to use a module."""
    alone = [frozenset({name}) for name in chosen]
    groups = dict.fromkeys([frozenset(chosen), *alone])
    if or_none or not chosen:
        groups[frozenset()] = None
    for active in groups:
        for has_parameters in (True, False) if any_parameters else (False,):
            if active or has_parameters:
                yield set(active), has_parameters
    if not chosen and not any_parameters:
        yield set(), False


def _run(module: GraphModule, active: set[str], has_parameters: bool, derivatives: int) -> None:
    """Runs a module on fake tensors, and differentiates it as often as asked."""
    inputs: dict[str, torch.Tensor] = {}
    for name in module.graph.inputs:
        kind = module.graph.types[name]
        rows = () if kind.rows == "shared" else (NUM_ROWS[kind.rows],)
        if isinstance(kind, IndexType):
            inputs[name] = torch.zeros(rows, dtype=torch.int64)
        else:
            inputs[name] = torch.empty(
                (*rows, kind.dim), dtype=DTYPES[kind.dtype], requires_grad=name in active
            )
    weights: dict[str, torch.Tensor] = {
        name: torch.nn.Parameter(torch.empty(value.shape, dtype=value.dtype), has_parameters)
        for name, value in module.named_parameters()
    }
    leaves = [inputs[name] for name in inputs if name in active]
    everything = leaves + ([*weights.values()] if has_parameters else [])
    found = torch.func.functional_call(module, weights, (), inputs)
    outputs = list(found.values()) if isinstance(found, dict) else [found]
    if derivatives == 0:
        return
    for targets in (leaves, everything) if leaves and has_parameters else (everything,):
        totals: Iterable[torch.Tensor] = [torch.stack([out.sum() for out in outputs]).sum()]
        if len(outputs) > 1:
            totals = [*totals, *(out.sum() for out in outputs)]
        for value in totals:
            total = value
            for order in range(derivatives):
                if not total.requires_grad:
                    break
                grads = torch.autograd.grad(
                    total,
                    targets if order == 0 else everything,
                    create_graph=True,
                    allow_unused=True,
                )
                kept = [
                    grad.square().sum()
                    for grad in grads
                    if grad is not None  # type: ignore[redundant-expr]
                ]
                if not kept:
                    break
                total = torch.stack(kept).sum()
