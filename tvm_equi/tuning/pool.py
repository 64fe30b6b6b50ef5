"""Build candidates here and measure them, on this machine or on workers of a tracker.

In: a task and points of its space. Out: seconds of each, or what is wrong with it. Builds run side
by side; on this machine one candidate is measured at a time. Where a worker leaves, hangs or dies,
what it was measuring is measured again on another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tvm_equi.artifact.codegen import host_cpu
from tvm_equi.artifact.parallel import max_jobs
from tvm_equi.artifact.process import LostError
from tvm_equi.errors import TuningError
from tvm_equi.schedule.space import Point
from tvm_equi.tuning.helper import FailedError, Helper
from tvm_equi.tuning.rpc import Tracker, wait_for_workers
from tvm_equi.tuning.task import Task

Result = list[float] | str
"""Seconds at each place in memory, or what is wrong with a candidate."""

MIN_ROUNDS = 3
"""The fewest at a place."""

MAX_ATTEMPTS = 4
"""A candidate that has taken so many workers with it counts as failed."""


@dataclass(frozen=True, slots=True)
class Options:
    """How candidates are measured.

    Args:
        threads: of kernels on this machine.
        builders: candidates that are built at a time; 0 for as many as there are CPUs.
        timeout: seconds that a measurement may take.
        build_timeout: seconds that a build may take, on a machine that others may load.
        seconds: to spend on timing a candidate.
        race_seconds: to spend on timing each finalist.
        places: in memory at which a candidate is timed.
        race_processes: that time the finalists; each has its stack elsewhere.
        race_places: in memory at which each does.
        tracker: of workers; by default this machine measures.
        worker_wait: seconds to wait for a worker where there is none.
    """

    threads: int = 1
    builders: int = 0
    timeout: float = 120.0
    build_timeout: float = 600.0
    seconds: float = 0.2
    race_seconds: float = 1.2
    places: int = 2
    race_processes: int = 3
    race_places: int = 3
    tracker: Tracker | None = None
    worker_wait: float = 30.0


class Pool:
    """Processes that build and measure.

    Args:
        options: how.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._idle: SimpleQueue[Helper] = SimpleQueue()
        self._helpers: list[Helper] = []
        self._is_closed = False

    @property
    def machine(self) -> str:
        """What measures: this machine, or workers of a kind."""
        tracker = self.options.tracker
        return host_cpu() if tracker is None else f"workers {tracker.key}"

    def __enter__(self) -> Pool:
        """Itself."""
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        """Ends every process; at once where the run was interrupted."""
        self._close(at_once=kind is not None)

    def _close(self, *, at_once: bool) -> None:
        self._is_closed = True
        for helper in self._helpers:
            helper.close(at_once=at_once)

    def run(
        self, task: Task, points: Sequence[Point], folder: Path
    ) -> Iterator[tuple[int, Result]]:
        """(number, seconds) of candidates, each timed by itself, as they come.

        Args:
            task: whose candidates they are.
            points: of its space.
            folder: for libraries.

        Raises:
            TuningError: no worker answers; after what was measured until then.
        """
        built = self._build(task, points, folder)
        lost: TuningError | None = None
        with ThreadPoolExecutor(self._num_workers()) as executor:
            futures = {executor.submit(self._result, task, e): n for n, e in enumerate(built)}
            try:
                for future in as_completed(futures):
                    if future.cancelled():
                        continue
                    if (error := future.exception()) is None:
                        yield futures[future], future.result()
                    elif isinstance(error, TuningError):
                        lost = lost or error
                        executor.shutdown(wait=False, cancel_futures=True)
                    else:
                        raise error
            except BaseException:
                self._close(at_once=True)  # or the executor would wait for what is under way
                raise
        if lost is not None:
            raise lost

    def race(self, task: Task, points: Sequence[Point], folder: Path) -> list[list[float]]:
        """Seconds of candidates that take turns, by process and place; none of one not built.

        Args:
            task: whose candidates they are.
            points: of its space; the first is the rule's.
            folder: for libraries.

        Raises:
            TuningError: no worker answers.
            FailedError: the rule, or a candidate that was measured before, fails now.
        """
        built = self._build(task, points, folder)
        if isinstance(built[0], str):
            raise FailedError(built[0])
        paths = {number: path for number, path in enumerate(built) if isinstance(path, Path)}
        count, places = self.options.race_processes, self.options.race_places
        while len(self._helpers) < count:
            self._idle.put(self._new_helper())
        times: list[list[float]] = [[] for _ in points]
        for _ in range(count):  # another process each time: the one that has waited longest
            found = self._measure(
                task, [*paths.values()], self.options.race_seconds / count, places
            )
            for number, seconds in zip(paths, found, strict=True):
                times[number] += seconds
        return times

    def _num_workers(self) -> int:
        """Candidates that are measured at a time."""
        tracker = self.options.tracker
        return 1 if tracker is None else wait_for_workers(tracker, self.options.worker_wait)

    def _build(self, task: Task, points: Sequence[Point], folder: Path) -> list[Path | str]:
        """Libraries of candidates, or what is wrong with them."""
        paths = [folder / f"candidate{number}.so" for number in range(len(points))]
        with ThreadPoolExecutor(self.options.builders or max_jobs()) as executor:
            try:
                return list(executor.map(partial(self._build_one, task), points, paths))
            except BaseException:
                self._close(at_once=True)
                raise

    def _build_one(self, task: Task, point: Point, path: Path) -> Path | str:
        try:
            with self._helper() as helper:
                helper.build(
                    self.options.build_timeout,
                    plan=task.kernel.plan(),
                    dtype=task.dtype,
                    target=task.target,
                    point=dict(point),
                    path=str(path),
                )
        except (LostError, FailedError) as error:
            return f"build: {error}"
        return path

    def _result(self, task: Task, built: Path | str) -> Result:
        """Seconds of a candidate by itself, or what is wrong with it.

        Raises:
            TuningError: no worker answers.
        """
        if isinstance(built, str):
            return built
        try:
            return self._measure(task, [built], self.options.seconds, self.options.places)[0]
        except FailedError as error:
            return f"measure: {error}"

    def _measure(
        self, task: Task, libraries: list[Path], seconds: float, places: int
    ) -> list[list[float]]:
        """Seconds of some libraries, in turns.

        Raises:
            FailedError: one of them computes something else, or crashes.
            TuningError: no worker answers.
        """
        lost = ""
        for _ in range(1 if self.options.tracker is None else MAX_ATTEMPTS):
            try:
                with self._helper() as helper:
                    self._connect(helper)
                    return helper.measure(
                        self.options.timeout,
                        libraries=[str(path) for path in libraries],
                        plan=task.kernel.plan(),
                        dtype=task.dtype,
                        rows=task.rows,
                        seconds=seconds,
                        places=places,
                        min_rounds=MIN_ROUNDS,
                        device=task.device,
                    )
            except LostError as error:
                lost = str(error)
        raise FailedError(lost)

    def _connect(self, helper: Helper) -> None:
        """Gets a worker, which is no candidate's business.

        All may be busy for as long as a measurement may take. One that hangs is tried once: the
        tracker does not name it again.

        Raises:
            TuningError: none answers.
        """
        tracker, options = self.options.tracker, self.options
        if tracker is None:
            return
        place = (tracker.host, tracker.port, tracker.key)
        deadline = time.monotonic() + options.worker_wait + options.timeout
        while True:
            wait_for_workers(tracker, options.worker_wait)
            try:
                helper.connect(options.worker_wait, *place, options.timeout)
                break
            except LostError as error:
                if time.monotonic() >= deadline:
                    raise TuningError(
                        f"tune: {tracker.host}:{tracker.port}: expected a worker with key "
                        f"{tracker.key!r} to answer, got none: {error}"
                    ) from error

    @contextmanager
    def _helper(self) -> Iterator[Helper]:
        """A process that has nothing to do.

        Raises:
            TuningError: the run was interrupted.
        """
        if self._is_closed:
            raise TuningError("tune: interrupted")
        try:
            helper = self._idle.get_nowait()
        except Empty:
            helper = self._new_helper()
        try:
            yield helper
        finally:
            self._idle.put(helper)

    def _new_helper(self) -> Helper:
        helper = Helper(self.options.threads)
        self._helpers.append(helper)
        return helper
