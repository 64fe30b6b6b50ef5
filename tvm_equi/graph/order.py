"""Choose where linear layers and scalings act, by counted work.

    g = Gather(x, i)                     l = Linear(x)                   one layer per node, not
    l = Linear(g)                        g = Gather(l, i)                one per edge
    t = TensorProduct(g, y)         ->   e = y * a
    m = t * a                            t = TensorProduct(g, e)         a on 16 numbers, not 9088
    s = ScatterSum(Linear(m), j)         s = Linear(ScatterSum(t, j))    per node

A move (`moves`, `scalings`, `merges`) is made if the total of multiply-adds after sparsity falls,
or stays and bytes fall; so a layer that widens stays behind a product, and two layers with a narrow
middle stay two. The search ends where no single move helps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.merges import merge_into_product, merge_linear
from tvm_equi.graph.moves import MOVES
from tvm_equi.graph.rewriting import View
from tvm_equi.graph.scalings import scaling_inwards, scaling_outwards
from tvm_equi.graph.totals import Sizes, total_cost


@dataclass(frozen=True, slots=True)
class Order:
    """The pass.

    Args:
        sizes: rows that the work is counted for.
        merge: whether layers may be merged, which computes products of weights once per call.
    """

    sizes: Sizes = Sizes()  # noqa: RUF009 (frozen)
    merge: bool = True
    name: str = "order"

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The graph after every move that helps.

        Args:
            graph: to rewrite.
        """
        best = total_cost(graph, self.sizes)
        while True:
            for candidate in self.candidates(graph):
                total = total_cost(candidate, self.sizes)
                if total < best:
                    graph, best = candidate, total
                    break
            else:
                return graph

    def candidates(self, graph: TensorProductGraph) -> Iterator[TensorProductGraph]:
        """Every graph that one move gives.

        Args:
            graph: to rewrite.
        """
        view = View.of(graph.nodes, graph.outputs)
        moves = (*MOVES, scaling_inwards, scaling_outwards)
        if self.merge:
            moves = (*moves, merge_linear, merge_into_product)
        for node in graph.nodes:
            for move in moves:
                yield from move(graph, view, node)
