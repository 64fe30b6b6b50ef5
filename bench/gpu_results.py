"""What a run on a GPU found: records, tables, JSON.

In: timings, errors, limits. Out: a line per workload, shape and pass, and means over workloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from rich.table import Table

from bench.contestants import E3NN, OURS
from bench.gpu_contestants import CUE
from bench.gpu_limits import Floor
from bench.report import MISSING
from bench.results import Mean, geometric_mean
from bench.timing import Timing

REPLAY = "forward, replayed"
"""The forward pass as a CUDA graph: without launches."""


@dataclass(slots=True)
class GpuRecord:
    """One pass of one case.

    Args:
        dtype: of all data.
        workload: its name.
        kind: "channelwise" or "fully_connected".
        shape: the name of the graph, or "rows".
        nodes: receivers of the graph; 0 without one.
        edges: rows of the product.
        pass_name: one of `bench.passes.PASSES`, or `REPLAY`.
        floor: the least time of the counted work.
        timings: of the contestants that ran and agreed.
        errors: largest relative difference to e3nn in float64 of each that ran.
        reasons: why each of the others was not timed.
        first_calls: seconds that building and the first call took, compilation included.
        how: methods of contestants that have several.
    """

    dtype: str
    workload: str
    kind: str
    shape: str
    nodes: int
    edges: int
    pass_name: str
    floor: Floor
    timings: dict[str, Timing] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    first_calls: dict[str, float] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The workload and its shape."""
        return f"{self.workload}, {self.shape}"

    def ratio(self, contestant: str | None) -> float | None:
        """How many times faster we are than a contestant."""
        if OURS not in self.timings or contestant not in self.timings:
            return None
        return self.timings[contestant].median / self.timings[OURS].median

    def best_peer(self) -> str | None:
        """The fastest contestant that is not ours."""
        peers = [name for name in self.timings if name != OURS]
        return min(peers, key=lambda name: self.timings[name].median, default=None)

    def rates(self, contestant: str) -> dict[str, float] | None:
        """Bytes and operations per second, and shares of memory, arithmetic and roofline."""
        if contestant not in self.timings:
            return None
        seconds = self.timings[contestant].median
        return {
            "bytes_per_second": self.floor.num_bytes / seconds,
            "flops": self.floor.flops / seconds,
            "share_of_memory": self.floor.memory / seconds,
            "share_of_arithmetic": self.floor.arithmetic / seconds,
            "share_of_roofline": self.floor.roofline / seconds,
        }

    def as_json(self) -> dict[str, object]:
        """Everything, with rates and ratios."""
        peer = self.best_peer()
        return asdict(self) | {
            "binds": self.floor.binds,
            "rates": {name: self.rates(name) for name in self.timings},
            "ratio_to_e3nn": self.ratio(E3NN),
            "best_peer": peer,
            "ratio_to_best_peer": self.ratio(peer),
        }


@dataclass(frozen=True, slots=True)
class GpuSummary:
    """Means over workloads and shapes in one pass; the ratios are those of our time to another."""

    dtype: str
    pass_name: str
    over: str
    ratios: dict[str, Mean]
    to_best_peer: Mean | None
    share_of_roofline: Mean | None


def summarise(records: list[GpuRecord]) -> list[GpuSummary]:
    """Means for each dtype and pass, of products alone and of convolutions."""
    found = []
    for dtype, name in dict.fromkeys((r.dtype, r.pass_name) for r in records):
        here = [r for r in records if (r.dtype, r.pass_name) == (dtype, name)]
        for over, chosen in (
            ("products", [r for r in here if not r.nodes]),
            ("convolutions", [r for r in here if r.nodes]),
        ):
            if chosen:
                found.append(_summary(dtype, name, over, chosen))
    return found


def _summary(dtype: str, pass_name: str, over: str, chosen: list[GpuRecord]) -> GpuSummary:
    names = dict.fromkeys(name for r in chosen for name in r.timings if name != OURS)
    means = {name: geometric_mean((r.label, r.ratio(name)) for r in chosen) for name in names}
    shares = [(r.label, (r.rates(OURS) or {}).get("share_of_roofline")) for r in chosen]
    return GpuSummary(
        dtype,
        pass_name,
        over,
        {name: mean for name, mean in means.items() if mean},
        geometric_mean((r.label, r.ratio(r.best_peer())) for r in chosen),
        geometric_mean(shares),
    )


def pass_table(dtype: str, records: Iterable[GpuRecord], contestants: tuple[str, ...]) -> Table:
    """One line per workload, shape and pass: times in ms, ratios, our rates."""
    table = Table(title=f"{dtype}: ms per call (10th to 90th percentile of ours)")
    for name in ("workload", "edges", "pass"):
        table.add_column(name, no_wrap=True)
    others = [name for name in contestants if name != OURS]
    for name in (*others, OURS, "x e3nn", "x best peer", "GB/s", "TFLOP/s", "of roofline"):
        table.add_column(name, justify="right", no_wrap=True)
    previous = None
    for record in records:
        if record.label != previous:
            table.add_section()
        peer = record.best_peer()
        to_e3nn, to_peer = record.ratio(E3NN), record.ratio(peer)
        table.add_row(
            record.label if record.label != previous else "",
            str(record.edges) if record.label != previous else "",
            record.pass_name,
            *(_cell(record, name) for name in others),
            _cell(record, OURS, spread=True),
            f"{to_e3nn:.1f}" if to_e3nn else MISSING,
            f"{to_peer:.2f} {peer}" if to_peer else MISSING,
            *_rate_cells(record),
        )
        previous = record.label
    return table


def _cell(record: GpuRecord, name: str, *, spread: bool = False) -> str:
    """A time in milliseconds, or "wrong", or that it is missing."""
    if name not in record.timings:
        return "wrong" if record.reasons.get(name, "").startswith(WRONG) else MISSING
    timing = record.timings[name]
    text = f"{timing.median * 1e3:.3g}"
    return f"{text} ({timing.p10 * 1e3:.3g}-{timing.p90 * 1e3:.3g})" if spread else text


WRONG = "wrong: "
"""How the reason starts for which a contestant that disagrees was not timed."""


def _rate_cells(record: GpuRecord) -> tuple[str, str, str]:
    rates = record.rates(OURS)
    if rates is None:
        return (MISSING,) * 3
    return (
        f"{rates['bytes_per_second'] / 1e9:.0f}",
        f"{rates['flops'] / 1e12:.2f}",
        f"{rates['share_of_roofline']:.0%} {record.floor.binds}",
    )


def summary_table(summaries: list[GpuSummary], contestants: tuple[str, ...]) -> Table:
    """Geometric means over workloads and shapes, each with its minimum."""
    table = Table(title="ours against others: geometric means (minimum)")
    others = [name for name in contestants if name != OURS]
    columns = (*(f"x {name}" for name in others), "x best peer", "of roofline")
    for name in ("dtype", "pass", "over", *columns):
        table.add_column(name)
    for summary in summaries:
        means = [summary.ratios.get(name) for name in others]
        means += [summary.to_best_peer, summary.share_of_roofline]
        cells = [str(mean) if mean else MISSING for mean in means]
        table.add_row(summary.dtype, summary.pass_name, summary.over, *cells)
    return table


def notes(records: Iterable[GpuRecord]) -> list[str]:
    """Why contestants were not timed, each reason once, and which methods they used."""
    lines: dict[str, list[str]] = {}
    for record in records:
        for name, text in record.reasons.items():
            lines.setdefault(f"{name}: {text}", []).append(f"{record.label} {record.pass_name}")
        for name, text in record.how.items():
            if name.startswith(CUE):
                lines.setdefault(f"{name} ran as {text}", []).append(record.label)
    return [
        f"{text} [{cases[0]}{f' and {len(cases) - 1} more' if len(cases) > 1 else ''}]"
        for text, cases in lines.items()
    ]
