"""Load compiled libraries and give them as many threads as torch has.

In: the path of a library made by `artifact.codegen`. Out: a function that takes tensors through
DLPack. Only the small TVM runtime is loaded, never the compiler.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from tvm_equi.artifact.cuda_libraries import TVM_RUNTIME, check_runtime, tvm_library
from tvm_equi.errors import ArtifactError
from tvm_equi.lower.names import FUNCTION

SHARE_ALL_CORES = -3
"""TVM's affinity mode in which workers may run on any of the given cores."""

_local = threading.local()
_forked = False


@lru_cache(maxsize=1)
def _runtime() -> Any:
    """tvm_ffi, with TVM's runtime loaded: parallel loops call it, and crash where it is missing."""
    # TVM would otherwise pin the calling thread to one core for good, torch's own work included.
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    # Idle workers that spin for long take the cores that torch's own workers need.
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", "1000")
    import tvm_ffi

    path = tvm_library(TVM_RUNTIME)
    if path is None:
        raise ArtifactError(
            f"load: expected {TVM_RUNTIME} in the tvm package, got none; pip install apache-tvm"
        )
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return tvm_ffi


@lru_cache(maxsize=1)
def load_cuda_runtime() -> None:
    """Loads what libraries of kernels for GPUs call.

    Raises:
        ArtifactError: a library is missing, or the driver is too old.
    """
    path = check_runtime()
    _runtime()
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


@lru_cache(maxsize=4096)
def load_function(path: Path) -> Callable[..., None]:
    """The kernel in a library.

    Args:
        path: of the library.

    Returns:
        A function of the kernel's inputs, then its outputs, which it fills.

    Raises:
        ArtifactError: the runtime is missing, or the file is no library of ours.
    """
    try:
        module = _runtime().load_module(str(path.resolve()))
        function: Callable[..., None] = module[FUNCTION]
    except (RuntimeError, AttributeError) as error:
        raise ArtifactError(
            f"load: {path.name}: expected a kernel library, got: {error}"
        ) from error
    return function


def use_threads(count: int) -> None:
    """Makes parallel loops called from this thread use `count` threads.

    A process forked from one that has run a parallel loop has none of its workers, so that it runs
    serially.
    """
    if _forked:
        count = 1
    if getattr(_local, "count", 0) == count:
        return
    configure = _runtime().get_global_func("runtime.config_threadpool")
    if not getattr(_local, "count", 0):  # the first call makes the pool, and a pool never grows
        configure(SHARE_ALL_CORES, 0, _cores(max(count, os.cpu_count() or 1)))
    configure(SHARE_ALL_CORES, count, _cores(count))
    _local.count = count


def _cores(count: int) -> list[str]:
    """Names of `count` cores; TVM takes their number as the most threads that it may use."""
    return [str(core) for core in range(count)]


def _serial_after_fork() -> None:
    global _forked
    _forked = True
    if getattr(_local, "count", 0):
        # The pool of the forking thread is dead here: a limit of one thread makes TVM bypass it.
        _runtime().get_global_func("runtime.config_threadpool")(SHARE_ALL_CORES, 1, _cores(1))
        _local.count = 1


os.register_at_fork(after_in_child=_serial_after_fork)
