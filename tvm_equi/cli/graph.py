"""What the commands say of a graph.

In: graphs. Out: tables and lines on a console.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_graph(graph: Any, console: Console) -> None:
    """Prints a graph: its inputs and parameters, and a table of the operations.

    Args:
        graph: to show.
        console: to print on.
    """
    from tvm_equi.graph.graph import TABLE_HEADER, table_rows
    from tvm_equi.graph.types import simplify_irreps

    for name in graph.inputs:
        console.print(f"input {name}: {graph.types[name]}", markup=False)
    numbers = sum(graph.types[name].dim for name in graph.parameters)
    console.print(f"{len(graph.parameters)} parameters: {numbers:,} numbers")
    table = Table(title="counts are per row of the value", box=SIMPLE, padding=(0, 1, 0, 0))
    for header, width in (("node", 12), ("operation", 13), ("value", 12)):
        table.add_column(header, overflow="fold", min_width=width)
    for header in TABLE_HEADER[4:]:
        table.add_column(header, justify="right", no_wrap=True)
    for name, kind, _, _, *counts in table_rows(graph):
        if name not in graph.inputs and name not in graph.parameters:
            value = graph.types[name]
            shown = str(replace(value, irreps=simplify_irreps(value.irreps)))
            table.add_row(*map(escape, (name, kind, shown, *counts)))
    console.print(table)
    console.print(f"outputs: {', '.join(graph.outputs)}", markup=False)


def print_removals(graph: Any, console: Console, limit: int = 12) -> None:
    """Prints what pruning takes from a graph, and why.

    Args:
        graph: before it was pruned.
        console: to print on.
        limit: lines.
    """
    from tvm_equi.graph.removals import removals

    found = removals(graph)
    for removal in found[:limit]:
        console.print(f"pruned {removal}", markup=False)
    if len(found) > limit:
        console.print(f"pruned {len(found) - limit} more")
