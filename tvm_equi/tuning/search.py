"""A tuning run: the rule first, then what evolutionary search proposes, then a race of the best.

In: kernels, a target, a number of trials and a database. Out: for each kernel the rule's seconds
and the winner's gain. Everything measured is in the database at once; a run that starts again goes
on where the last one was.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tvm_equi.errors import TuningError
from tvm_equi.schedule import records, sampling
from tvm_equi.schedule.databases import Entry
from tvm_equi.schedule.records import Record
from tvm_equi.schedule.space import Point
from tvm_equi.schedule.targets import cpu_target, family, gpu_target, is_gpu
from tvm_equi.tuning import metaschedule
from tvm_equi.tuning.candidates import Candidates
from tvm_equi.tuning.database import Database
from tvm_equi.tuning.pool import Pool
from tvm_equi.tuning.race import race
from tvm_equi.tuning.task import Budget, Outcome, Task, Watch, shares

BATCH = 8
"""Candidates that are proposed, built and measured together."""

MAX_PROPOSALS = 512
"""Of the search for one kernel: some are of points that are measured already."""

FINALISTS = 5
MIN_GAIN = 1.02
"""A winner must be faster than the rule by so much, on average over places in memory."""


class RuleFailedError(TuningError):
    """The rule's kernel cannot be built or measured: there is nothing to compare with."""


def search(
    tasks: Sequence[Task],
    budget: Budget,
    database: Database,
    pool: Pool,
    watch: Watch = lambda outcomes: None,
    seed: int = 1,
) -> list[Outcome]:
    """Measures the rule for every kernel, then tunes those one after another.

    Trials are shared out by the time that the rule takes for a row, or evenly.

    Args:
        tasks: the kernels.
        budget: of trials and time.
        database: of the family of their target.
        pool: builds and measures.
        watch: is told of progress.
        seed: of the search, from 1.

    Raises:
        TuningError: a package or every worker is missing, or the rule fails for every kernel.
    """
    outcomes = [Outcome(task) for task in tasks]
    winners: list[Point] = []
    searches: list[_Search] = []
    failures: list[RuleFailedError] = []
    for outcome in outcomes:
        one = _Search(outcome, database, pool, seed, lambda: watch(outcomes), winners)
        try:
            if not budget.is_over():
                one.measure_rule()
                searches.append(one)
        except RuleFailedError as error:
            failures.append(error)
    if failures and not searches:
        raise failures[0]
    weights = [1.0 if budget.is_even else outcome.weight for outcome in outcomes]
    planned = shares(budget.trials, weights)
    for outcome, count in zip(outcomes, planned, strict=True):
        outcome.planned = count
    for one in searches:
        if not budget.is_over():
            one.run(budget)
    return outcomes


class _Search:
    """The search for one kernel."""

    def __init__(
        self,
        outcome: Outcome,
        database: Database,
        pool: Pool,
        seed: int,
        watch: Callable[[], None],
        winners: list[Point],
    ) -> None:
        task, self.winners = outcome.task, winners
        self.outcome, self.database, self.pool, self.watch = outcome, database, pool, watch
        self.task, self.seed, self.structure = task, seed, task.structure
        self.target = gpu_target(task.target) if is_gpu(task.target) else cpu_target(task.target)
        self.candidates = Candidates.of(task, self.target)
        self.choices, self.rule = self.candidates.choices, self.candidates.rule
        self.conditions = task.conditions(pool.machine, pool.options.threads)
        self.workload = database.store.commit_workload(self._module(self.conditions))
        self.module = self.workload.mod
        self.tvm_target = metaschedule.tvm_target(self.target)

    def measure_rule(self) -> None:
        """Measures the rule, unless an earlier run has.

        Raises:
            RuleFailedError: it cannot be measured.
            TuningError: no worker answers.
        """
        trials = self._measured()
        self.outcome.seconds = [each.seconds for each in trials]
        self.outcome.resumed = len(trials)
        if self._rule_seconds(trials) == float("inf"):
            self._try([self._schedule(self.rule)])
            trials = self._measured()
        self.outcome.rule_seconds = self._rule_seconds(trials)
        if self.outcome.rule_seconds == float("inf"):
            why = self.outcome.errors[-1]
            raise RuleFailedError(f"tune: {self.task.name}: the rule cannot be measured: {why}")
        self.watch()

    def run(self, budget: Budget) -> None:
        """Measures candidates, then races the best.

        Raises:
            TuningError: no worker answers.
        """
        left = self.outcome.planned - len(self._measured())
        entry = self.database.entry(self.structure)
        if left > 0 or entry is None or entry.best.conditions != self._raced_conditions():
            self._explore(left, budget)
            self._race(entry)
        else:
            self.outcome.gain, self.outcome.is_raced = entry.gain, True
            self.outcome.chosen = None if entry.best.point == self.rule else entry.best.point
        if self.outcome.chosen is not None:
            self.winners.append(self.outcome.chosen)
        self.watch()

    def _module(self, conditions: dict[str, Any]) -> Any:
        """The workload that stands for the kernel, measured under some conditions."""
        task = self.task
        return sampling.workload(task.kernel, task.dtype, family(task.target), conditions)

    def _raced_conditions(self) -> dict[str, Any]:
        """Those of a race: the number of trials that it was among, beside those of the trials."""
        return {**self.conditions, "trials": len(self._measured())}

    def _measured(self) -> list[Record]:
        """The trials so far."""
        return self.database.measured(self.structure, self.conditions)

    def _rule_seconds(self, trials: Sequence[Record]) -> float:
        """The fewest of the rule's; infinite where it is not measured."""
        return min((e.seconds for e in trials if e.point == self.rule), default=float("inf"))

    def _explore(self, trials: int, budget: Budget) -> None:
        """Measures what won elsewhere, the rule's neighbours, then what the search proposes."""
        ms = metaschedule.meta_schedule()
        task, seed = self.task, self.seed + len(self.outcome.seconds)  # others than last time
        context = metaschedule.context(
            task.kernel, self.choices, self.rule, self.module, task.dtype, self.target, seed
        )
        model = metaschedule.cost_model(self.choices)
        arguments = ms.arg_info.ArgInfo.from_entry_func(self.module, remove_preproc=False)
        self._remind(model, context, arguments)
        for points in (self._seeds, self.candidates.neighbours, self.candidates.combination):
            found = points(self._measured())[: max(1, 2 * trials // 3)]
            near = [self._schedule(point) for point in found]
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

    def _remind(self, model: Any, context: Any, arguments: Any) -> None:
        """Lets the cost model learn from what earlier runs have measured."""
        ms = metaschedule.meta_schedule()
        known = [each for each in self._measured() if self.candidates.is_current(each.point)]
        tried = [ms.MeasureCandidate(self._schedule(each.point), arguments) for each in known]
        model.update(context, tried, [metaschedule.result(each.seconds) for each in known])

    def _seeds(self, trials: Sequence[Record]) -> list[Point]:
        """What won for this kernel on other targets, and for the last kernels of this run."""
        known = [each.point for each in records.elsewhere(self.structure.kernel, self.task.dtype)]
        return self.candidates.seeds([*known, *reversed(self.winners)], trials)

    def _answer(self, candidates: list[Any], trials: int, context: Any, model: Any) -> int:
        """Measures those proposals that are new, and returns their number."""
        known = [each.point for each in self._measured()]
        new = [each for each in candidates if sampling.read_point(each.sch.mod) not in known]
        new = new[:trials]
        results = self._try([each.sch for each in new])
        model.update(context, new, results)
        # Of what it proposes again the search need not be told more than that it was measured.
        again = metaschedule.result(1.0)
        answers = dict(zip(map(id, new), results, strict=True))
        context.notify_runner_results(candidates, [answers.get(id(c), again) for c in candidates])
        return len(new)

    def _try(self, schedules: list[Any]) -> list[Any]:
        """Builds, checks and times candidates; results as MetaSchedule has them.

        Each is written down as soon as it is measured.
        """
        points = [sampling.read_point(each.mod) for each in schedules]
        results: list[Any] = [None] * len(points)
        with tempfile.TemporaryDirectory(prefix="tvm_equi-tune-") as folder:
            for number, found in self.pool.run(self.task, points, Path(folder)):
                seconds = float("inf") if isinstance(found, str) else statistics.median(found)
                if isinstance(found, str):
                    self.outcome.note(found)
                self._write(schedules[number].trace, points[number], seconds)
                results[number] = metaschedule.result(seconds)
                self.watch()
        return results

    def _write(self, trace: Any, point: Point, seconds: float) -> None:
        """Writes a trial down."""
        plan, path = self.task.kernel.plan(), self.database.trials
        record = Record(self.structure, plan, self.conditions, dict(point), seconds, path, 0)
        self.database.add(self.workload, trace, record, self.tvm_target)
        self.outcome.seconds.append(seconds)

    def _race(self, entry: Entry | None) -> None:
        """Times the best candidates and the rule in turns, and writes down who wins.

        What was chosen before, here or in the database that compiling finds, takes part too: it won
        a race, and one measurement may be unlucky.
        """
        fastest = sorted(self._measured(), key=lambda each: each.seconds)
        points = [each.point for each in fastest if each.seconds < float("inf")][: 1 + FINALISTS]
        if entry is not None:
            points.append(entry.best.point)
        points += [each.point for each in records.find(self.structure)[:1]]
        finalists: list[Point] = []
        for point in points:
            is_new = point not in (self.rule, *finalists)
            if is_new and self.candidates.is_current(point):
                finalists.append(point)
        placings = race(self.pool, self.outcome, self.rule, finalists)
        if not placings:
            return
        best = max(placings, key=lambda each: each.gain)
        chosen = [(self._schedule(self.rule).trace, [best.rule_seconds])]
        self.outcome.gain, self.outcome.chosen, self.outcome.is_raced = 1.0, None, True
        if best.gain >= MIN_GAIN:
            self.outcome.gain, self.outcome.chosen = best.gain, best.point
            chosen.append((self._schedule(best.point).trace, [best.rule_seconds / best.gain]))
        self.database.choose(self._module(self._raced_conditions()), chosen, self.tvm_target)

    def _schedule(self, point: Point) -> Any:
        return sampling.decided(self.module, self.choices, self.rule, point)
