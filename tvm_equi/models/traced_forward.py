"""A forward that was traced and rewritten, in the place of a module's own.

In: a module, and a function that traces it. Out: a callable for the instance's attribute `forward`.
A trace holds for the values that it has as constants: attributes of the module, and arguments that
are None, a truth value or text. So there is one for each set of these, made when it is first
called. Where none can be made the module's own forward runs. It can be copied and saved with its
module: the code is text, run again where it arrives.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

MAX_TRACES = 32
"""Of one forward: an attribute that changes in each step should not be traced each time."""

_Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """The code of a function `forward(self, ...)`.

    Args:
        text: of the function.
        names: what its globals are.
    """

    text: str
    names: Mapping[str, Any]

    def function(self) -> Callable[..., Any]:
        """The function."""
        namespace: dict[str, Any] = {
            name: importlib.import_module(value.name) if isinstance(value, _Import) else value
            for name, value in self.names.items()
        }
        exec(compile(self.text, "<tvm_equi fused forward>", "exec"), namespace)
        function: Callable[..., Any] = namespace["forward"]
        return function


@dataclass(frozen=True, slots=True)
class _Import:
    """The name of a Python module, which cannot be saved itself."""

    name: str


def source(text: str, names: Mapping[str, Any]) -> Source:
    """The code, in a form that can be saved.

    Args:
        text: of a function `forward(self, ...)`.
        names: what its globals are.
    """
    kept = {
        name: _Import(value.__name__) if isinstance(value, ModuleType) else value
        for name, value in names.items()
    }
    return Source(text, kept)


class TracedForward:
    """Runs the trace that holds for a call.

    Args:
        owner: the module.
        watched: names of its attributes that traces have as constants.
        trace: makes the code for some constant arguments, with the module as it is; None where
            nothing is gained, or it cannot be traced. A function that can be imported.
    """

    def __init__(
        self,
        owner: torch.nn.Module,
        watched: tuple[str, ...],
        trace: Callable[[torch.nn.Module, Mapping[str, Any]], Source | None],
    ) -> None:
        self._owner, self._watched, self._trace = owner, watched, trace
        parameters = list(inspect.signature(type(owner).forward).parameters.values())[1:]
        self._parameters = tuple((parameter.name, parameter.default) for parameter in parameters)
        self._sources: dict[_Key, Source | None] = {}
        self._functions: dict[_Key, Callable[..., Any] | None] = {}

    def prepare(self, given: Mapping[str, Any]) -> bool:
        """Traces for some constant arguments, and says whether that gave anything.

        Args:
            given: arguments by name.
        """
        return self._prepared(self._key(given), given) is not None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module's own forward gives."""
        given = {}
        for number, (name, default) in enumerate(self._parameters):
            value = args[number] if number < len(args) else kwargs.get(name, default)
            if value is None or value is True or value is False or type(value) is str:
                given[name] = value
        key = self._key(given)
        functions = self._functions
        function = functions[key] if key in functions else self._prepared(key, given)
        if function is None:
            return type(self._owner).forward(self._owner, *args, **kwargs)
        return function(self._owner, *args, **kwargs)

    def _key(self, given: Mapping[str, Any]) -> _Key:
        """All constants of a trace."""
        values = [getattr(self._owner, name, None) for name in self._watched]
        return (*given.items(), *values)

    def _prepared(self, key: _Key, given: Mapping[str, Any]) -> Callable[..., Any] | None:
        """The function for some constants; None for the module's own forward."""
        if key not in self._sources:
            is_full = len(self._sources) >= MAX_TRACES
            self._sources[key] = None if is_full else self._trace(self._owner, given)
        code = self._sources[key]
        self._functions[key] = None if code is None else code.function()
        return self._functions[key]

    def __getstate__(self) -> dict[str, Any]:
        """Everything but functions, which are made of their code again."""
        return self.__dict__ | {"_functions": {}}
