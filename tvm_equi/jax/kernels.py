"""The functions of kernels, and how XLA calls them.

In: a kernel and a dtype. Out: a key by which one custom call, which serves all kernels, finds it. A
kernel comes from an artifact that was installed, from the cache, or is compiled now.

That custom call is a few lines of Python, which cost 0.2 us beside the 7 of a call of XLA: they put
the indices of a kernel over edges last, where it takes them (a custom call has all its arguments
before its results), and choose the thread.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax_tvm_ffi
import numpy as np

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import DTYPES, build
from tvm_equi.errors import ArgumentTypeError, ArtifactError
from tvm_equi.jax import threads
from tvm_equi.runtime.library import load_function

ANY_KERNEL = "tvm_equi.any_kernel"
"""The custom call for all kernels."""

NO_KERNEL = "none"
"""The key of a call that does nothing."""

KEY_LENGTH = 7
"""Of keys: texts so short lie in the argument itself, and need no memory that must live on."""


class _Call(NamedTuple):
    """How `ANY_KERNEL` calls a kernel.

    Args:
        name: of the kernel.
        num_inputs: how many arguments come before its results.
        num_indices: how many come after them.
        is_pooled: whether the thread with a pool runs it.
    """

    name: str
    num_inputs: int
    num_indices: int
    is_pooled: bool


_functions: dict[str, Callable[..., None]] = {}
_calls: dict[str, _Call] = {}


def install(key: str, dtype: str, function: Callable[..., None]) -> None:
    """Makes calls of a kernel use a function compiled earlier, unless one is in use already.

    Args:
        key: of the kernel.
        dtype: of its values.
        function: loaded.
    """
    _functions.setdefault(_name(key, dtype), function)


def is_installed(kernel: Kernel, dtype: str) -> bool:
    """Whether a kernel is here, so that no cache and no compiler is asked.

    Args:
        kernel: the program.
        dtype: of its values.
    """
    return _name(kernel.key(), dtype) in _functions


def kernel_name(kernel: Kernel, dtype: str) -> str:
    """The name of a kernel, which is loaded, or compiled if need be.

    Args:
        kernel: the program.
        dtype: of its values.

    Raises:
        ArgumentTypeError: the dtype is not supported.
        ArtifactError: the kernel is in no artifact, and cannot be compiled here.
    """
    if dtype not in DTYPES:
        raise ArgumentTypeError(
            f"tvm_equi.jax: inputs: expected {' or '.join(DTYPES)}, got {dtype}; cast them"
        )
    name = _name(kernel.key(), dtype)
    if name not in _functions:
        try:
            _functions[name] = load_function(build(kernel, dtype).library)
        except ImportError as error:
            raise ArtifactError(
                "tvm_equi.jax: expected a kernel of a model file, or the compiler, got neither "
                f"({error}); compile the file with more derivatives, or pip install apache-tvm"
            ) from error
    return name


@lru_cache(maxsize=1)
def common_target() -> str:
    """The custom call for all kernels, registered."""
    jax_tvm_ffi.register_ffi_target(
        ANY_KERNEL, _call, ["attrs.key", "args", "rets"], platform="cpu", pass_owned_tensor=True
    )
    atexit.register(_finish)
    return ANY_KERNEL


def call_key(name: str, num_inputs: int, num_indices: int, is_pooled: bool) -> str:
    """What tells `common_target()` how to call a kernel; the same in every process.

    Args:
        name: from `kernel_name`.
        num_inputs: how many arguments come before its results.
        num_indices: how many come after them.
        is_pooled: whether the thread with a pool runs it.

    Raises:
        ArtifactError: two calls have one key, which is not to be expected.
    """
    call = _Call(name, num_inputs, num_indices, is_pooled)
    digest = hashlib.sha256(repr(tuple(call)).encode()).digest()
    key = base64.urlsafe_b64encode(digest)[:KEY_LENGTH].decode()
    if _calls.setdefault(key, call) != call:
        raise ArtifactError(f"tvm_equi.jax: expected one kernel of key {key}, got two")
    return key


def _call(key: str, *tensors: Any) -> None:
    """Calls a kernel with (inputs, indices, results), which takes (inputs, results, indices)."""
    if key == NO_KERNEL:
        return
    name, num_inputs, num_indices, is_pooled = _calls[key]
    end = num_inputs + num_indices
    arguments = (*tensors[:num_inputs], *tensors[end:], *tensors[num_inputs:end])
    del tensors
    if is_pooled:
        threads.call_pooled(_functions[name], arguments)
    else:
        threads.call_here(_functions[name], arguments)


def _finish() -> None:
    """Waits for what JAX has dispatched: an interpreter that ends would abort a thread that calls.

    Each device runs what one thread dispatches in its order, so that a last call is done last.
    """
    result = jax.ShapeDtypeStruct((1,), "float32")
    last = jax.jit(lambda _: jax.ffi.ffi_call(ANY_KERNEL, result)(key=NO_KERNEL))
    for device in jax.local_devices(backend="cpu"):
        last(jax.device_put(np.zeros(1, "float32"), device)).block_until_ready()
    for array in jax.live_arrays("cpu"):
        array.block_until_ready()


@lru_cache(maxsize=4096)
def _name(key: str, dtype: str) -> str:
    return f"tvm_equi.{key[:40]}.{dtype}"
