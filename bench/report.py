"""Tables, JSON and a plot of what a run found."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.contestants import COMPILE, CUE, E3NN, OURS
from bench.results import KernelRecord, PassRecord, Setting, Summary, geometric_mean
from bench.timing import Timing

WIDTH = 148
"""Columns of a table where the output is no terminal."""

TOLERANCES = {"float32": 1e-4, "float64": 1e-10}
"""A contestant that differs more from e3nn is marked with an exclamation mark."""

MISSING = "-"


def console() -> Console:
    """Where tables go: wide enough for them even where the output is a file."""
    found = Console()
    return found if found.width >= WIDTH else Console(width=WIDTH)


def pass_table(
    setting: Setting,
    records: list[PassRecord],
    others: tuple[str, ...] = (E3NN, COMPILE, CUE),
    what: str = "",
) -> Table:
    """One line per workload and pass: times in ms, ratios, share of the limit.

    Args:
        setting: for the title.
        records: one for each line.
        others: contestants with a column, beside ours.
        what: for the title.
    """
    title = ", ".join(part for part in (what, str(setting)) if part)
    table = Table(title=f"{title}: ms per call (10th to 90th percentile)")
    table.add_column("workload")
    table.add_column("pass")
    for name in (*others, OURS, "x e3nn", "x best peer", "share of limit"):
        table.add_column(name, justify="right", no_wrap=True)
    previous = None
    for record in records:
        if record.label != previous:
            table.add_section()
        peer = record.best_peer()
        table.add_row(
            record.label if record.label != previous else "",
            record.pass_name,
            *(_timing_cell(record, name) for name in others),
            _timing_cell(record, OURS, spread=True),
            _ratio(record.ratio(E3NN)),
            f"{_ratio(record.ratio(peer))} {peer}" if peer else MISSING,
            _share(record.share(), record.limit[1] if record.limit else ""),
        )
        previous = record.label
    return table


def kernel_table(setting: Setting, records: list[KernelRecord]) -> Table:
    """One line per kernel of ours: counted work, what limits it, and its share of that."""
    table = Table(
        title=f"{setting}: our kernels alone, against this machine's own copy and matrix product"
    )
    table.add_column("workload")
    table.add_column("kernel")
    for name in ("MB", "10^6 madds", "copy ms", "gemm ms", "ours ms", "share of limit"):
        table.add_column(name, justify="right", no_wrap=True)
    previous = None
    for record in records:
        if record.label != previous:
            table.add_section()
        table.add_row(
            record.label if record.label != previous else "",
            record.kernel,
            f"{record.num_bytes / 1e6:.1f}",
            f"{record.macs / 1e6:.1f}",
            f"{record.limit.copy * 1e3:.3g}",
            f"{record.limit.gemm * 1e3:.3g}",
            _ms(record.ours, spread=True) if record.ours else MISSING,
            _share(record.share(), record.limit.binds),
        )
        previous = record.label
    return table


def scaling_line(ratios: list[dict[str, Any]]) -> str:
    """How much faster all cores are than one, by pass: geometric means, and the least of each."""
    parts = []
    for name in dict.fromkeys(entry["pass"] for entry in ratios):
        mean = geometric_mean(
            (f"{entry['workload']}, {entry['graph']}", entry["ratio"])
            for entry in ratios
            if entry["pass"] == name
        )
        if mean:
            parts.append(f"{name} {mean.mean:.2f} (min {mean.minimum:.2f}: {mean.worst})")
    return f"ours, {ratios[0]['threads']} threads over 1: {'; '.join(parts)}"


def summary_table(summaries: list[Summary], what: str = "") -> Table:
    """Geometric means over workloads, each with its minimum.

    Args:
        summaries: one for each line.
        what: for the title.
    """
    table = Table(title=", ".join(filter(None, (what, "geometric means over workloads (minimum)"))))
    for name in ("setting", "pass", "over", "x e3nn", "x best peer", "share of limit"):
        table.add_column(name)
    for summary in summaries:
        means = (summary.to_e3nn, summary.to_best_peer, summary.share)
        cells = [str(mean) if mean else MISSING for mean in means]
        table.add_row(str(summary.setting), summary.pass_name, summary.over, *cells)
    return table


def notes(records: list[PassRecord]) -> list[str]:
    """Why contestants are missing, each reason once, and who differs from e3nn."""
    lines: dict[str, list[str]] = {}
    for record in records:
        case = f"{record.label} {record.pass_name} ({record.setting})"
        for name, text in record.reasons.items():
            lines.setdefault(f"{name}: {text}", []).append(case)
        for name, error in record.errors.items():
            if error > TOLERANCES[record.setting.dtype]:
                lines.setdefault(f"{name}: differs from e3nn by {error:.1e}", []).append(case)
    return [
        f"{text} [{cases[0]}{f' and {len(cases) - 1} more' if len(cases) > 1 else ''}]"
        for text, cases in lines.items()
    ]


def worst_errors(records: list[PassRecord]) -> dict[str, dict[str, float]]:
    """The largest relative difference to e3nn, by dtype and contestant."""
    worst: dict[str, dict[str, float]] = {}
    for record in records:
        found = worst.setdefault(record.setting.dtype, {})
        for name, error in record.errors.items():
            found[name] = max(found.get(name, 0.0), error)
    return worst


def write_json(
    path: Path,
    facts: dict[str, Any],
    records: list[PassRecord],
    kernels: list[KernelRecord],
    summaries: list[Summary],
) -> None:
    """Everything that was measured, in seconds."""
    data = facts | {
        "passes": [record.as_json() for record in records],
        "kernels": [record.as_json() for record in kernels],
        "summary": [asdict(summary) for summary in summaries],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def plot(path: Path, records: list[PassRecord]) -> None:
    """Bars of our ratio to e3nn per workload and pass, one panel per setting."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    settings = list(dict.fromkeys(record.setting for record in records))
    figure, axes = plt.subplots(
        len(settings), 1, figsize=(11, 3.4 * len(settings)), squeeze=False, layout="constrained"
    )
    for axis, setting in zip(axes[:, 0], settings, strict=True):
        here = [record for record in records if record.setting == setting]
        workloads = list(dict.fromkeys(record.label for record in here))
        passes = list(dict.fromkeys(record.pass_name for record in here))
        width = 0.8 / len(passes)
        for number, name in enumerate(passes):
            ratios = {r.label: r.ratio(E3NN) for r in here if r.pass_name == name}
            heights = [ratios.get(workload) or float("nan") for workload in workloads]
            places = [
                place + (number - (len(passes) - 1) / 2) * width for place in range(len(workloads))
            ]
            bars = axis.bar(places, heights, width, label=name)
            axis.bar_label(bars, fmt="%.1f", fontsize=6, padding=1)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_yscale("log")
        axis.margins(x=0.02, y=0.2)
        axis.set_xticks(range(len(workloads)), workloads, rotation=20, ha="right", fontsize=8)
        axis.set_ylabel("times faster than e3nn")
        axis.set_title(str(setting), fontsize=10)
    axes[0, 0].legend(fontsize=8, ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _timing_cell(record: PassRecord, contestant: str, *, spread: bool = False) -> str:
    """A contestant's time, marked where its values differ from e3nn's."""
    if contestant not in record.timings:
        return MISSING
    is_off = record.errors.get(contestant, 0.0) > TOLERANCES[record.setting.dtype]
    return _ms(record.timings[contestant], spread=spread) + "!" * is_off


def _ms(timing: Timing, *, spread: bool = False) -> str:
    text = f"{timing.median * 1e3:.3g}"
    return f"{text} ({timing.p10 * 1e3:.3g}-{timing.p90 * 1e3:.3g})" if spread else text


def _ratio(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def _share(value: float | None, binds: str) -> str:
    return MISSING if value is None else f"{value:.0%} {binds}"
