"""What a run of a table found, as data, and its summary.

In: timings, errors, limits. Out: records that turn into JSON, and geometric means over workloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from math import exp, log

from bench.contestants import COMPILE, CUE, E3NN, OURS
from bench.limits import Limit
from bench.timing import Timing

PEERS = (E3NN, COMPILE, CUE)


@dataclass(frozen=True, slots=True)
class Setting:
    """What holds for a whole table."""

    threads: int
    dtype: str

    def __str__(self) -> str:
        """For a title."""
        return f"{self.dtype}, {self.threads} thread{'s' * (self.threads > 1)}"


def _label(workload: str, graph: str) -> str:
    return f"{workload}, {graph}" if graph else workload


@dataclass(slots=True)
class PassRecord:
    """One pass of one workload.

    Args:
        setting: threads and dtype.
        workload: its name.
        kind: "channelwise" or "fully_connected".
        pass_name: one of `bench.passes.PASSES`.
        timings: of the contestants that ran.
        errors: largest relative difference to e3nn of each that ran.
        reasons: why each of the others did not.
        limit: seconds that the pass takes at least, and what binds; None where it was not measured.
        graph: the name of the graph, if the workload is a convolution over one.
        form: how weights come, if there is a choice.
    """

    setting: Setting
    workload: str
    kind: str
    pass_name: str
    timings: dict[str, Timing] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    limit: tuple[float, str] | None = None
    graph: str = ""
    form: str = ""

    @property
    def label(self) -> str:
        """The workload, and the graph that it runs on."""
        return _label(self.workload, self.graph)

    def ratio(self, contestant: str) -> float | None:
        """How many times faster we are than a contestant."""
        if OURS not in self.timings or contestant not in self.timings:
            return None
        return self.timings[contestant].median / self.timings[OURS].median

    def best_peer(self) -> str | None:
        """The fastest contestant that is not ours."""
        peers = [name for name in PEERS if name in self.timings]
        return min(peers, key=lambda name: self.timings[name].median, default=None)

    def share(self) -> float | None:
        """Limit over our time: 1 is as fast as this machine can."""
        if self.limit is None or OURS not in self.timings:
            return None
        return self.limit[0] / self.timings[OURS].median

    def as_json(self) -> dict[str, object]:
        """Everything, with the ratios."""
        data = asdict(self)
        peer = self.best_peer()
        data["limit"] = self.limit and {"seconds": self.limit[0], "binds": self.limit[1]}
        data["ratio_to_e3nn"] = self.ratio(E3NN)
        data["best_peer"] = peer
        data["ratio_to_best_peer"] = self.ratio(peer) if peer else None
        data["share_of_limit"] = self.share()
        return data


@dataclass(slots=True)
class KernelRecord:
    """One of our kernels alone, and the limits of its work."""

    setting: Setting
    workload: str
    kind: str
    kernel: str
    num_bytes: int
    macs: int
    limit: Limit
    ours: Timing | None
    graph: str = ""

    @property
    def label(self) -> str:
        """The workload, and the graph that it runs on."""
        return _label(self.workload, self.graph)

    def share(self) -> float | None:
        """Limit over our time."""
        return self.limit.seconds / self.ours.median if self.ours else None

    def as_json(self) -> dict[str, object]:
        """Everything, with the share."""
        return asdict(self) | {"binds": self.limit.binds, "share_of_limit": self.share()}


@dataclass(frozen=True, slots=True)
class Mean:
    """Geometric mean, minimum and the workload that has it."""

    mean: float
    minimum: float
    worst: str
    count: int

    def __str__(self) -> str:
        """For a cell."""
        return f"{self.mean:.2f} (min {self.minimum:.2f})"


def geometric_mean(values: Iterable[tuple[str, float | None]]) -> Mean | None:
    """The mean of named values, those that are missing left out; None where there is none."""
    known = [(name, value) for name, value in values if value is not None]
    if not known:
        return None
    worst, minimum = min(known, key=lambda pair: pair[1])
    mean = exp(sum(log(value) for _, value in known) / len(known))
    return Mean(mean, minimum, worst, len(known))


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over the workloads of one kind, or of all, in one pass."""

    setting: Setting
    pass_name: str
    over: str
    to_e3nn: Mean | None
    to_best_peer: Mean | None
    share: Mean | None


def summarise(records: list[PassRecord]) -> list[Summary]:
    """Means for each setting and pass, over the channelwise workloads and over all."""
    found = []
    for setting, name in dict.fromkeys((r.setting, r.pass_name) for r in records):
        here = [r for r in records if (r.setting, r.pass_name) == (setting, name)]
        for over in ("channelwise", "all"):
            chosen = [r for r in here if over in ("all", r.kind)]
            to_peer = [(r.label, r.ratio(r.best_peer() or E3NN)) for r in chosen]
            summary = Summary(
                setting,
                name,
                over,
                geometric_mean((r.label, r.ratio(E3NN)) for r in chosen),
                geometric_mean(to_peer),
                geometric_mean((r.label, r.share()) for r in chosen),
            )
            if chosen:
                found.append(summary)
    return found
