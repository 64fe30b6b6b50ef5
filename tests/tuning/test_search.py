"""A tuning run: the rule first, resumed where it was, and never worse than the rule."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import kinds, product
from tvm_equi.errors import TuningError
from tvm_equi.schedule import cpu, databases, records, space
from tvm_equi.schedule.space import Point
from tvm_equi.schedule.targets import cpu_target, host_family
from tvm_equi.tuning.database import opened
from tvm_equi.tuning.helper import FailedError
from tvm_equi.tuning.pool import Options, Pool, Result
from tvm_equi.tuning.search import search
from tvm_equi.tuning.task import Budget, Outcome, Task

FAMILY = "x86-64-v2"  # every x86-64 CPU runs it
KERNEL = product()
FAST = Options(seconds=0.01, race_seconds=0.02, race_processes=2)

pytestmark = pytest.mark.skipif(not host_family(), reason="needs an x86-64 CPU")


def tasks(*names: str) -> list[Task]:
    return [Task.of(name, kinds()[name], "float32", FAMILY, 64) for name in names]


def run(folder: Path, names: tuple[str, ...], trials: int, **budget: float) -> list[Outcome]:
    with opened(folder, FAMILY) as database, Pool(FAST) as pool:
        return search(tasks(*names), Budget(trials, **budget), database, pool)


def test_the_rule_is_measured_first_and_kept_in_the_choice(tmp_path: Path) -> None:
    (outcome,) = run(tmp_path, ("uvu",), 14)
    trials = records.read(tmp_path / FAMILY / "trials")
    assert len(trials) == 14
    assert len({str(sorted(each.point.items())) for each in trials}) == 14
    rule = trials[0]
    assert outcome.rule_seconds == rule.seconds
    (entry,) = databases.entries(tmp_path / FAMILY).values()
    chosen = [each.point for each in records.read(tmp_path / FAMILY)]
    assert chosen[0] == rule.point
    assert outcome.is_raced
    if outcome.chosen is None:
        assert (outcome.gain, entry.gain, entry.best.point) == (1.0, 1.0, rule.point)
    else:
        assert entry.best.point == outcome.chosen
        assert entry.gain == pytest.approx(outcome.gain)
        assert outcome.gain >= 1.02


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    run(tmp_path, ("uvu", "linear"), 4)
    before = records.read(tmp_path / FAMILY / "trials")
    assert len(before) == 4
    outcomes = run(tmp_path, ("uvu", "linear"), 10)
    after = records.read(tmp_path / FAMILY / "trials")
    assert after[:4] == before
    assert [each.resumed for each in outcomes] == [
        sum(each.structure == task.structure for each in before) for task in tasks("uvu", "linear")
    ]
    assert sum(len(each.seconds) for each in outcomes) == 10
    assert len(after) == 10
    again = run(tmp_path, ("uvu", "linear"), 10)
    assert records.read(tmp_path / FAMILY / "trials") == after
    assert [each.gain for each in again] == [each.gain for each in outcomes]


def test_no_time_left(tmp_path: Path) -> None:
    outcomes = run(tmp_path, ("uvu", "linear"), 10, deadline=time.monotonic())
    assert [each.seconds for each in outcomes] == [[], []]
    assert not outcomes[0].is_raced


def test_a_record_is_used_by_the_next_compile_in_a_fresh_process(tmp_path: Path) -> None:
    run(tmp_path, ("uvu",), 6)
    (entry,) = databases.entries(tmp_path / FAMILY).values()
    decisions = space.apply_point(KERNEL, "float32", cpu_target(FAMILY), entry.best.point)
    wanted = cpu.schedule(KERNEL, "float32", decisions).script()
    code = (
        "from tests.kernels import product\n"
        "from tvm_equi.artifact.codegen import tensorir, tuned\n"
        f"print(tuned(product(), 'float32', {FAMILY!r})[0].point)\n"
        f"print(tensorir(product(), 'float32', {FAMILY!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, records.VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    point, _, text = done.stdout.partition("\n")
    assert point == str(entry.best.point)
    assert text.strip() == wanted.strip()


class Broken(Pool):
    """A pool in which some candidates fail, when they are first measured or in the race.

    Args:
        fails: whether a task's points fail; in the race or not.
    """

    def __init__(self, fails: Callable[[str, Sequence[Point], bool], bool]) -> None:
        super().__init__(FAST)
        self.fails = fails

    def run(
        self, task: Task, points: Sequence[Point], folder: Path
    ) -> Iterator[tuple[int, Result]]:
        for number, each in super().run(task, points, folder):
            fails = self.fails(task.name, [points[number]], False)
            yield number, "out of order" if fails else each

    def race(self, task: Task, points: Sequence[Point], folder: Path) -> list[list[float]]:
        if self.fails(task.name, points, True):
            raise FailedError("crashed in the race")
        return super().race(task, points, folder)


def test_a_rule_that_fails_does_not_keep_others_from_being_tuned(tmp_path: Path) -> None:
    def fails(name: str, points: Sequence[Point], is_race: bool) -> bool:
        return name == "uvu"

    with opened(tmp_path, FAMILY) as database, Broken(fails) as pool:
        first, second = search(tasks("uvu", "linear"), Budget(8), database, pool)
        assert first.errors == ["out of order"]
        assert not first.is_raced
        assert second.is_raced
        with pytest.raises(TuningError, match="uvu: the rule cannot be measured: out of order"):
            search(tasks("uvu"), Budget(4), database, pool)
    (again,) = run(tmp_path, ("uvu",), 4)  # the rule is measured anew
    assert again.is_raced


def test_a_finalist_that_crashes_in_the_race_takes_no_part(tmp_path: Path) -> None:
    def fails(name: str, points: Sequence[Point], is_race: bool) -> bool:
        return is_race and any(point["lanes"] == 4 for point in points[1:])

    with opened(tmp_path, FAMILY) as database, Broken(fails) as pool:
        (outcome,) = search(tasks("uvu"), Budget(12), database, pool)
        assert outcome.is_raced
        chosen = [each.point for each in records.read(tmp_path / FAMILY)]
        assert all(each["lanes"] != 4 for each in chosen[1:])
        pool.fails = lambda name, points, is_race: is_race
        (broken,) = search(tasks("uvu"), Budget(14), database, pool)
        assert not broken.is_raced
        assert "crashed in the race" in broken.errors


def test_what_was_measured_is_written_before_the_next_is(tmp_path: Path) -> None:
    """Of a batch that is interrupted, or whose workers are lost, every result stays."""

    class Interrupted(Pool):
        def run(self, task: Task, points: Sequence[Point], folder: Path) -> Any:
            for count, each in enumerate(super().run(task, points, folder)):
                if len(points) > 1 and count == 3:
                    raise KeyboardInterrupt
                yield each

    stops = pytest.raises(KeyboardInterrupt)
    with opened(tmp_path, FAMILY) as database, Interrupted(FAST) as pool, stops:
        search(tasks("uvu"), Budget(12), database, pool)
    assert len(records.read(tmp_path / FAMILY / "trials")) == 4


def test_times_under_other_conditions_are_not_compared(tmp_path: Path) -> None:
    run(tmp_path, ("uvu",), 5)
    other = [Task.of("uvu", KERNEL, "float32", FAMILY, 128)]
    with opened(tmp_path, FAMILY) as database, Pool(FAST) as pool:
        (outcome,) = search(other, Budget(5), database, pool)
    trials = records.read(tmp_path / FAMILY / "trials")
    assert [each.conditions["rows"] for each in trials] == [64] * 5 + [128] * 5
    assert outcome.resumed == 0
    assert outcome.rule_seconds == trials[5].seconds
    (entry,) = databases.entries(tmp_path / FAMILY).values()
    assert entry.best.conditions["rows"] == 128


class Raced(Pool):
    """A pool that says in which race each point took part, and decides how they end.

    Args:
        seconds: of a point.
    """

    def __init__(self, seconds: Callable[[Point], float]) -> None:
        super().__init__(FAST)
        self.seconds, self.races = seconds, []  # type: ignore[var-annotated]

    def race(self, task: Task, points: Sequence[Point], folder: Path) -> list[list[float]]:
        self.races.append(list(points))
        return [[self.seconds(point)] * 3 for point in points]


def test_a_winner_takes_part_in_every_later_race(tmp_path: Path) -> None:
    def seconds(point: Point) -> float:
        return 1.0 if point["lanes"] == 16 and point["association"] == "table" else 2.0

    with opened(tmp_path, FAMILY) as database, Raced(seconds) as pool:
        (first,) = search(tasks("uvu"), Budget(12), database, pool)
        pool.races.clear()
        (again,) = search(tasks("uvu"), Budget(12), database, pool)
        assert pool.races == []  # nothing is new
        assert (again.gain, again.chosen) == (first.gain, first.chosen)
        (more,) = search(tasks("uvu"), Budget(14), database, pool)
    if first.chosen is not None:
        assert first.chosen in pool.races[0]
        assert more.gain == 2.0
    assert len(pool.races[0]) >= 2


def test_a_record_that_compiling_finds_is_raced_before_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "a", FAMILY) as database, Raced(lambda p: 1 / p["lanes"]) as pool:
        (first,) = search(tasks("uvu"), Budget(14), database, pool)
    assert first.chosen is not None
    monkeypatch.setenv(records.VARIABLE, str(tmp_path / "a"))
    with opened(tmp_path / "b", FAMILY) as database, Raced(lambda p: 1 / p["lanes"]) as pool:
        (second,) = search(tasks("uvu"), Budget(1), database, pool)
        assert len(pool.races[0]) == 2  # the rule's and that one
    assert (second.gain, second.chosen) == (first.gain, first.chosen)


def test_trials_that_no_race_has_seen_are_raced(tmp_path: Path) -> None:
    """A run that was killed between its last trial and its race."""
    run(tmp_path, ("uvu",), 4)

    class Killed(Raced):
        def race(self, task: Task, points: Sequence[Point], folder: Path) -> list[list[float]]:
            raise KeyboardInterrupt

    stops = pytest.raises(KeyboardInterrupt)
    with opened(tmp_path, FAMILY) as database, Killed(lambda point: 1.0) as pool, stops:
        search(tasks("uvu"), Budget(10), database, pool)
    with opened(tmp_path, FAMILY) as database, Raced(lambda point: 1.0) as pool:
        (outcome,) = search(tasks("uvu"), Budget(10), database, pool)
        assert len(pool.races) == 1
        assert outcome.resumed == 10


def test_kill_9_and_start_again(tmp_path: Path) -> None:
    """At every moment the database is readable; what was measured stays."""
    code = (
        "from pathlib import Path\n"
        "from tests.tuning.test_search import run\n"
        f"run(Path({str(tmp_path)!r}), ('uvu', 'uvw'), 40)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    folder, seen = tmp_path / FAMILY / "trials", 0
    while seen < 8 and process.poll() is None:
        found = len(records.read(folder))
        assert found >= seen
        seen = found
        time.sleep(0.01)
    assert seen >= 8
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = records.read(folder)
    outcomes = run(tmp_path, ("uvu", "uvw"), len(before) + 10)
    after = records.read(folder)
    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert all(each.is_raced for each in outcomes)
