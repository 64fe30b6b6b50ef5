"""e3nn's modules in a model: which have a counterpart here, and which are left, and why.

In: a module. Out: one that computes the same on compiled kernels and shares its parameters, or the
reason why there is none. Refused: subclasses that may do something else, modules that TorchScript
has compiled, and what no kernel serves.
"""

from __future__ import annotations

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.batch_norm import BatchNorm
from tvm_equi.models.change import Change, Rule
from tvm_equi.models.compare import ROWS, Example, tensor_like
from tvm_equi.models.gate import Gate
from tvm_equi.models.reduced import ReducedTensorProducts
from tvm_equi.models.state import has_hooks, share_state, unusual
from tvm_equi.nn.from_e3nn import CLASSES, from_e3nn

_PLAIN: dict[type[torch.nn.Module] | None, type[BatchNorm | Gate | ReducedTensorProducts]] = {
    e3nn_nn.BatchNorm: BatchNorm,
    e3nn_nn.Gate: Gate,
    o3.ReducedTensorProducts: ReducedTensorProducts,
}
"""Classes of e3nn whose counterparts are written in torch."""

KNOWN = (*CLASSES, *(known for known in _PLAIN if known is not None))
"""Classes of e3nn that have a counterpart."""

LEFT: dict[str, str] = {
    "S2Activation": "it computes on a grid of the sphere, without tensor products",
    "SO3Activation": "it computes on a grid of rotations, without tensor products",
    "ToS2Grid": "a transform to a grid of the sphere, without tensor products",
    "FromS2Grid": "a transform from a grid of the sphere, without tensor products",
    "SphericalHarmonicsAlphaBeta": "harmonics of angles; only those of vectors have kernels",
    "FullTensorProductv2": "experimental in e3nn; FullTensorProduct has a kernel",
    "FullyConnectedNet": "matrix products and activations of torch already",
    "Dropout": "random numbers, without tensor products",
}
"""Classes of e3nn that stay as they are, with the reason."""


def counterpart(module: torch.nn.Module) -> torch.nn.Module | None:
    """The module here that computes what one of e3nn's does, with the same parameters.

    Args:
        module: any.

    Returns:
        A new module that shares parameters, buffers and hooks with the old one (the same objects,
        by the same names) and has the same state dict; None where there is no counterpart.
    """
    if refusal(module):
        return None
    known = _known(module)
    new = _PLAIN[known](module) if known in _PLAIN else from_e3nn(module)
    share_state(new, module)
    return new


def refusal(module: torch.nn.Module) -> str:
    """Why an instance of a supported class is left; "" where it is not.

    Args:
        module: of one of e3nn's classes that have a counterpart, or of a subclass.
    """
    known = _known(module)
    if known is None:
        return f"{type(module).__name__} has no counterpart"
    if reason := unusual(module):
        return reason
    name = type(module).__name__
    if type(module).forward is not known.forward:
        return f"{name} defines its own forward"
    added = sorted(set(dir(type(module))) - set(dir(known)) - {"__abstractmethods__", "_abc_impl"})
    if added:
        return f"{name} adds {', '.join(added[:3])} to e3nn's {known.__name__}"
    if isinstance(module, o3.TensorProduct) and _compiles_right(module):
        return "it was made with compile_right=True, and `right` has no kernel"
    if known in _PLAIN and any(has_hooks(part) for part in list(module.modules())[1:]):
        return "a module inside it has hooks"
    if isinstance(module, e3nn_nn.BatchNorm):
        return "" if BatchNorm.takes(module) else "only means over the batch have a counterpart"
    if isinstance(module, o3.ReducedTensorProducts):
        return "" if ReducedTensorProducts.takes(module) else "its outer product is too large"
    try:
        known in _PLAIN or from_e3nn(module)
    except UnsupportedError as error:
        return str(error).rpartition(": ")[2]
    return ""


def _known(module: torch.nn.Module) -> type[torch.nn.Module] | None:
    """The supported class of e3nn's that a module is of."""
    return next((base for base in type(module).__mro__ if base in KNOWN), None)


def _compiles_right(module: torch.nn.Module) -> bool:
    """Whether an e3nn tensor product has a `right` that can be called."""
    flag = getattr(module, "_did_compile_right", None)
    if flag is None:  # e3nn 0.4 and 0.5 compile a refusal in its place
        return "not compiled" not in str(module._compiled_main_right.code)  # type: ignore[union-attr]
    return bool(flag)


def swap(module: torch.nn.Module) -> Change | None:
    """The rule for e3nn's modules.

    Args:
        module: any.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return Change(module, "left", unusual(module)) if _holds_compiled(module) else None
    if (known := _known(module)) is not None:
        new = counterpart(module)
        if new is None:
            return Change(module, "left", refusal(module), is_done=not _has_products(module))
        note = "plain torch" if known in _PLAIN else ""
        return Change(new, "swapped", note, example=_example(new, module))
    name = _name(module)
    if name in LEFT:
        return Change(module, "left", LEFT[name])
    return None


def _holds_compiled(module: torch.jit.ScriptModule) -> bool:
    """Whether TorchScript has compiled a module of e3nn, or one that holds some."""
    return any(
        ".e3nn." in part._c._type().qualified_name()
        for part in module.modules()
        if isinstance(part, torch.jit.ScriptModule)
    )


def _has_products(module: torch.nn.Module) -> bool:
    """Whether a module that is left calls tensor products that can be swapped."""
    return any(
        isinstance(child, tuple(CLASSES)) for child in module.modules() if child is not module
    )


def _example(new: torch.nn.Module, old: torch.nn.Module) -> Example | None:
    """Makes arguments for the modules here that `tvm_equi.nn` does not have."""
    if not isinstance(new, (BatchNorm, Gate, ReducedTensorProducts)):
        return None
    like = tensor_like(old, torch.empty(0))
    inputs = new.irreps if isinstance(new, BatchNorm) else new.irreps_in
    inputs = inputs if isinstance(new, ReducedTensorProducts) else [inputs]

    def example() -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        shapes = [(ROWS, irreps.dim) for irreps in inputs]
        return tuple(torch.randn(shape, generator=generator).to(like) for shape in shapes)

    return example


def _name(module: torch.nn.Module) -> str:
    """The name of the e3nn class that a module is of; "" where it is none of e3nn's."""
    for base in type(module).__mro__:
        if base.__module__.startswith(("e3nn.o3.", "e3nn.nn._")):
            return base.__name__
    return ""


RULES: tuple[Rule, ...] = (swap,)
