"""Build many kernels at once: processes that compile into the cache.

In: kernels, a dtype and a target. Out: their cache entries. The compiler keeps Python's lock, so
threads would not help. Workers only fill the cache; whatever they did not do, for any reason, is
built here, so that no result depends on them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from queue import Empty, SimpleQueue

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.cache import CacheEntry, cache_folder
from tvm_equi.artifact.codegen import build, cache_key
from tvm_equi.artifact.process import AnsweringProcess, LostError, answer_all
from tvm_equi.errors import ArgumentError, TvmEquiError

KERNELS_PER_WORKER = 4
"""A worker takes about as long to start as this many kernels to compile."""

JOBS_VARIABLE = "TVM_EQUI_BUILD_JOBS"
"""Environment variable: how many processes compile; by default as many as there are CPUs."""


Job = tuple[str, str, str]
"""(plan, dtype, target)."""


def build_all(
    kernels: Sequence[Kernel],
    dtype: str,
    target: str,
    on_built: Callable[[int], None] = lambda done: None,
) -> list[CacheEntry]:
    """The libraries of kernels, in order.

    Args:
        kernels: to build.
        dtype: "float32" or "float64".
        target: "host" or an x86-64 level.
        on_built: called with the number of kernels that are done, each time it grows.

    Raises:
        ArgumentError: an unknown dtype or target, or a wrong number of jobs in the environment.
        ArtifactError: the compiler is missing or fails.
    """
    missing = [kernel for kernel in kernels if not _is_cached(kernel, dtype, target)]
    done = len(kernels) - len(missing)
    on_built(done)
    num_workers = min(max_jobs(), len(missing) // KERNELS_PER_WORKER)
    if num_workers > 1:
        largest_first = sorted(missing, key=lambda kernel: -len(kernel.plan()))
        for _ in _compile_in_processes(largest_first, dtype, target, num_workers):
            done += 1
            on_built(done)
    entries = []
    for number, kernel in enumerate(kernels):
        entries.append(build(kernel, dtype, target))
        if number >= done:
            on_built(number + 1)
    return entries


def _is_cached(kernel: Kernel, dtype: str, target: str) -> bool:
    """Whether the cache seems to hold a kernel; `build` sees whether the entry is whole."""
    key = cache_key(kernel, dtype, target)
    return (cache_folder() / key[:2] / key).is_dir()


def max_jobs() -> int:
    """How many processes may compile.

    Raises:
        ArgumentError: the environment says something that is no number.
    """
    text = os.environ.get(JOBS_VARIABLE)
    if text is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentError(f"build: {JOBS_VARIABLE}: expected 1 or more, got {text!r}")
    return int(text)


def _compile_in_processes(
    kernels: Sequence[Kernel], dtype: str, target: str, num_workers: int
) -> Iterator[None]:
    """Gives one item per kernel that a worker has built; ends early if workers end."""
    jobs: SimpleQueue[Job] = SimpleQueue()
    for kernel in kernels:
        jobs.put((kernel.plan(), dtype, target))
    built: SimpleQueue[None] = SimpleQueue()
    with ThreadPoolExecutor(num_workers) as pool:
        pending = {pool.submit(_feed_worker, jobs, built) for _ in range(num_workers)}
        try:
            while pending:
                _, pending = wait(pending, timeout=0.05, return_when=FIRST_COMPLETED)
                while not built.empty():
                    yield built.get()
        finally:  # after an interrupt, workers finish what they have begun and no more
            with suppress(Empty):
                while True:
                    jobs.get_nowait()
    while not built.empty():
        yield built.get()


def _feed_worker(jobs: SimpleQueue[Job], built: SimpleQueue[None]) -> None:
    """Runs one worker until no job is left or one is not built."""
    worker = AnsweringProcess("tvm_equi.artifact.parallel:serve", {JOBS_VARIABLE: "1"})
    with closing(worker), suppress(Empty, LostError):
        while worker.ask(jobs.get_nowait()):
            built.put(None)


def serve() -> None:
    """Builds a kernel for each job that it is asked, and answers whether it could."""
    answer_all(_build)


def _build(job: Job) -> bool:
    plan, dtype, target = job
    try:
        build(Kernel.from_plan(plan), dtype, target)
    except TvmEquiError:
        return False
    return True
