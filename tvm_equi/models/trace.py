"""The graph of a module's forward, with each of its children as one node.

In: a module whose code was scanned. Out: a `torch.fx` graph of its own forward. Refused, with the
reason in words: what torch.fx cannot trace, and tensors that a trace would freeze.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.scan import is_scatter

_FROZEN = "_tensor_constant"
"""What torch.fx calls tensors that a forward makes of nothing."""

_LOCK = threading.Lock()


class _Tracer(fx.Tracer):
    """Sees a module's own forward only."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        """Every child is one node."""
        return True


def traced(module: torch.nn.Module, *, training: bool) -> fx.Graph:
    """The graph of a module's forward.

    Args:
        module: to trace; nothing of it is changed.
        training: value of its flag during the trace.

    Raises:
        UnsupportedError: torch.fx cannot trace it.
    """
    known = tuple(f for f in type(module).forward.__globals__.values() if is_scatter(f))
    before, own = module.training, set(vars(module))
    module.training = training
    try:
        with _traceable_zeros():
            graph = _Tracer(autowrap_functions=known).trace(module)
    except _TRACE_ERRORS as error:
        raise UnsupportedError(f"torch.fx cannot trace its forward: {_first(error)}") from error
    finally:
        module.training = before
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
