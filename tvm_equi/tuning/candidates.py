"""Candidates that are measured before the search proposes any.

In: a task's space, and what is measured already. Out: legal points that are new: what won
elsewhere, the rule's neighbours, and all changes together that helped by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tvm_equi.schedule import space
from tvm_equi.schedule.records import Record
from tvm_equi.schedule.space import Choice, Point
from tvm_equi.schedule.targets import CpuTarget, GpuTarget
from tvm_equi.tuning.task import Task

MAX_SEEDS = 4
"""Points that won elsewhere, to begin with."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The design space of a task.

    Args:
        task: what is tuned.
        target: its CPU or GPU.
        choices: what there is to decide.
        rule: the rule's value of each.
    """

    task: Task
    target: CpuTarget | GpuTarget
    choices: tuple[Choice, ...]
    rule: Point

    @staticmethod
    def of(task: Task, target: CpuTarget | GpuTarget) -> Candidates:
        """The space of a task."""
        choices = space.choices(task.kernel, task.dtype, target)
        known = space.as_point(space.rule(task.kernel, task.dtype, target))
        return Candidates(task, target, choices, {each.name: known[each.name] for each in choices})

    def seeds(self, winners: Iterable[Point], trials: Sequence[Record]) -> list[Point]:
        """What won elsewhere, as far as there is such a choice here.

        Args:
            winners: points of other spaces, the most telling first.
            trials: what is measured.
        """
        points = [
            {
                choice.name: point[choice.name]
                if point.get(choice.name) in choice.values
                else self.rule[choice.name]
                for choice in self.choices
            }
            for point in winners
        ]
        return self._new(points, trials)[:MAX_SEEDS]

    def neighbours(self, trials: Sequence[Record]) -> list[Point]:
        """Points that differ from the rule in one choice, those nearest to it first.

        Args:
            trials: what is measured.
        """
        found: list[tuple[int, Point]] = []
        for choice in self.choices:
            own = choice.values.index(self.rule[choice.name])
            found += [
                (abs(number - own), {**self.rule, choice.name: value})
                for number, value in enumerate(choice.values)
            ]
        return self._new([p for _, p in sorted(found, key=lambda pair: pair[0])], trials)

    def combination(self, trials: Sequence[Record]) -> list[Point]:
        """Every change that helped by itself, together.

        Args:
            trials: what is measured, the rule among it.
        """
        combined = dict(self.rule)
        for choice in self.choices:
            alone = [
                (each.seconds, each.point[choice.name])
                for each in trials
                if {**self.rule, choice.name: each.point.get(choice.name)} == each.point
            ]
            combined[choice.name] = min(alone, key=lambda pair: pair[0])[1]
        return self._new([combined], trials)

    def is_current(self, point: Point) -> bool:
        """Whether a point is in the space as it is now.

        Args:
            point: of a record, maybe of another version.
        """
        return point.keys() == self.rule.keys() and all(
            point[choice.name] in choice.values for choice in self.choices
        )

    def _new(self, points: Iterable[Point], trials: Sequence[Record]) -> list[Point]:
        """Points that are legal and not measured yet, each once."""
        known = [each.point for each in trials]
        found: list[Point] = []
        for point in points:
            is_legal = space.is_legal_point(self.task.kernel, self.task.dtype, self.target, point)
            if is_legal and point not in known and point not in found:
                found.append(point)
        return found
