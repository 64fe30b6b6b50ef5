"""What a module keeps when another takes its place: state, hooks, mode.

In: a module and its counterpart. Out: the counterpart with the same parameters and buffers (the
same objects), by the same names, so that optimizers, state dicts and handles of hooks stay valid.
Tensors that only the old module's generated code reads, such as e3nn's Wigner 3j symbols, are kept
for the state dict. Refused: modules whose state is not what their class says.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn.utils import parametrize

from tvm_equi.errors import UnsupportedError


class Constants(torch.nn.Module):
    """Tensors that nothing here computes with, kept so that a state dict has all its keys.

    Args:
        source: the module whose tensors to keep; those of its children come with it.
    """

    def __init__(self, source: torch.nn.Module) -> None:
        super().__init__()
        share_tensors(self, source)
        for name, child in source.named_children():
            if has_state(child):
                self.add_module(name, Constants(child))

    def forward(self) -> None:
        """Refuses: there is nothing to compute.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("Constants: forward: expected no call, got one; it holds state only")


def share_state(new: torch.nn.Module, old: torch.nn.Module) -> None:
    """Gives a module the parameters, buffers, hooks and mode of the one that it replaces.

    Other attributes that it does not have, such as those that a user has set, come along.

    Args:
        new: has parameters and buffers of the same names.
        old: is left as it is.
    """
    share_tensors(new, old)
    own = dict(new.named_children())
    for name, child in old.named_children():
        if name in own:
            if own[name] is not child:
                share_state(own[name], child)
        elif has_state(child):
            new.add_module(name, Constants(child))
    for name, value in vars(old).items():
        is_hooks = "_hook" in name  # the dictionaries themselves: handles remove from them
        if is_hooks or not (name.startswith("__") or hasattr(new, name)):
            setattr(new, name, value)
    new.training = old.training


def unusual(module: torch.nn.Module) -> str:
    """Why a module may not do what its class says; "" where nothing speaks against it.

    Args:
        module: of a class whose `forward` is known.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript has compiled it; accelerate the model before that"
    if "forward" in vars(module):
        return "its forward was replaced on the instance"
    if parametrize.is_parametrized(module):
        return "its weights are parametrized (torch.nn.utils.parametrize)"
    return ""


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether hooks want to see what a module takes or gives.

    Args:
        module: any.
    """
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(bool(getattr(module, kind, None)) for kind in kinds)


def share_tensors(new: torch.nn.Module, old: torch.nn.Module) -> None:
    """Gives a module the parameters and buffers of another itself, by the same names, in its order.

    Args:
        new: takes them.
        old: is left as it is.
    """
    for name in (
        *dict(new.named_parameters(recurse=False)),
        *dict(new.named_buffers(recurse=False)),
    ):
        if name in old._parameters or name in old._buffers:
            delattr(new, name)
    for name, parameter in old.named_parameters(recurse=False):
        new.register_parameter(name, parameter)
    saved = _persistent(old)
    buffers = dict(old.named_buffers(recurse=False))
    for name, buffer in buffers.items():
        new.register_buffer(name, buffer, persistent=name in saved)


def _persistent(module: torch.nn.Module) -> set[str]:
    """Names of the module's own tensors that its state dict has."""
    return {name for name in module.state_dict() if "." not in name}


def has_state(module: torch.nn.Module) -> bool:
    """Whether a module or its children have parameters or buffers.

    Args:
        module: any.
    """
    return any(True for _ in _tensors(module))


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
