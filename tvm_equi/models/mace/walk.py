"""One line for the user: a model of mace-torch on compiled kernels.

In: a model that mace-torch built, or that torch.load gave. Out: the same model, with modules
swapped inside. Refused: a model in which nothing is known.
"""

from __future__ import annotations

import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.change import Change
from tvm_equi.models.mace.names import is_a
from tvm_equi.models.mace.rules import RULES
from tvm_equi.nn.linear import Linear

E3NN_LINEAR = "e3nn.o3._linear.Linear"


def accelerate_mace(model: torch.nn.Module) -> torch.nn.Module:
    """Swaps what there are kernels for, in place; the state dict stays that of mace-torch.

    Args:
        model: a `mace.modules.MACE`, or another of mace-torch's models.

    Returns:
        The model.

    Raises:
        UnsupportedError: it has no interaction block of mace-torch that can be swapped.
    """
    changes: list[Change] = []
    _visit(model, changes)
    if not any(change.status == "fused" for change in changes):
        reasons = "; ".join(change.note for change in changes if change.status == "left")
        raise UnsupportedError(
            "accelerate_mace: model: expected interaction blocks of mace-torch, "
            f"got {type(model).__name__}{': ' if reasons else ''}{reasons}"
        )
    return model


def linear(module: torch.nn.Module) -> Change | None:
    """A linear layer of e3nn, with the same parameters."""
    if not is_a(module, E3NN_LINEAR):
        return None
    try:
        found = Linear.from_e3nn(module)
    except UnsupportedError as error:
        return Change(module, "left", str(error))
    for name, parameter in module.named_parameters():
        setattr(found, name, parameter)
    return Change(found, "swapped", repr(found))


def _visit(module: torch.nn.Module, changes: list[Change]) -> torch.nn.Module:
    """What goes in a module's place."""
    for rule in (*RULES, linear):
        if (change := rule(module)) is not None:
            changes.append(change)
            if change.is_done:
                return change.module
            module = change.module
            break
    for name, child in module.named_children():
        found = _visit(child, changes)
        if found is not child:
            setattr(module, name, found)
    return module
