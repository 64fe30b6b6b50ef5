"""A forward that was traced and rewritten, in the place of a module's own.

In: a module, the code of its rewritten forward, and what the trace took for granted. Out: a
callable for the instance's attribute `forward`. Where a call differs from what was traced (an
argument is None, an attribute has another value) the module's own forward runs. It can be copied
and saved with its module: the code is text, run again where it arrives.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch


class TracedForward:
    """Runs the code on its module.

    Args:
        owner: the module.
        sources: by the module's `training`, the code of a function `forward(self, ...)`; a None
            key serves both.
        names: what the code's globals are.
        watched: values of attributes of the module that the code has as constants.
    """

    def __init__(
        self,
        owner: torch.nn.Module,
        sources: Mapping[bool | None, str],
        names: Mapping[str, Any],
        watched: Mapping[str, Any],
    ) -> None:
        self._owner = owner
        self._sources = dict(sources)
        self._names = dict(names)
        self._watched = dict(watched)
        self._build()

    def _build(self) -> None:
        """Makes functions of the code, and notes which arguments may be left out as None."""
        self._functions = {key: _function(src, self._names) for key, src in self._sources.items()}
        signature = inspect.signature(type(self._owner).forward)
        parameters = list(signature.parameters.values())[1:]
        self._optional = tuple(
            (number, parameter.name)
            for number, parameter in enumerate(parameters)
            if parameter.default is None
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module's own forward gives."""
        owner = self._owner
        if not self._is_as_traced(args, kwargs):
            return type(owner).forward(owner, *args, **kwargs)
        functions = self._functions
        function = functions[None] if None in functions else functions[owner.training]
        return function(owner, *args, **kwargs)

    def _is_as_traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether no argument is None, and attributes are what they were."""
        for value in args:
            if value is None:
                return False
        for value in kwargs.values():
            if value is None:
                return False
        for number, name in self._optional:
            if number >= len(args) and name not in kwargs:
                return False
        for name, value in self._watched.items():
            if getattr(self._owner, name, None) != value:
                return False
        return True

    def __getstate__(self) -> dict[str, Any]:
        """Everything but functions and modules, which are made or imported anew."""
        state = self.__dict__.copy()
        del state["_functions"], state["_optional"]
        state["_names"] = {
            name: _Import(value.__name__) if isinstance(value, ModuleType) else value
            for name, value in self._names.items()
        }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes functions of the code again."""
        self.__dict__.update(state)
        self._names = {
            name: value.module() if isinstance(value, _Import) else value
            for name, value in self._names.items()
        }
        self._build()


class _Import:
    """The name of a Python module, for a state that cannot hold the module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def module(self) -> ModuleType:
        """The module."""
        return importlib.import_module(self.name)


def _function(source: str, names: Mapping[str, Any]) -> Callable[..., Any]:
    """The function `forward` that some code defines."""
    namespace: dict[str, Any] = dict(names)
    exec(compile(source, "<tvm_equi fused forward>", "exec"), namespace)
    function: Callable[..., Any] = namespace["forward"]
    return function
