"""Arrays reach compiled code contiguous and aligned, with no copy where they are both already."""

from typing import Any

import numpy as np
import pytest

from tvm_equi.deploy.tensors import ALIGNMENT, Staging, aligned_bytes, aligned_tensor


def aligned(shape: tuple[int, ...], off: int = 0) -> np.ndarray[Any, Any]:
    count = int(np.prod(shape)) * 4
    memory = aligned_bytes(count + off)[off:].view(np.float32)
    memory[:] = np.arange(memory.size)
    return memory.reshape(shape)


def values(tensor: Any) -> np.ndarray[Any, Any]:
    return np.from_dlpack(tensor)


def test_no_copy_where_none_is_needed() -> None:
    array = aligned((4, 3))
    assert Staging().tensor(array).data_ptr() == array.ctypes.data


@pytest.mark.parametrize("kind", ["not aligned", "not contiguous", "read-only", "reversed", "0-d"])
def test_a_copy_where_one_is(kind: str) -> None:
    array = {
        "not aligned": aligned((4, 3), 4),
        "not contiguous": aligned((3, 4)).T,
        "read-only": aligned((4, 3)),
        "reversed": aligned((4, 3))[::-1],
        "0-d": aligned((1,), 4)[0:1].reshape(()),
    }[kind]
    array.flags.writeable = kind != "read-only"
    tensor = Staging().tensor(array)
    assert tensor.data_ptr() % ALIGNMENT == 0
    assert tensor.data_ptr() != array.ctypes.data
    np.testing.assert_array_equal(values(tensor), array)


def test_memory_is_used_again() -> None:
    staging = Staging()
    first = staging.tensor(aligned((40, 3), 4)).data_ptr()
    for rows in (30, 41, 40):
        array = aligned((rows, 3), 4)
        tensor = staging.tensor(array)
        assert tensor.data_ptr() == first
        np.testing.assert_array_equal(values(tensor), array)
    array = aligned((400, 3), 4)
    np.testing.assert_array_equal(values(staging.tensor(array)), array)


@pytest.mark.parametrize("shape", [(0, 64), (5, 0, 2), (0,)])
def test_empty_arrays_have_strides_that_tvm_takes(shape: tuple[int, ...]) -> None:
    tensor = Staging().tensor(np.zeros(shape, np.float32))
    assert tensor.shape == shape
    strides = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * max(shape[axis], 1)
    assert list(tensor.strides) == strides


@pytest.mark.parametrize("off", [0, 4])
def test_parameters_may_be_read_only(off: int) -> None:
    array = aligned((4, 3), off)
    array.flags.writeable = False
    tensor = aligned_tensor(array)
    assert tensor.data_ptr() % ALIGNMENT == 0
    assert (tensor.data_ptr() == array.ctypes.data) == (off == 0)
    np.testing.assert_array_equal(values(tensor), array)
