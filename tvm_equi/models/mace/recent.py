"""Values made from a tensor, found again by every layer that is given the same tensor.

In: a tensor, and how to make a value from it. Out: the value, made once while the tensor lives and
is unchanged. What torch does not see, such as a write through numpy, is not seen here either.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

import torch

Value = TypeVar("Value")

SIZE = 16
"""Values kept: some batches, each with a few of them."""


class _Entry(NamedTuple, Generic[Value]):
    """A value, and what it was made from."""

    tensor: weakref.ref[torch.Tensor]
    version: int
    key: Hashable
    value: Value


class Recent(Generic[Value]):
    """The values that were made last.

    Args:
        size: how many are kept; those of tensors that are gone are dropped at the next search.

    Example:
        >>> lengths, tensor = Recent[int](), torch.zeros(3)
        >>> [lengths.get(tensor, None, lambda: len(tensor)) for _ in range(2)]
        [3, 3]
    """

    def __init__(self, size: int = SIZE) -> None:
        self._entries: deque[_Entry[Value]] = deque(maxlen=size)
        self._lock = threading.Lock()

    def get(self, tensor: torch.Tensor, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value.

        Args:
            tensor: what it is made from.
            key: what else it depends on.
            make: makes it, where it is not known.
        """
        # No versions are counted of tensors of inference mode, and torch.compile traces no lock.
        if torch.compiler.is_compiling() or tensor.is_inference():
            return make()
        with self._lock:
            for entry in tuple(self._entries):
                known = entry.tensor()
                if known is None:
                    self._entries.remove(entry)
                elif known is tensor and (entry.version, entry.key) == (tensor._version, key):
                    return entry.value
        value = make()
        with self._lock:
            self._entries.append(_Entry(weakref.ref(tensor), tensor._version, key, value))
        return value

    def __len__(self) -> int:
        """The number of values that are kept."""
        return len(self._entries)
