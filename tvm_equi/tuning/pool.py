"""Build candidates here and measure them, on this machine or on workers of a tracker.

In: a task and points of its space. Out: seconds of each, or what is wrong with it. Builds run side
by side; on this machine one candidate is measured at a time. Where a worker leaves, hangs or dies,
what it was measuring is measured again on another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tvm_equi.schedule.space import Point
from tvm_equi.tuning.helper import FailedError, Helper, LostError
from tvm_equi.tuning.task import Task

Result = list[float] | str
"""Seconds of each timed call, or what is wrong with a candidate."""

MAX_ATTEMPTS = 4
"""A candidate that has taken so many workers with it counts as failed."""


@dataclass(frozen=True, slots=True)
class Tracker:
    """Where workers are.

    Args:
        host: of the tracker.
        port: of the tracker.
        key: of the workers.
    """

    host: str
    port: int
    key: str


@dataclass(frozen=True, slots=True)
class Options:
    """How candidates are measured.

    Args:
        threads: of kernels on this machine.
        builders: candidates that are built at a time.
        timeout: seconds that a build or a measurement may take.
        seconds: to spend on timing a candidate.
        race_seconds: to spend on timing each finalist.
        tracker: of workers; by default this machine measures.
        worker_wait: seconds to wait for a worker where there is none.
    """

    threads: int = 1
    builders: int = 0
    timeout: float = 120.0
    seconds: float = 0.2
    race_seconds: float = 0.8
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

    def __enter__(self) -> Pool:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every process."""
        for helper in self._helpers:
            helper.close()

    def run(self, task: Task, points: Sequence[Point], folder: Path) -> list[Result]:
        """Seconds of candidates, each timed by itself.

        Args:
            task: whose candidates they are.
            points: of its space.
            folder: for libraries.

        Raises:
            TuningError: no worker answers.
        """
        built = self._build(task, points, folder)
        with ThreadPoolExecutor(self._num_workers()) as executor:
            return list(executor.map(partial(self._result, task), built))

    def race(self, task: Task, points: Sequence[Point], folder: Path) -> list[list[float]]:
        """Seconds of candidates that take turns, as many of each; none of one that cannot be built.

        Args:
            task: whose candidates they are.
            points: of its space; the first is the rule's.
            folder: for libraries.

        Raises:
            TuningError: no worker answers.
            FailedError: a candidate that was measured before fails now.
        """
        built = self._build(task, points, folder)
        paths = {number: path for number, path in enumerate(built) if isinstance(path, Path)}
        found = self._measure(task, list(paths.values()), self.options.race_seconds)
        times = dict(zip(paths, found, strict=True))
        return [times.get(number, []) for number in range(len(points))]

    def _num_workers(self) -> int:
        """Candidates that are measured at a time."""
        if self.options.tracker is None:
            return 1
        from tvm_equi.tuning.rpc import wait_for_workers

        return wait_for_workers(self.options.tracker, self.options.worker_wait)

    def _build(self, task: Task, points: Sequence[Point], folder: Path) -> list[Path | str]:
        """Libraries of candidates, or what is wrong with them."""
        paths = [folder / f"candidate{number}.so" for number in range(len(points))]
        with ThreadPoolExecutor(self.options.builders or max(1, os.cpu_count() or 1)) as executor:
            return list(executor.map(partial(self._build_one, task), points, paths))

    def _result(self, task: Task, built: Path | str) -> Result:
        """Seconds of a candidate by itself, or what is wrong with it.

        Raises:
            TuningError: no worker answers.
        """
        if isinstance(built, str):
            return built
        try:
            seconds: list[float] = self._measure(task, [built], self.options.seconds)[0]
        except FailedError as error:
            return str(error)
        return seconds

    def _build_one(self, task: Task, point: Point, path: Path) -> Path | str:
        request = {
            "do": "build",
            "plan": task.kernel.plan(),
            "dtype": task.dtype,
            "target": task.target,
            "point": dict(point),
            "path": str(path),
        }
        try:
            with self._helper() as helper:
                helper.ask(request, self.options.timeout)
        except (LostError, FailedError) as error:
            return str(error)
        return path

    def _measure(self, task: Task, libraries: list[Path], seconds: float) -> Any:
        """Seconds of some libraries, in turns.

        Raises:
            FailedError: one of them computes something else, or crashes.
            TuningError: no worker answers.
        """
        tracker = self.options.tracker
        request = {
            "libraries": [str(path) for path in libraries],
            "plan": task.kernel.plan(),
            "dtype": task.dtype,
            "rows": task.rows,
            "seconds": seconds,
            "device": task.device,
        }
        if tracker is not None:
            request["tracker"] = [tracker.host, tracker.port, tracker.key, self.options.timeout]
        for _ in range(MAX_ATTEMPTS if tracker is not None else 1):
            try:
                with self._helper() as helper:
                    return helper.ask({"do": "measure", **request}, self.options.timeout)
            except LostError as error:
                lost = error
                self._num_workers()  # an error if nobody is left to ask
        raise FailedError(str(lost))

    @contextmanager
    def _helper(self) -> Iterator[Helper]:
        """A process that has nothing to do."""
        try:
            helper = self._idle.get_nowait()
        except Empty:
            helper = Helper(self.options.threads)
            self._helpers.append(helper)
        try:
            yield helper
        finally:
            self._idle.put(helper)
