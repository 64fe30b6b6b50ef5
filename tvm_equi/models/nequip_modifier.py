"""Model modifiers for classes of nequip and its extensions, added from outside.

In: where a class is defined, and what its modifier does to a model. Out: the class with that
modifier, as if it defined it, as soon as it is imported: nequip imports its extensions when it is
itself half imported, so that nothing of it can be imported then. A model that comes out of a
package has classes of its own, of the same names; they get the modifier when nequip looks for those
of the model.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

import torch


class Place(NamedTuple):
    """Where a class of modules is defined.

    Args:
        module: in which it is; the end of the module's name where it comes out of a package.
        name: of the class.
    """

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
        place: of the class; nothing is done before its module is imported.
        name: by which users know the modifier.
        function: (class, model) -> model, with a docstring for users.
    """

    def give(kind: Any) -> None:
        decorate = importlib.import_module("nequip.nn.model_modifier_utils").model_modifier
        facts: dict[str, Any] = {"persistent": False, "private": False, "unsupported_devices": []}
        # nequip refuses TorchScript with torch 2.10 and later.
        facts["supported_compile_modes"] = ["aotinductor"]
        if not hasattr(kind, name):
            setattr(kind, name, decorate(**facts)(classmethod(_copy(function))))

    def extend(search: Any) -> None:
        find = search.get_all_modifiers

        def get_all_modifiers(module: torch.nn.Module, *args: Any, **options: Any) -> Any:
            for kind in {type(part) for part in module.modules() if place.has(part)}:
                give(kind)
            return find(module, *args, **options)

        search.get_all_modifiers = get_all_modifiers

    when_imported(place.module, lambda module: give(getattr(module, place.name)))
    when_imported("nequip.model.modify_utils", extend)


def _copy(
    function: Callable[[Any, torch.nn.Module], torch.nn.Module],
) -> Callable[[Any, torch.nn.Module], torch.nn.Module]:
    """The same function as another object, since nequip writes on it, once."""

    def modifier(cls: Any, model: torch.nn.Module) -> torch.nn.Module:
        return function(cls, model)

    modifier.__name__, modifier.__doc__ = function.__name__, function.__doc__
    return modifier


def when_imported(name: str, callback: Callable[[ModuleType], None]) -> None:
    """Calls back with a module: now, or after it has been imported.

    Args:
        name: of the module.
        callback: to call once.
    """
    module = sys.modules.get(name)
    if module is None:
        sys.meta_path.insert(0, _Watch(name, callback))
    else:
        callback(module)


class _Watch(MetaPathFinder):
    """Sees a module being imported, finds it as Python does, and calls back when it is there."""

    def __init__(self, name: str, callback: Callable[[ModuleType], None]) -> None:
        self._name, self._callback = name, callback

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """How to import the module; None where it is another."""
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)  # so that the next line asks the others
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenCall(spec.loader, self._callback)
        return spec


class _ThenCall(Loader):
    """Loads a module as its own loader does, and calls back.

    The loader itself is not changed: one may load many modules, as those of zip files and pytest's
    do.
    """

    def __init__(self, loader: Loader, callback: Callable[[ModuleType], None]) -> None:
        self._loader, self._callback = loader, callback

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module's own loader's."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Gives the module back its own loader, runs it, and calls back."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._callback(module)
