"""numpy arrays as tensors that compiled code may read, and its results as arrays.

In: arrays of any strides and alignment. Out: tensors of tvm_ffi that are contiguous and aligned.
An array that is both already is passed as it is; any other one is copied, into memory that is kept
for the next call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_equi.deploy.runtime import load_runtime

Array = np.ndarray[Any, Any]

ALIGNMENT = 64
"""Bytes: TVM's code may read its arguments with loads that fault elsewhere."""

_SPARE = 1.25
"""New memory is larger than what is needed now by this factor: sizes grow from call to call."""


class Staging:
    """Gives one argument of a program the form that compiled code wants; for one thread."""

    def __init__(self) -> None:
        self._from_dlpack = load_runtime().from_dlpack
        self._memory = np.empty(0, np.uint8)
        self._view: Array | None = None
        self._tensor: Any = None

    def tensor(self, value: Array) -> Any:
        """A tensor with an array's values, valid until the next call of this.

        Args:
            value: the array; one that needs no copy must not change before the tensor is gone.
        """
        flags = value.flags
        if flags.c_contiguous and flags.writeable and value.size:
            tensor = self._from_dlpack(value)
            if not tensor.data_ptr() % ALIGNMENT:
                return tensor
        view = self._view
        if view is None or view.shape != value.shape:
            view = self._reserve(value)
        np.copyto(view, value)
        return self._tensor

    def _reserve(self, value: Array) -> Array:
        """Aligned memory of an array's shape and dtype."""
        if value.nbytes > len(self._memory):
            self._memory = aligned_bytes(int(value.nbytes * _SPARE))
        if value.size:
            view = self._memory[: value.nbytes].view(value.dtype).reshape(value.shape)
        else:  # numpy's own strides of an empty array may be zeros, which TVM refuses
            whole = np.empty([max(size, 1) for size in value.shape], value.dtype)
            view = whole[tuple(slice(size) for size in value.shape)]
        self._view, self._tensor = view, self._from_dlpack(view)
        return view


def aligned_bytes(count: int) -> Array:
    """Memory that starts where compiled code may read it.

    Args:
        count: of its bytes.
    """
    memory = np.empty(count + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + count]


def aligned_tensor(value: Array) -> Any:
    """A tensor with an array's values, for good; read-only arrays stay so by agreement.

    Args:
        value: contiguous; it is copied where it is not aligned.
    """
    if value.ctypes.data % ALIGNMENT or not value.flags.c_contiguous:
        copy = aligned_bytes(value.nbytes).view(value.dtype).reshape(value.shape)
        np.copyto(copy, value)
        value = copy
    return load_runtime().from_dlpack(value if value.flags.writeable else _writeable(value))


def _writeable(value: Array) -> Array:
    """The same memory as an array that numpy hands out: read-only ones it keeps, before 2.1."""

    class Same:
        """Keeps the memory."""

        kept = value
        __array_interface__ = value.__array_interface__ | {"data": (value.ctypes.data, False)}

    return np.asarray(Same())
