"""The threads that kernels run on when XLA calls them.

XLA calls from any of its threads, and TVM keeps a pool of workers for every thread that runs a
parallel loop: as many workers again for each. So calls that are worth several threads are handed to
one thread of ours, which owns the one pool; other calls run where XLA makes them, serially.

In: functions and tensors. Out: functions called. The result of a kernel does not depend on the
number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tvm_equi.errors import ArgumentError
from tvm_equi.runtime.library import use_threads

VARIABLE = "TVM_NUM_THREADS"
"""How many threads TVM gives to a thread that nobody configured: 1 unless the user says otherwise,
so that what XLA calls directly makes no pool."""


def _default_threads() -> int:
    """The user's number, or that of the cores that this process may use."""
    given = os.environ.get(VARIABLE, "")
    return int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))


_num_threads = _default_threads()
os.environ.setdefault(VARIABLE, "1")


def _new_owner() -> ThreadPoolExecutor:
    """The thread that owns the pool; it starts at the first call."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="tvm_equi.jax")


_owner = _new_owner()


def set_num_threads(count: int) -> None:
    """Sets how many threads a large call of a kernel may use.

    Args:
        count: 1 or more; by default $TVM_NUM_THREADS, or as many as there are cores.

    Raises:
        ArgumentError: the count is below 1.
    """
    global _num_threads
    if not isinstance(count, int) or count < 1:
        raise ArgumentError(f"set_num_threads: count: expected 1 or more, got {count!r}")
    _num_threads = count


def num_threads() -> int:
    """How many threads a large call may use."""
    return _num_threads


def call_pooled(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Calls a function on the thread that owns the pool, and waits.

    Args:
        function: to call.
        arguments: of it; none is kept, since their memory belongs to XLA.
    """
    held = [arguments]
    del arguments
    _owner.submit(_run, function, held).result()


def _run(function: Callable[..., None], held: list[tuple[Any, ...]]) -> None:
    use_threads(_num_threads)
    function(*held.pop())


def _after_fork() -> None:
    """A forked process has none of its parent's threads."""
    global _owner
    _owner = _new_owner()


os.register_at_fork(after_in_child=_after_fork)
