"""Passes and the order in which they run.

In: a graph. Out: a graph that computes the same function. A pass is data, so a pipeline prints,
compares and serves as part of a cache key; an observer between passes can print, time or verify.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tvm_equi.graph.bubble import Bubble
from tvm_equi.graph.density import Density
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.gaunt import Gaunt
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.order import Order
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.scalar_leg import ScalarLeg
from tvm_equi.graph.swap import Swap
from tvm_equi.graph.symmetrize import Symmetrize


class Pass(Protocol):
    """Graph -> graph: never mutates, leaves a valid graph, does nothing twice."""

    @property
    def name(self) -> str:
        """How the pass is called in a pipeline's text."""
        ...

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The rewritten graph."""
        ...


Observer: TypeAlias = Callable[[Pass, TensorProductGraph, TensorProductGraph], None]
"""Called after each pass with (pass, graph before, graph after)."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Passes in order.

    Args:
        passes: to run.

    Example:
        >>> print(DEFAULT_PIPELINE)
        prune, fuse
    """

    passes: tuple[Pass, ...]

    def __call__(
        self, graph: TensorProductGraph, *, observer: Observer | None = None
    ) -> TensorProductGraph:
        """The graph after every pass.

        Args:
            graph: to rewrite.
            observer: called after each pass.
        """
        for step in self.passes:
            before, graph = graph, step(graph)
            if observer is not None:
                observer(step, before, graph)
        return graph

    def __str__(self) -> str:
        """Names of the passes."""
        return ", ".join(step.name for step in self.passes)


DEFAULT_PIPELINE = Pipeline((Prune(), Fuse()))
"""What `tvm_equi.compile` runs: what never costs, and keeps the kernels of single operations."""

PLANNING_PIPELINE = Pipeline(
    (
        Prune(),
        Gaunt(),
        Bubble(),
        Symmetrize(),
        ScalarLeg(),
        Swap(),
        Order(),
        Prune(),
        Fuse(),
        Density(),
        Order(),
        Prune(),
    )
)
"""Every rewrite, chosen by counted work: run it on a graph before it is compiled.

Counted work is not time: merged layers cost products of weights once per call, and other kernels
than those of single operations have no tuned records yet. Measure both.
"""
