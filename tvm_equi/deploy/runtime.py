"""TVM's small runtime library: where it is, and how many threads its parallel loops use.

In: this process. Out: tvm_ffi, with the library loaded into it. Neither torch nor TVM's Python
package is imported. Refused: a machine that has no such library, or one of another release.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tvm_equi.errors import ArgumentError, ArtifactError

LIBRARY = "libtvm_runtime.so"
LIBRARY_VARIABLE = "TVM_EQUI_RUNTIME"
"""The library, or a folder that has it; looked at first."""

THREAD_VARIABLES = ("TVM_NUM_THREADS", "OMP_NUM_THREADS")
"""Say how many threads are used where the caller does not; the first one that is set counts."""

MAX_THREADS = 1024
"""A pool starts all of its threads when it is made: tens of thousands take minutes."""

SHARE_ALL_CORES = -3
"""TVM's affinity mode in which workers may run on any of the given cores."""

_PRESENT = "vm.builtin.memory_manager.clear"
"""A function that the library registers, and may not register twice."""

_table_lock = threading.Lock()

_local = threading.local()
"""Of each thread: `count`, the threads that its pool was told to use, and whether it `is_dead`."""


def candidates() -> Iterator[Path]:
    """Where the library may be, what counts first at the front; most are not there."""
    if variable := os.environ.get(LIBRARY_VARIABLE):
        yield Path(variable)
        yield Path(variable) / LIBRARY
        return
    for package in ("tvm", "tvm_ffi"):  # the copy that `import tvm` would load comes first
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations if spec else None) or ():
            yield Path(location) / "lib" / LIBRARY
    yield Path(sys.prefix) / "lib" / LIBRARY


def find_runtime() -> Path | None:
    """The path of the library, None where there is none."""
    return next((path for path in candidates() if path.is_file()), None)


@lru_cache(maxsize=1)
def load_runtime() -> Any:
    """tvm_ffi, with TVM's runtime loaded: parallel loops call it, and crash where it is missing.

    Raises:
        ArtifactError: tvm_ffi or the library is missing, or they do not fit together.
    """
    # TVM would otherwise pin the calling thread to one core for good, other libraries' work too.
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    # Idle workers that spin for long take the cores that torch's own workers need.
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", "1000")
    try:
        import tvm_ffi
    except ImportError as error:
        raise ArtifactError(
            f"load: expected the package tvm_ffi, got: {error}; pip install apache-tvm-ffi"
        ) from error
    if tvm_ffi.get_global_func(_PRESENT, allow_missing=True) is not None:
        return tvm_ffi
    path = find_runtime()
    # A folder of LD_LIBRARY_PATH is the last place to look.
    name = LIBRARY if path is None and LIBRARY_VARIABLE not in os.environ else path
    if name is None:
        raise ArtifactError(
            f"load: {LIBRARY_VARIABLE}: expected {LIBRARY} or a folder that has it, "
            f"got {os.environ[LIBRARY_VARIABLE]!r}"
        )
    try:
        ctypes.CDLL(str(name), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise ArtifactError(_advice(path, error)) from error
    return tvm_ffi


def _advice(path: Path | None, error: OSError) -> str:
    """What to do about a library that is missing or cannot be loaded."""
    if path is None:
        return (
            f"load: expected {LIBRARY}, got none; set {LIBRARY_VARIABLE} to the folder that "
            "`tvm-equi runtime -o FOLDER` wrote elsewhere, or pip install apache-tvm"
        )
    return (
        f"load: {path}: expected a runtime that fits this release of apache-tvm-ffi, got: {error}; "
        "take both from the same place"
    )


def function_table() -> AbstractContextManager[Any]:
    """Held by who adds to tvm_ffi's table of functions, or makes a machine, which looks into it.

    The table has no lock of its own, and Python's is free while compiled code runs.
    """
    return _table_lock


def default_threads() -> int:
    """How many threads a model uses where nobody says: as many as the process may use cores.

    Raises:
        ArgumentError: a variable of the environment is no number from 1 to `MAX_THREADS`.
    """
    for variable in THREAD_VARIABLES:
        if text := os.environ.get(variable):
            is_number = text.isdecimal() and len(text) <= len(str(MAX_THREADS))
            if not is_number or not 1 <= int(text) <= MAX_THREADS:
                raise ArgumentError(
                    f"threads: {variable}: expected a number from 1 to {MAX_THREADS}, got {text!r}"
                )
            return int(text)
    return min(_num_cores(), MAX_THREADS)


def _num_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(count: int) -> None:
    """Makes parallel loops called from this thread use `count` threads.

    Every thread has a pool of its own. One that has run a parallel loop and is then forked has none
    of its workers in the new process, and runs serially there; other threads do not.
    """
    if getattr(_local, "is_dead", False):
        count = 1
    if getattr(_local, "count", 0) == count:
        return
    configure = load_runtime().get_global_func("runtime.config_threadpool")
    if not getattr(_local, "count", 0):  # the first call makes the pool, and a pool never grows
        configure(SHARE_ALL_CORES, 0, _cores(max(count, _num_cores())))
    configure(SHARE_ALL_CORES, count, _cores(count))
    _local.count = count


def _cores(count: int) -> list[str]:
    """Names of `count` cores; TVM takes their number as the most threads that it may use."""
    return [str(core) for core in range(count)]


def _serial_after_fork() -> None:
    """Has TVM bypass the pool of the thread that was forked, by a limit of one thread.

    The lock may have been held by a thread that is not there any more.
    """
    global _table_lock
    _table_lock = threading.Lock()
    if getattr(_local, "count", 0):
        load_runtime().get_global_func("runtime.config_threadpool")(SHARE_ALL_CORES, 1, _cores(1))
        _local.count, _local.is_dead = 1, True


os.register_at_fork(after_in_child=_serial_after_fork)
