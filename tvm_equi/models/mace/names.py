"""Classes of mace-torch and e3nn, known by name, so that nothing here needs mace-torch to import.

In: a module. Out: whether it is of a class.
"""

from __future__ import annotations

import torch

BLOCKS = "mace.modules.blocks"


def is_a(module: torch.nn.Module, name: str) -> bool:
    """Whether a module is of a class, or of one made from it.

    Args:
        module: any.
        name: of the class, with the module that defines it.

    Example:
        >>> is_a(torch.nn.ReLU(), "torch.nn.modules.module.Module")
        True
    """
    return any(f"{known.__module__}.{known.__qualname__}" == name for known in type(module).__mro__)


def forward_of(module: torch.nn.Module) -> str:
    """The class that defines a module's forward, with its module.

    Args:
        module: any.

    Example:
        >>> forward_of(torch.nn.ReLU())
        'torch.nn.modules.activation.ReLU'
    """
    for known in type(module).__mro__:
        if "forward" in vars(known):
            return f"{known.__module__}.{known.__qualname__}"
    return ""
