"""The state of a module, taken over by the one in its place.

In: a module of mace-torch. Out: the same parameters and buffers, the same objects by the same
names, in a new module, without the code that computed with them. So state dicts are those of
mace-torch in both directions, and optimizers stay valid.
"""

from __future__ import annotations

import torch

from tvm_equi.models.state import has_state, share_tensors


def take_state(new: torch.nn.Module, old: torch.nn.Module) -> None:
    """Registers everything that another module's state dict and parameters hold.

    Args:
        new: takes it; it has no parameters or buffers of these names yet.
        old: has it. Lists of parameters are kept as they are; of other modules inside, an empty
            module with their state.
    """
    share_tensors(new, old)
    for name, child in old.named_children():
        if has_state(child):
            new.add_module(name, child if _is_plain(child) else _holder(child))
    new.train(old.training)


def _is_plain(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.ParameterList)


def _holder(module: torch.nn.Module) -> torch.nn.Module:
    """A module with nothing but state."""
    if isinstance(module, torch.nn.ModuleList):
        holder: torch.nn.Module = torch.nn.ModuleList(_holder(child) for child in module)
        return holder.train(module.training)
    holder = torch.nn.Module()
    take_state(holder, module)
    return holder
