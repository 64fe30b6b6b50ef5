"""Memory of large results, used again.

In: shapes. Out: uninitialised CPU tensors. A fresh block of tens of megabytes comes from the
kernel page by page, which costs several times what a tensor product does; so the storage of a
large result is kept when its last tensor is gone, and serves the next result of that size. What is
kept idle is bounded.
"""

from __future__ import annotations

import os
import threading

import torch

from tvm_equi.errors import ArgumentError

MIN_BYTES = 1 << 20
"""Smaller results are left to torch's allocator, which keeps such blocks itself."""

LIMIT_VARIABLE = "TVM_EQUI_POOL_BYTES"
DEFAULT_LIMIT = 1 << 30


class Pool:
    """Storages of past results, by size.

    Args:
        limit: bytes that may lie idle; the oldest go first.
    """

    def __init__(self, limit: int) -> None:
        """Starts empty."""
        self.limit = limit
        self._storages: list[torch.UntypedStorage] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """An uninitialised contiguous CPU tensor."""
        num_elements = 1
        for extent in shape:
            num_elements *= extent
        num_bytes = num_elements * dtype.itemsize
        if num_bytes < MIN_BYTES or num_bytes > self.limit:
            return torch.empty(shape, dtype=dtype)
        with self._lock:
            storage = self._take(num_bytes)
            result = torch.empty(0, dtype=dtype)
            result.set_(storage, 0, shape, _strides(shape))
        return result

    def _take(self, num_bytes: int) -> torch.UntypedStorage:
        """An idle storage of exactly this size, or a new one; it becomes the newest."""
        found = None
        for index, storage in enumerate(self._storages):
            if storage.nbytes() == num_bytes and _is_idle(storage):
                found = self._storages.pop(index)
                break
        storage = found or torch.UntypedStorage(num_bytes)
        self._storages.append(storage)
        self._evict(storage)
        return storage

    def _evict(self, keep: torch.UntypedStorage) -> None:
        """Lets go of the oldest idle storages over the limit."""
        idle = [s for s in self._storages if s is not keep and _is_idle(s)]
        excess = sum(storage.nbytes() for storage in idle) - self.limit
        for storage in idle:
            if excess <= 0:
                break
            excess -= storage.nbytes()
            self._storages = [s for s in self._storages if s is not storage]

    def clear(self) -> None:
        """Lets go of everything; tensors in use keep their memory."""
        with self._lock:
            self._storages.clear()


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a contiguous tensor."""
    strides = [1]
    for extent in reversed(shape[1:]):
        strides.append(strides[-1] * extent)
    return tuple(reversed(strides))


def _is_idle(storage: torch.UntypedStorage) -> bool:
    """Whether the pool's own handle is the only one to a storage."""
    return bool(torch._C._storage_Use_Count(storage._cdata) == 1)


def _limit() -> int:
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT))
    try:
        return max(0, int(text))
    except ValueError as error:
        raise ArgumentError(
            f"pool: {LIMIT_VARIABLE}: expected a number of bytes, got {text!r}"
        ) from error


POOL = Pool(_limit())
"""The process's pool; `TVM_EQUI_POOL_BYTES` bounds what it keeps idle (0 turns it off)."""
