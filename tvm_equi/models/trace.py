"""The graph of a module's forward, with each of its children as one node.

In: a module whose code was scanned. Out: a `torch.fx` graph of its own forward. Refused, with the
reason in words: what torch.fx cannot trace, and tensors that a trace would freeze.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.scan import is_scatter

_FROZEN = "_tensor_constant"
"""What torch.fx calls tensors that a forward makes of nothing."""

_LOCK = threading.Lock()


Given = Mapping[str, bool | str | None]
"""Arguments by name that are constants in a trace; all others may be any tensors or numbers."""


class _Tracer(fx.Tracer):
    """Sees a module's own forward only.

    Args:
        given: arguments that the forward sees as they are.
        known: functions that are one node each.
    """

    proxy_buffer_attributes = True

    def __init__(self, given: Given, known: tuple[Callable[..., Any], ...]) -> None:
        super().__init__(autowrap_functions=known)
        self._given = given

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        """Every child is one node."""
        return True

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """The arguments: stand-ins, but for those that are given."""
        function, args = super().create_args_for_root(root_fn, is_module, concrete_args)
        names = [str(arg.node.target) if isinstance(arg, fx.Proxy) else "" for arg in args]
        if any(name.startswith("*") for name in names):
            raise UnsupportedError("its forward takes any number of arguments")
        pairs = zip(names, args, strict=True)
        return function, [self._given.get(name, arg) if name else arg for name, arg in pairs]


def traced(module: torch.nn.Module, given: Given | None = None) -> fx.Graph:
    """The graph of a module's forward, in the module's mode.

    Args:
        module: to trace; nothing of it is changed.
        given: arguments that are constants.

    Raises:
        UnsupportedError: torch.fx cannot trace it.
    """
    known = tuple(f for f in type(module).forward.__globals__.values() if is_scatter(f))
    own = set(vars(module))
    try:
        with _traceable_zeros():
            graph = _Tracer(given or {}, known).trace(module)
    except UnsupportedError:
        raise
    except _TRACE_ERRORS as error:
        raise UnsupportedError(f"torch.fx cannot trace its forward: {_first(error)}") from error
    finally:
        frozen = [name for name in vars(module) if name.startswith(_FROZEN) and name not in own]
        for name in frozen:
            delattr(module, name)
    if frozen:
        raise UnsupportedError("its forward makes a tensor of no input, which a trace would freeze")
    return graph


_TRACE_ERRORS = (
    fx.proxy.TraceError,
    TypeError,
    ValueError,
    AttributeError,
    NameError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    IndexError,
    AssertionError,
)
"""What a forward raises that is run on stand-ins for tensors."""


def _first(error: Exception) -> str:
    """The first line of an error's text."""
    text = str(error).strip().partition("\n")[0]
    return text or type(error).__name__


@contextmanager
def _traceable_zeros() -> Iterator[None]:
    """Lets `torch.zeros(n, m)` be traced, which torch.fx refuses unlike `torch.zeros((n, m))`."""
    with _LOCK:
        original: Callable[..., Any] = torch.zeros

        def zeros(*size: Any, **options: Any) -> Any:
            return original(size, **options) if len(size) > 1 else original(*size, **options)

        torch.zeros = zeros
        try:
            yield
        finally:
            torch.zeros = original
