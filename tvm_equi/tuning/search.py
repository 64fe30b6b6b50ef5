"""A tuning run: the rule first, then what evolutionary search proposes, then a race of the best.

In: kernels, a target, a number of trials and a database. Out: for each kernel the rule's seconds
and the winner's gain. Everything measured is in the database at once; a run that starts again goes
on where the last one was.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.schedule import records, sampling, space
from tvm_equi.schedule.records import Structure
from tvm_equi.schedule.space import Point
from tvm_equi.schedule.targets import cpu_target, family, gpu_target, is_gpu
from tvm_equi.tuning import metaschedule
from tvm_equi.tuning.database import Database
from tvm_equi.tuning.operands import representative_rows
from tvm_equi.tuning.pool import Pool

BATCH = 8
"""Candidates that are proposed, built and measured together."""

MAX_PROPOSALS = 512
"""Of the search for one kernel: some are of points that are measured already."""

MAX_SEEDS = 4
"""Points that won elsewhere, to begin with."""

FINALISTS = 3
MIN_GAIN = 1.02
"""A winner must be faster than the rule by so much, in the median of paired rounds."""


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
        return Task(name, kernel, dtype, target, rows or representative_rows(kernel, dtype))

    @property
    def structure(self) -> Structure:
        """What its records are found by."""
        return Structure(self.kernel.key(), self.dtype, family(self.target))


@dataclass
class Outcome:
    """What is known of a task.

    Args:
        task: what was tuned.
        planned: trials that it gets.
        seconds: of each trial, in order; infinite where it failed.
        rule_seconds: of the rule.
        gain: how many times as fast the chosen record is as the rule; 1 where the rule stays.
        is_raced: whether the race was run, so that `gain` counts.
        chosen: the winner's decisions; none where the rule stays.
        errors: what failed, the last few.
    """

    task: Task
    planned: int
    seconds: list[float] = field(default_factory=list)
    rule_seconds: float = float("inf")
    gain: float = 1.0
    is_raced: bool = False
    chosen: Point | None = None
    errors: list[str] = field(default_factory=list)

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
    """

    trials: int
    deadline: float | None = None

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def shares(trials: int, tasks: int) -> list[int]:
    """Trials of each task: as even as they can be, and one at least, which is the rule's.

    Args:
        trials: in all.
        tasks: their number.
    """
    return [max(1, trials // tasks + (number < trials % tasks)) for number in range(tasks)]


def search(
    tasks: Sequence[Task],
    budget: Budget,
    database: Database,
    pool: Pool,
    watch: Watch = lambda outcomes: None,
    seed: int = 1,
) -> list[Outcome]:
    """Tunes kernels one after another.

    Args:
        tasks: the kernels.
        budget: of trials and time.
        database: of the family of their target.
        pool: builds and measures.
        watch: is told of progress.
        seed: of the search, from 1.

    Raises:
        TuningError: a package or every worker is missing, or the rule itself fails.
    """
    outcomes = [
        Outcome(task, planned)
        for task, planned in zip(tasks, shares(budget.trials, len(tasks)), strict=True)
    ]
    winners: list[Point] = []
    for outcome in outcomes:
        if budget.is_over():
            break
        _Search(outcome, database, pool, seed, lambda: watch(outcomes), winners).run(budget)
        if outcome.chosen is not None:
            winners.append(outcome.chosen)
    return outcomes


class _Search:
    """The search for one kernel."""

    def __init__(
        self,
        outcome: Outcome,
        database: Database,
        pool: Pool,
        seed: int,
        watch: Any,
        winners: Sequence[Point],
    ) -> None:
        task, self.winners = outcome.task, winners
        self.outcome, self.database, self.pool, self.watch = outcome, database, pool, watch
        self.task, self.seed, self.structure = task, seed, task.structure
        self.target = gpu_target(task.target) if is_gpu(task.target) else cpu_target(task.target)
        self.choices = space.choices(task.kernel, task.dtype, self.target)
        self.module = sampling.workload(task.kernel, task.dtype, family(task.target))
        self.workload = database.store.commit_workload(self.module)
        self.tvm_target = metaschedule.tvm_target(self.target)
        known = space.as_point(space.rule(task.kernel, task.dtype, self.target))
        self.rule = {choice.name: known[choice.name] for choice in self.choices}

    def run(self, budget: Budget) -> None:
        """Measures the rule, then candidates, then races the best."""
        trials = self.database.measured(self.structure)
        self.outcome.seconds = [each.seconds for each in trials]
        if not any(each.point == self.rule for each in trials):
            schedule = self._schedule(self.rule)
            self._try([schedule], is_needed=True)
            trials = self.database.measured(self.structure)
        self.outcome.rule_seconds = min(each.seconds for each in trials if each.point == self.rule)
        self.watch()
        left = self.outcome.planned - len(trials)
        entry = records.entries(self.database.chosen).get(self.structure)
        if left <= 0 and entry is not None:
            self.outcome.gain, self.outcome.is_raced = entry.gain, True
            self.outcome.chosen = None if entry.best.point == self.rule else entry.best.point
        else:
            self._explore(left, budget)
            self._race()
        self.watch()

    def _explore(self, trials: int, budget: Budget) -> None:
        """Measures what won elsewhere, the rule's neighbours, then what the search proposes."""
        ms = metaschedule.meta_schedule()
        seed = self.seed + len(self.outcome.seconds)  # a run that goes on proposes other candidates
        context = metaschedule.context(
            self.task.kernel,
            self.choices,
            self.rule,
            self.module,
            self.task.dtype,
            self.target,
            seed,
        )
        model = metaschedule.cost_model(self.choices)
        arguments = ms.arg_info.ArgInfo.from_entry_func(self.module, remove_preproc=False)
        for points in (self._seeds, self._neighbours, self._combination):
            near = [self._schedule(point) for point in points()[: max(1, 2 * trials // 3)]]
            while near and trials > 0 and not budget.is_over():
                some, near = near[: min(BATCH, trials)], near[BATCH:]
                results = self._try(some)
                tried = [ms.MeasureCandidate(each, arguments) for each in some]
                model.update(context, tried, results)
                trials -= len(some)
        if trials <= 0 or budget.is_over():
            return
        context.pre_tuning(MAX_PROPOSALS, BATCH, None, self.database.store, model)
        proposed = 0
        while trials > 0 and proposed < MAX_PROPOSALS and not budget.is_over():
            candidates = list(context.generate_measure_candidates() or [])
            if not candidates:
                break
            proposed += len(candidates)
            trials -= self._answer(candidates, trials, context, model)
        context.post_tuning()

    def _answer(self, candidates: list[Any], trials: int, context: Any, model: Any) -> int:
        """Measures those proposals that are new, and returns their number."""
        key = sampling.read_point
        known = [(each.point, each.seconds) for each in self.database.measured(self.structure)]
        new = [
            each for each in candidates if key(each.sch.mod) not in [point for point, _ in known]
        ][:trials]
        results = self._try([each.sch for each in new])
        model.update(context, new, results)
        # The search asks again for what it has seen elsewhere; it is told what came of it.
        again = metaschedule.meta_schedule().runner.RunnerResult([1.0], None)
        answers = dict(zip(map(id, new), results, strict=True))
        context.notify_runner_results(candidates, [answers.get(id(c), again) for c in candidates])
        return len(new)

    def _seeds(self) -> list[Point]:
        """What won for this kernel on other targets, and for the last kernels of this run."""
        known = [
            record.point for record in records.elsewhere(self.structure.kernel, self.task.dtype)
        ]
        points = [
            {
                choice.name: point[choice.name]
                if point.get(choice.name) in choice.values
                else self.rule[choice.name]
                for choice in self.choices
            }
            for point in [*known, *reversed(self.winners)]
        ]
        return self._new(points)[:MAX_SEEDS]

    def _new(self, points: Iterable[Point]) -> list[Point]:
        """Points that are legal and not measured yet, each once."""
        known = [each.point for each in self.database.measured(self.structure)]
        found: list[Point] = []
        for point in points:
            is_legal = space.is_legal_point(self.task.kernel, self.task.dtype, self.target, point)
            if is_legal and point not in known and point not in found:
                found.append(point)
        return found

    def _combination(self) -> list[Point]:
        """Every change that helped by itself, together."""
        trials = self.database.measured(self.structure)
        combined = dict(self.rule)
        for choice in self.choices:
            alone = [
                (each.seconds, each.point[choice.name])
                for each in trials
                if {**self.rule, choice.name: each.point.get(choice.name)} == each.point
            ]
            combined[choice.name] = min(alone, key=lambda pair: pair[0])[1]
        return self._new([combined])

    def _neighbours(self) -> list[Point]:
        """Legal points that differ from the rule in one choice, those nearest to it first."""
        found: list[tuple[int, Point]] = []
        for choice in self.choices:
            own = choice.values.index(self.rule[choice.name])
            found += [
                (abs(number - own), {**self.rule, choice.name: value})
                for number, value in enumerate(choice.values)
            ]
        return self._new(point for _, point in sorted(found, key=lambda pair: pair[0]))

    def _try(self, schedules: list[Any], *, is_needed: bool = False) -> list[Any]:
        """Builds, checks and times candidates; results as MetaSchedule has them."""
        result = metaschedule.meta_schedule().runner.RunnerResult
        points = [sampling.read_point(each.mod) for each in schedules]
        with tempfile.TemporaryDirectory(prefix="tvm_equi-tune-") as folder:
            found = self.pool.run(self.task, points, Path(folder), is_needed=is_needed)
        results = []
        for schedule, each in zip(schedules, found, strict=True):
            seconds = [] if isinstance(each, str) else [statistics.median(each)]
            if isinstance(each, str):
                self.outcome.errors = [*self.outcome.errors[-4:], each]
            self.database.add(self.workload, schedule.trace, seconds, self.tvm_target)
            self.outcome.seconds.append(seconds[0] if seconds else float("inf"))
            results.append(result(seconds or None, None if seconds else str(each)))
        self.watch()
        return results

    def _race(self) -> None:
        """Times the best candidates and the rule in turns, and writes down who wins."""
        points: list[Point] = [self.rule]
        known = sorted(self.database.measured(self.structure), key=lambda each: each.seconds)
        for record in known:
            is_new = record.point not in points and record.seconds < float("inf")
            if is_new and len(points) <= FINALISTS and self._is_current(record.point):
                points.append(record.point)
        with tempfile.TemporaryDirectory(prefix="tvm_equi-tune-") as folder:
            times = self.pool.race(self.task, points, Path(folder))
        rule = times[0]
        gains = [
            statistics.median(a / b for a, b in zip(rule, each, strict=True)) if each else 0.0
            for each in times[1:]
        ]
        seconds = statistics.median(rule)
        raced = [(self._trace(self.rule), [seconds])]
        best = max(gains, default=0.0)
        if best >= MIN_GAIN:
            self.outcome.gain, self.outcome.chosen = best, points[1 + gains.index(best)]
            # Rounds are paired, so that their ratio is known better than either time.
            raced.append((self._trace(self.outcome.chosen), [seconds / best]))
        self.database.choose(self.module, raced, self.tvm_target)
        self.outcome.is_raced = True

    def _is_current(self, point: Point) -> bool:
        """Whether a point is in the space as it is now."""
        return point.keys() == self.rule.keys() and all(
            point[choice.name] in choice.values for choice in self.choices
        )

    def _trace(self, point: Point) -> Any:
        return self._schedule(point).trace

    def _schedule(self, point: Point) -> Any:
        return sampling.decided(self.module, self.choices, self.rule, point)
