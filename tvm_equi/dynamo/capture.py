"""How e3nn's modules come into a graph that dynamo traces for this backend.

In: calls of e3nn's modules while dynamo traces. Out: for each, one node that names an operation and
gets its operands and weights; any other call as it was. Nothing is refused: what can not be
captured is traced as e3nn wrote it, and the reason kept for the report.

Dynamo enters a module through its class's `__call__`, and a backend sees the graph only when that
is over: by then e3nn's generated code has become hundreds of operations, or broken the graph where
it is TorchScript. So `install`, called when the backend is loaded, gives e3nn's classes a
`__call__`. It asks which backend the graph is traced for, takes the module for an operation if it
is this one, and goes on to `torch.nn.Module.__call__` otherwise, as it does outside of dynamo. Why
so, and not otherwise:

- `forward` is left alone: TorchScript compiles its source, and subclasses call it.
- The classes are changed once and for all, since the conditions under which dynamo takes a compiled
  graph again may name the functions it has traced. Whether the backend is this one is asked of
  dynamo while it traces. Compiled graphs are kept by backend, so no other can get one of ours.
- A backend's `backend_ctx_ctor`, which would tell when this one runs, is lost in the wrapper that
  `torch.compile` makes (torch 2.13), and callbacks at the start of compilation are lost by
  `torch._dynamo.reset`.
- `Activation` loops over irreps in old versions of e3nn, and some other classes do in all: dynamo
  asks for the length of an irrep, which is an error, with any backend. The first is traced in other
  words, the others break the graph and run as they are.
- Modules are no part of the graph: an operation has no weights (`operations`), and its node gets
  those of e3nn's module as dynamo reads them, with its guards. So it does no harm to replace a
  parameter, load a state dict by assignment, or call the model through `torch.func`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from e3nn import nn, o3

from tvm_equi.dynamo.operations import CLASSES, Decision, call_operation, decide, harmonics
from tvm_equi.runtime.devices import DEVICE_TYPES

DTYPES = (torch.float32, torch.float64)

BACKEND = "_is_tvm_equi_backend"
"""An attribute of functions that compile for this backend."""

UNTRACEABLE: tuple[Any, ...] = tuple(
    getattr(nn, name)
    for name in ("Dropout", "S2Activation", "SO3Activation", "BatchNorm")
    if hasattr(nn, name)  # old versions do not have all
    and "irs" not in getattr(nn, name).forward.__code__.co_names  # BatchNorm since e3nn 0.6
)
"""Classes of e3nn whose forward loops over irreps, of which dynamo asks the length and gets an
error. They break the graph instead."""

_left = threading.local()
_substituted: list[Any] = []


def install() -> None:
    """Gives e3nn's classes a `__call__` that can capture; a second time does nothing."""
    for known in CLASSES:
        if known.__dict__.get("__call__") is not _call:
            known.__call__ = _call  # type: ignore[method-assign]
    if nn.Activation.__dict__.get("__call__") is not _call_activation:
        nn.Activation.__call__ = _call_activation
    for known in UNTRACEABLE:
        if known.__dict__.get("__call__") is not _call_outside:
            known.__call__ = _call_outside
    function: Any = o3.spherical_harmonics
    if function not in _substituted:
        _substituted.append(function)
        torch.compiler.substitute_in_graph(function)(_spherical_harmonics)


def take_reasons() -> list[str]:
    """Why modules were not captured since the last call, in this thread; each once."""
    found = list(dict.fromkeys(getattr(_left, "reasons", [])))
    _left.reasons = []
    return found


def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
    """The call of an e3nn module."""
    if torch.compiler.is_dynamo_compiling() and is_captured() and not _has_hooks(self):
        decision = decision_about(self)
        if decision[0]:
            operands = _operands(self, decision[0], decision[2], *args, **kwargs)
            if is_supported(operands):
                return call_operation(decision[1], *operands)
            _note_operands(type(self).__name__)
    return torch.nn.Module.__call__(self, *args, **kwargs)


def _call_activation(self: Any, features: torch.Tensor, dim: int = -1) -> Any:
    """The call of e3nn's `Activation`, which before e3nn 0.6 loops over irreps, too."""
    if not torch.compiler.is_dynamo_compiling() or not is_captured() or _has_hooks(self):
        return torch.nn.Module.__call__(self, features, dim)
    parts = []
    for (start, size), act in zip(blocks_of(self), self.acts, strict=True):
        part = features.narrow(dim, start, size)
        parts.append(part if act is None else act(part))
    return torch.cat(parts, dim=dim) if parts else torch.zeros_like(features)


def _call_outside(self: Any, *args: Any, **kwargs: Any) -> Any:
    """The call of an e3nn module that dynamo fails on, with any backend."""
    if torch.compiler.is_dynamo_compiling() and is_captured():
        _note_outside(type(self).__name__)
        return _outside(self, *args, **kwargs)
    return torch.nn.Module.__call__(self, *args, **kwargs)


@torch.compiler.disable(reason="dynamo fails on e3nn's loops over irreps")  # type: ignore[untyped-decorator]
def _outside(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The result of a module, outside of any graph."""
    return torch.nn.Module.__call__(module, *args, **kwargs)


def _has_hooks(module: torch.nn.Module) -> bool:
    """Whether hooks want to see a call; traced, so that dynamo looks again when one is added."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _spherical_harmonics(
    l: Any,  # noqa: E741  # e3nn's name
    x: torch.Tensor,
    normalize: bool,
    normalization: str = "integral",
) -> Any:
    """What dynamo traces in the place of e3nn's function: that, or an operation."""
    if is_captured():
        decision = decision_about_harmonics(l, normalize, normalization)
        if decision[0] and is_supported((x,)):
            return call_operation(decision[1], x)
    return o3.SphericalHarmonics(l, normalize, normalization)(x)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_captured() -> bool:
    """Whether dynamo traces for this backend."""
    from torch._dynamo.symbolic_convert import InstructionTranslator

    try:
        function: Any = InstructionTranslator.current_tx().output.compiler_fn
    except AttributeError:
        return False
    return is_ours(function)


def is_ours(function: Any) -> bool:
    """Whether a compiler function is this backend, however it is wrapped.

    Args:
        function: what dynamo calls with a graph; wrappers are looked through by torch's own
            attributes and by that of `functools.wraps`.
    """
    seen: set[int] = set()
    pending = [function]
    while pending:
        function = pending.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        if getattr(function, BACKEND, False):
            return True
        for name in ("_torchdynamo_orig_backend", "compiler_fn", "__wrapped__", "func"):
            inner = getattr(function, name, None)
            if inner is not None:
                pending.append(inner)
    return False


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def decision_about(module: torch.nn.Module) -> tuple[str, int, tuple[str, ...]]:
    """The decision about a module, as constants; a reason to leave it is noted."""
    found: Decision = decide(module)
    if found.reason:
        _note(found.reason)
    return found.kind, found.key, found.weights


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def decision_about_harmonics(degrees: Any, normalize: bool, normalization: str) -> tuple[str, int]:
    """The decision about a call of `o3.spherical_harmonics`, as constants."""
    found = harmonics(degrees, normalize, normalization)
    if found.reason:
        _note(found.reason)
    return found.kind, found.key


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def blocks_of(module: Any) -> tuple[tuple[int, int], ...]:
    """(start, size) of each irrep of a module's input, as constants."""
    slices = module.irreps_in.slices()
    return tuple((block.start, block.stop - block.start) for block in slices)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _note_operands(name: str) -> bool:
    """Notes that a module's operands are of a kind that kernels do not take."""
    _note(f"{name} gets operands that are not all float32 or all float64 on one device")
    return True


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _note_outside(name: str) -> bool:
    """Notes that a module breaks the graph."""
    _note(f"{name} breaks the graph: dynamo fails on its loops over irreps, with any backend")
    return True


def _note(reason: str) -> None:
    _left.reasons = [*getattr(_left, "reasons", []), reason]


def _operands(module: Any, kind: str, weights: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
    """The operands of a module's operation, its own weights included."""
    return OPERANDS[kind](module, weights, *args, **kwargs)


def _product(
    module: Any, weights: tuple[str, ...], x: Any, y: Any, weight: Any = None
) -> tuple[Any, ...]:
    return x, y, module.weight if weight is None and "weight" in weights else weight


def _square(module: Any, weights: tuple[str, ...], x: Any, weight: Any = None) -> tuple[Any, ...]:
    return x, module.weight if weight is None and "weight" in weights else weight


def _linear(
    module: Any, weights: tuple[str, ...], features: Any, weight: Any = None, bias: Any = None
) -> tuple[Any, ...]:
    return (
        features,
        module.weight if weight is None and "weight" in weights else weight,
        module.bias if bias is None and "bias" in weights else bias,
    )


def _single(module: Any, weights: tuple[str, ...], x: Any) -> tuple[Any, ...]:
    return (x,)


OPERANDS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "product": _product,
    "square": _square,
    "linear": _linear,
    "harmonics": _single,
    "extract": _single,
}
"""By kind of module: its arguments, as e3nn names them, in the order of the operation's."""


def is_supported(operands: Sequence[Any]) -> bool:
    """Whether all tensors have one dtype and device, which kernels take.

    Args:
        operands: tensors, lists of tensors, or None.
    """
    first = operands[0]
    if first.dtype not in DTYPES or first.device.type not in DEVICE_TYPES:
        return False
    if torch.is_autocast_enabled(first.device.type):
        return False
    for operand in operands[1:]:
        parts = operand if isinstance(operand, (list, tuple)) else [operand]
        for part in parts:
            if part is not None and (part.dtype != first.dtype or part.device != first.device):
                return False
    return True
