"""What a schedule decides about the code that lowering makes.

In: numbers chosen by `schedule/`. Out: data, with no TVM in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Association = Literal["table", "inline", "pairs"]
"""How a product of x, y and the coefficients C is associated: C with y first, once for all channels
and kept in a table; the same, but anew for each vector of channels; or x with y first."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a schedule decides about the code of one row, or of a tile of them.

    Args:
        lanes: vector lanes of the dtype; twice those of a register unroll loops over lanes by two.
        row_tile: rows whose matrix products with shared weights are computed together, and edges of
            a convolution whose coefficients are combined together.
        chunk_rows: rows that one task of the parallel loop takes, where no output is shared.
        run_edges: edges of a convolution that the innermost loop takes; the operands of as many
            more are fetched into the cache meanwhile.
        node_sums: sums of a node that one loop over its edges keeps in registers: paths are grouped
            by it.
        pair_sums: if above 0, gradients to an operand y without channels are summed over channels
            as products s[i] z[k], so many of them in registers, and C combines them once a row; if
            0, C is applied to each vector of channels, and the components j are summed.
        accumulators: vector registers given to the sums of one matrix product.
        product_rows: rows of one matrix product in registers.
        strip: blocks of lanes that one pass over a matrix takes at a time.
        max_unrolled: extents of the looped channel letter up to which its loop is unrolled.
        association: of products with an operand that has no channels.
        is_staged: whether interleaved segments that lanes touch more than once a row are transposed
            once for a tile.
        ahead_rows: how many rows ahead of their use operands are fetched into the cache; 0 for
            none. Edges have `run_edges`.
        is_streamed: whether large outputs are stored past the cache; for x86-64 only.
    """

    lanes: int
    row_tile: int
    chunk_rows: int
    run_edges: int = 0
    node_sums: int = 16
    pair_sums: int = 0
    accumulators: int = 24
    product_rows: int = 8
    strip: int = 4
    max_unrolled: int = 8
    association: Association = "table"
    is_staged: bool = True
    ahead_rows: int = 0
    is_streamed: bool = False
