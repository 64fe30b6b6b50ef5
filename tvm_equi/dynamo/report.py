"""What became of a graph, in words.

In: counts and reasons. Out: a text, logged for each graph at level INFO; what keeps a graph from
being fast is a warning, once for a process.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass

LOGGER = logging.getLogger("tvm_equi.dynamo")

KEPT = 64
"""Reports that `reports` remembers."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one graph.

    Args:
        captured: (class of module, number of calls) that run on compiled kernels.
        fused: a line for each convolution.
        num_sorted: kinds of edges, each sorted once.
        left: (class, number of modules) of e3nn's of which something runs as it was.
        reasons: why something is not captured or not fused.
        rest: what runs all other operations: "eager" or "inductor".
        graph_break: why the graph ends before its function; "" where it does not.
    """

    captured: tuple[tuple[str, int], ...]
    fused: tuple[str, ...]
    num_sorted: int
    left: tuple[tuple[str, int], ...]
    reasons: tuple[str, ...]
    rest: str
    graph_break: str = ""

    def __str__(self) -> str:
        """Some lines."""
        lines = ["tvm_equi: a graph for torch.compile"]
        lines.append(f"  captured: {_listed(self.captured) or 'nothing'}")
        lines += [f"  fused into convolution {line}" for line in self.fused]
        if self.fused:
            lines.append(f"  edges sorted: {self.num_sorted} of one pair of indices each")
        if self.left:
            lines.append(f"  of e3nn, left to {self.rest}: {_listed(self.left)}")
        lines.append(f"  everything else: {self.rest}")
        lines += [f"  note: {reason}" for reason in self.reasons]
        if self.graph_break:
            lines.append(f"  graph break (not by an operation of tvm_equi): {self.graph_break}")
        return "\n".join(lines)


_reports: deque[Report] = deque(maxlen=KEPT)
_told: set[str] = set()


def tell(report: Report) -> None:
    """Logs a report, and warns of reasons that were not told before in this process.

    Args:
        report: of a graph.
    """
    _reports.append(report)
    LOGGER.info("%s", report)
    reasons = list(report.reasons)
    if report.graph_break:
        reasons.append(f"graph break, not by an operation of tvm_equi: {report.graph_break}")
    for reason in reasons:
        if reason not in _told:
            _told.add(reason)
            LOGGER.warning("torch.compile(backend='tvm_equi'): %s", reason)


def reports() -> list[Report]:
    """The reports of the last graphs, the newest last."""
    return list(_reports)


def counted(names: list[str]) -> tuple[tuple[str, int], ...]:
    """Names and how often each came, sorted.

    Args:
        names: with repetitions.
    """
    return tuple(sorted(Counter(names).items()))


def _listed(counts: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts)
