"""The threads that kernels run on when XLA calls them.

XLA calls from any of its threads, and TVM keeps a pool of workers for every thread that runs a
parallel loop: as many workers again for each. So calls that are worth several threads are handed to
one thread of ours, which owns the one pool; other calls run where XLA makes them, serially.

In: functions and tensors. Out: functions called. The result of a kernel does not depend on the
number of threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tvm_equi.deploy.runtime import SHARE_ALL_CORES, default_threads, load_runtime, use_threads
from tvm_equi.errors import ArgumentError


def _new_owner() -> ThreadPoolExecutor:
    """The thread that owns the pool; it starts at the first call."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="tvm_equi.jax")


_owner = _new_owner()
_count: int | None = None
_is_foreign: dict[int, bool] = {}
"""Whether a thread is XLA's, by number, where it is known."""


def set_num_threads(count: int) -> None:
    """Sets how many threads a large call of a kernel may use.

    Args:
        count: 1 or more; by default $TVM_NUM_THREADS or $OMP_NUM_THREADS, or as many as there are
            cores.

    Raises:
        ArgumentError: the count is below 1.
    """
    global _count
    if not isinstance(count, int) or count < 1:  # type: ignore[redundant-expr]
        raise ArgumentError(f"set_num_threads: count: expected 1 or more, got {count!r}")
    _count = count


def num_threads() -> int:
    """How many threads a large call may use."""
    return default_threads() if _count is None else _count


def call_here(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Calls a function on this thread, serially.

    Args:
        function: to call.
        arguments: of it.
    """
    number = threading.get_ident()
    if number not in _is_foreign:
        is_own = any(thread.ident == number for thread in threading.enumerate())
        _is_foreign[number] = not is_own
        if not is_own:  # it never runs a parallel loop, so that it needs no workers
            configure = load_runtime().get_global_func("runtime.config_threadpool")
            configure(SHARE_ALL_CORES, 1, ["0"])
    if not _is_foreign[number]:
        use_threads(1)
    function(*arguments)


def call_pooled(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Calls a function on the thread that owns the pool, and waits.

    Args:
        function: to call.
        arguments: of it; none is kept, since their memory belongs to XLA.
    """
    held = [arguments]
    del arguments
    try:
        done = _owner.submit(_run, function, held)
    except RuntimeError:  # the interpreter is going, and its threads are gone
        call_here(function, held.pop())
    else:
        done.result()


def _run(function: Callable[..., None], held: list[tuple[Any, ...]]) -> None:
    use_threads(num_threads())
    function(*held.pop())


def _after_fork() -> None:
    """A forked process has none of its parent's threads."""
    global _owner
    _owner = _new_owner()
    _is_foreign.clear()


os.register_at_fork(after_in_child=_after_fork)
