"""What a schedule decides about the code that lowering makes for a GPU.

In: numbers chosen by `schedule/gpu.py`. Out: data, with no TVM in it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuDecisions:
    """What a schedule decides about every launch of a kernel.

    Args:
        block_threads: threads of a block: several rows or nodes share one where channels are few.
        max_lanes: channels that one launch covers; more take several launches.
        sums: elements that a thread keeps in registers for the sums of a node or row.
        node_inputs: elements of a node's operands that a thread keeps in registers.
        tile: rows or edges between two barriers.
        table_bytes: shared memory of a block for tables of combined coefficients.
        reduce_elements: of shared memory of a block, for sums over lanes.
        min_table_lanes: with fewer lanes, each thread combines its coefficients itself.
        matrix_tile: (rows, columns, depth) of the block of a product with a shared matrix.
        matrix_thread: (rows, columns) of it that a thread computes.
        exact_constants: whether constants are written as bit patterns, for a code generator that
            prints too few digits.
    """

    block_threads: int = 128
    max_lanes: int = 256
    sums: int = 88
    node_inputs: int = 32
    tile: int = 32
    table_bytes: int = 24 << 10
    reduce_elements: int = 5 << 10
    min_table_lanes: int = 8
    matrix_tile: tuple[int, int, int] = (64, 64, 8)
    matrix_thread: tuple[int, int] = (4, 4)
    exact_constants: bool = False
