"""What a schedule decides about the code that lowering makes.

In: numbers chosen by `schedule/`. Out: data, with no TVM in it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a schedule decides about the code of one row, or of a tile of them.

    Args:
        lanes: vector lanes of the dtype.
        row_tile: rows whose matrix products with shared weights are computed together, and edges of
            a convolution whose coefficients are combined together.
        chunk_rows: rows that one task of the parallel loop takes, where no output is shared.
        run_edges: edges of a convolution that the innermost loop takes; the operands of as many
            more are fetched into the cache meanwhile.
    """

    lanes: int
    row_tile: int
    chunk_rows: int
    run_edges: int = 0
