"""The functions of kernels, and how XLA calls them.

In: a kernel and a dtype. Out: the name of a custom call, or a key of the one that serves all
kernels. A kernel comes from an artifact that was installed, from the cache, or is compiled now.

A small call of a kernel over rows is a custom call of the kernel's own: no Python runs. The others
go through one custom call in Python, which finds the kernel by a key: those that are worth several
threads, to be handed to the thread that has them; and kernels over edges, whose arguments end with
indices, since a custom call has all its arguments before its results.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax_tvm_ffi

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import DTYPES, build
from tvm_equi.errors import ArgumentTypeError, ArtifactError
from tvm_equi.jax import threads
from tvm_equi.runtime.library import load_function

ANY_KERNEL = "tvm_equi.any_kernel"
"""The custom call for all kernels."""

MAX_TARGETS = 1000
"""Of kernels with a custom call of their own: jax-tvm-ffi has a table of 1024 for all libraries."""

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
_targets: set[str] = set()
_calls: dict[str, _Call] = {}


def install(kernel: Kernel, dtype: str, library: Path) -> None:
    """Makes calls of a kernel use a library compiled earlier, unless one is in use already.

    Args:
        kernel: the program.
        dtype: of its values.
        library: its path; it is loaded now, and the file may go.

    Raises:
        ArtifactError: the file is no library of ours.
    """
    _functions.setdefault(_name(kernel.key(), dtype), load_function(library))


def is_installed(kernel: Kernel, dtype: str) -> bool:
    """Whether calls of a kernel need no cache and no compiler."""
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
        _functions[name] = load_function(build(kernel, dtype).library)
    return name


def own_target(name: str) -> str | None:
    """The custom call of a kernel's own, None where the table is full.

    Args:
        name: from `kernel_name`.
    """
    if name not in _targets:
        if len(_targets) >= MAX_TARGETS:
            return None
        jax_tvm_ffi.register_ffi_target(name, _functions[name], platform="cpu")
        _targets.add(name)
    return name


@lru_cache(maxsize=1)
def common_target() -> str:
    """The custom call for all kernels."""
    jax_tvm_ffi.register_ffi_target(
        ANY_KERNEL, _call, ["attrs.key", "args", "rets"], platform="cpu", pass_owned_tensor=True
    )
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
    name, num_inputs, num_indices, is_pooled = _calls[key]
    end = num_inputs + num_indices
    arguments = (*tensors[:num_inputs], *tensors[end:], *tensors[num_inputs:end])
    del tensors
    if is_pooled:
        threads.call_pooled(_functions[name], arguments)
    else:
        _functions[name](*arguments)


@lru_cache(maxsize=4096)
def _name(key: str, dtype: str) -> str:
    return f"tvm_equi.{key[:40]}.{dtype}"
