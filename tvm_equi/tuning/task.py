"""What is tuned, how long, and what comes of it.

In: kernels. Out: plain data, with no TVM in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import sources
from tvm_equi.schedule.records import Structure
from tvm_equi.schedule.space import Point
from tvm_equi.schedule.targets import family, is_gpu
from tvm_equi.tuning.operands import representative_rows


@dataclass(frozen=True, slots=True)
class Task:
    """One kernel to tune.

    Args:
        name: for people.
        kernel: the program.
        dtype: of its values.
        target: its name.
        rows: at which it is timed.
    """

    name: str
    kernel: Kernel
    dtype: str
    target: str
    rows: int

    @staticmethod
    def of(name: str, kernel: Kernel, dtype: str, target: str, rows: int | None) -> Task:
        """A task, at representative rows by default."""
        device = "cuda" if is_gpu(target) else "cpu"
        rows = rows or representative_rows(kernel, dtype, device)
        return Task(name, kernel, dtype, target, rows)

    @property
    def device(self) -> str:
        """What it runs on: "cpu" or "cuda"."""
        return "cuda" if is_gpu(self.target) else "cpu"

    def conditions(self, machine: str, threads: int) -> dict[str, Any]:
        """Those under which it is measured, in JSON's types: times under others are not comparable.

        Args:
            machine: that measures.
            threads: of the kernel.
        """
        return {
            "rows": self.rows,
            "threads": threads,
            "target": self.target,
            "machine": machine,
            "code": sources()[:12],
        }

    @property
    def structure(self) -> Structure:
        """What its records are found by."""
        return Structure(self.kernel.structure(), self.dtype, family(self.target))


@dataclass
class Outcome:
    """What is known of a task.

    Args:
        task: what was tuned.
        planned: trials that it gets; one, the rule's, until the rules of all tasks are measured.
        resumed: trials of earlier runs.
        seconds: of each trial, in order; infinite where it failed.
        rule_seconds: of the rule.
        gain: how many times as fast the chosen record is as the rule; 1 where the rule stays.
        is_raced: whether the race was run, so that `gain` counts.
        chosen: the winner's decisions; none where the rule stays.
        errors: what failed, the last few.
    """

    task: Task
    planned: int = 1
    resumed: int = 0
    seconds: list[float] = field(default_factory=list)
    rule_seconds: float = float("inf")
    gain: float = 1.0
    is_raced: bool = False
    chosen: Point | None = None
    errors: list[str] = field(default_factory=list)

    def note(self, error: str) -> None:
        """Keeps the last few errors.

        Args:
            error: what failed.
        """
        self.errors = [*self.errors[-4:], error]

    @property
    def weight(self) -> float:
        """Seconds of the rule for a row: how much there is to gain."""
        return self.rule_seconds / self.task.rows if self.rule_seconds < float("inf") else 0.0

    @property
    def best(self) -> float:
        """The fewest seconds."""
        return min([self.rule_seconds, *self.seconds])


Watch = Callable[[Sequence[Outcome]], None]
"""Called whenever something was measured."""


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop.

    Args:
        trials: in all, over the tasks and over all runs on this database.
        deadline: of `time.monotonic`, or None.
        is_even: whether tasks get as many trials each, however long they take.
    """

    trials: int
    deadline: float | None = None
    is_even: bool = False

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def shares(trials: int, weights: Sequence[float]) -> list[int]:
    """Trials of each task: one at least, which is the rule's; the others by weight.

    Args:
        trials: in all.
        weights: of the tasks, none below 0.
    """
    left, total = max(0, trials - len(weights)), sum(weights)
    if not total:
        return [1] * len(weights)
    exact = [left * weight / total for weight in weights]
    found = [1 + int(share) for share in exact]
    # What rounding down leaves goes to those that lost the most by it.
    by_loss = sorted(range(len(weights)), key=lambda n: int(exact[n]) - exact[n])
    for number in by_loss[: max(0, trials - sum(found))]:
        found[number] += 1
    return found
