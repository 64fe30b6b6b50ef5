"""What a tuning run shows: progress while it runs, then a summary, and a plot of the best so far.

In: outcomes. Out: rich tables, and a PNG where matplotlib is installed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tvm_equi.schedule.databases import geometric_mean
from tvm_equi.tuning.task import Outcome, Watch


def table(outcomes: Sequence[Outcome]) -> Table:
    """A row per kernel: trials, seconds of the rule and the best, what the race said.

    Args:
        outcomes: of a run, under way or done.
    """
    shown = Table(title="milliseconds per call; gain: the rule's time over the winner's, raced")
    shown.add_column("kernel", overflow="fold")
    for header in ("rows", "trials", "failed", "rule", "best trial", "gain"):
        shown.add_column(header, justify="right", no_wrap=True)
    for each in outcomes:
        failed = sum(math.isinf(seconds) for seconds in each.seconds)
        shown.add_row(
            each.task.name,
            str(each.task.rows),
            f"{len(each.seconds)}/{each.planned}",
            str(failed),
            _ms(each.rule_seconds),
            _ms(each.best),
            f"{each.gain:.3f}" if each.is_raced else "",
        )
    return shown


def _ms(seconds: float) -> str:
    return "" if math.isinf(seconds) else f"{1e3 * seconds:.3f}"


def mean_gain(outcomes: Sequence[Outcome]) -> float:
    """The geometric mean of the gains of the kernels that were raced.

    Args:
        outcomes: of a run.
    """
    return geometric_mean(each.gain for each in outcomes if each.is_raced)


@contextmanager
def progress(console: Console) -> Iterator[Watch]:
    """A watcher that draws the table, trials left and time left as they change.

    Args:
        console: to draw on; one that is no terminal gets a line now and then.
    """
    start = time.monotonic()
    said = [0.0]
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def watch(outcomes: Sequence[Outcome]) -> None:
            done = sum(len(each.seconds) - each.resumed for each in outcomes)
            left = sum(max(0, each.planned - len(each.seconds)) for each in outcomes)
            elapsed = time.monotonic() - start
            seconds = elapsed / max(1, done) * left
            line = f"{done} trials measured, {left} left, about {_clock(seconds)} to go"
            if console.is_terminal:
                live.update(Group(Text(line), table(outcomes)), refresh=True)
            elif elapsed - said[0] >= LINE_SECONDS:
                said[0] = elapsed
                console.print(line)

        yield watch


LINE_SECONDS = 10.0


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds))


def plot(outcomes: Sequence[Outcome], path: Path) -> bool:
    """Draws the best time so far over trials, as a share of the rule's.

    Args:
        outcomes: of a run.
        path: of the PNG.

    Returns:
        Whether it was drawn; matplotlib may be missing.
    """
    if find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for each in outcomes:
        if each.seconds and not math.isinf(each.rule_seconds):
            best = [each.rule_seconds / seconds for seconds in accumulate(each.seconds, min)]
            axes.step(range(1, len(best) + 1), best, where="post", label=each.task.name)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set(xlabel="trials", ylabel="rule's time / best time so far")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    return True
