"""What accelerating did to a model, for people.

In: an entry for each module that was swapped, fused, or left for a reason. Out: a table. Modules of
plain torch are not mentioned.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tvm_equi.models.change import Status

WIDTH = 110
NOT_COMPARED = "not compared"
"""In the note of a module whose arguments nobody knows: some of an adapter's."""

COLOURS: dict[Status, str] = {"swapped": "green", "fused": "cyan", "left": "yellow"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One module.

    Args:
        path: of the module in its model; "" for the model itself.
        kind: name of the class that it was of.
        status: "swapped", "fused" or "left".
        note: what it became, or why it is left.
    """

    path: str
    kind: str
    status: Status
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """Every module that is worth mentioning; prints as a table.

    Args:
        entries: in the order of the model.
        error: the largest relative error of a module against its original; None where they were
            not compared.
    """

    entries: tuple[Entry, ...]
    error: float | None = None

    def of(self, status: Status) -> tuple[Entry, ...]:
        """The entries of one status.

        Args:
            status: "swapped", "fused" or "left".
        """
        return tuple(entry for entry in self.entries if entry.status == status)

    @property
    def summary(self) -> str:
        """Numbers of modules, and how well they compare, in a line."""
        counts = ", ".join(f"{len(self.of(status))} {status}" for status in COLOURS)
        if self.error is None:
            return f"tvm_equi.accelerate: {counts}; not compared with the originals"
        others = sum(NOT_COMPARED in entry.note for entry in self.entries)
        rest = f"; {others} {NOT_COMPARED}" if others else ""
        return (
            f"tvm_equi.accelerate: {counts}; largest relative error against the originals "
            f"{self.error:.1e}{rest}"
        )

    def table(self) -> Table:
        """The table that printing shows."""
        table = Table(title=self.summary, title_justify="left", box=box.SIMPLE_HEAD)
        for column in ("module", "class", "", "note"):
            table.add_column(column, overflow="fold")
        for entry in self.entries:
            colour = COLOURS[entry.status]
            status = f"[{colour}]{entry.status}[/{colour}]"
            path = entry.path or "(the model)"
            table.add_row(escape(path), escape(entry.kind), status, escape(entry.note))
        return table

    def __str__(self) -> str:
        """The table as text."""
        stream = io.StringIO()
        console = Console(file=stream, width=WIDTH, no_color=True)
        console.print(self.table() if self.entries else self.summary)
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
