"""How many threads, rows and bytes of shared memory a launch takes; no TVM in it.

In: what a launch keeps in shared memory for each row. Out: the shape of its blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_equi.lower.gpu.decisions import GpuDecisions


@dataclass(frozen=True, slots=True)
class Shape:
    """The blocks of a launch.

    Args:
        lanes: threads of a row.
        slots: rows, or nodes, that a block works on at a time.
        tile: rows of a slot between two barriers.
        has_tables: whether tables are made in shared memory; if not, each thread combines its
            coefficients itself.
    """

    lanes: int
    slots: int
    tile: int
    has_tables: bool

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.lanes * self.slots

    @property
    def sum_stride(self) -> int:
        """Elements from one sum over lanes to the next."""
        return sum_stride(self.lanes)


def sum_stride(lanes: int) -> int:
    """Elements of shared memory that a sum over lanes takes: odd, so that all banks are used.

    Args:
        lanes: threads of a row.
    """
    return lanes | 1


def shape(
    lanes: int, table_entries: int, num_sums: int, element: int, decisions: GpuDecisions
) -> Shape:
    """The shape of a launch.

    Args:
        lanes: threads of a row.
        table_entries: of the tables of one row.
        num_sums: sums over lanes of one row.
        element: bytes of an entry.
        decisions: from a schedule.
    """
    slots = max(1, decisions.block_threads // lanes)
    has_tables = (
        table_entries > 0
        and lanes >= decisions.min_table_lanes
        and table_entries * element <= decisions.table_bytes
    )
    row_bytes = table_entries * element if has_tables else 0
    sum_elements = num_sums * sum_stride(lanes)
    tile = decisions.tile if has_tables or num_sums else 1

    def fits() -> bool:
        rows = slots * tile
        return rows * row_bytes <= decisions.table_bytes and (
            rows * sum_elements <= decisions.reduce_elements
        )

    while tile > 1 and not fits():
        tile //= 2
    while slots > 1 and not fits():
        slots //= 2
    return Shape(lanes, slots, tile, has_tables)
