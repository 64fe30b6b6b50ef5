"""Model modifiers for classes of nequip and its extensions, added from outside.

In: where a class is defined, and what its modifier does to a model. Out: the class with that
modifier, as if it defined it. A model that comes out of a package has classes of its own, of the
same names; they get the modifier when nequip looks for those of the model.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Place(NamedTuple):
    """Where a class of modules is defined.

    Args:
        package: that has to be installed.
        module: in which it is; the end of the module's name where it comes out of a package.
        name: of the class.
    """

    package: str
    module: str
    name: str

    def has(self, module: torch.nn.Module) -> bool:
        """Whether a module is of the class, installed or out of a package; not of a subclass.

        Args:
            module: any.
        """
        kind = type(module)
        return kind.__name__ == self.name and kind.__module__.endswith(self.module)


def replace(
    model: torch.nn.Module, place: Place, make: Callable[[Any], torch.nn.Module]
) -> torch.nn.Module:
    """Replaces modules of a class inside a model, in place.

    Args:
        model: of nequip.
        place: of the class.
        make: the new module, of the old one.

    Returns:
        The model.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if place.has(child):
                setattr(parent, name, make(child))
    return model


def add_modifier(
    place: Place, name: str, function: Callable[[Any, torch.nn.Module], torch.nn.Module]
) -> None:
    """Gives a class a modifier, for training and inference on every device.

    Args:
        place: of the class; without its package nothing is done.
        name: by which users know the modifier.
        function: (class, model) -> model, with a docstring for users.
    """
    if importlib.util.find_spec(place.package) is None:
        return
    utilities = importlib.import_module("nequip.nn.model_modifier_utils")
    decorate = utilities.model_modifier(
        persistent=False,
        private=False,
        unsupported_devices=[],
        supported_compile_modes=["aotinductor"],  # TorchScript has no part in torch 2.10 and later
    )
    modifier = decorate(classmethod(function))
    setattr(getattr(importlib.import_module(place.module), place.name), name, modifier)
    search: Any = importlib.import_module("nequip.model.modify_utils")
    find = search.get_all_modifiers

    def get_all_modifiers(module: torch.nn.Module, *args: Any, **options: Any) -> Any:
        for part in module.modules():
            if place.has(part) and not hasattr(type(part), name):
                setattr(type(part), name, modifier)
        return find(module, *args, **options)

    search.get_all_modifiers = get_all_modifiers
