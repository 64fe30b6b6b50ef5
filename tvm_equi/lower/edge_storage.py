"""Where the values of a convolution live while a tile of edges is computed.

In: the places of a kernel's values, and the edges of the tile. Out: the access that `Storage`
gives, with rows of arguments found through the edge's number and nodes. A node's sums are kept in
memory of their own until the node's last edge; inside a loop over a node's edges, in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.convolution import NodeRows
from tvm_equi.lower.location import Channels
from tvm_equi.lower.storage import Place, Storage
from tvm_equi.lower.vector import Block, Expr, vector_dtype, zeros

Key = tuple[str, int]
"""(value, segment)."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Buffers of an order of the edges (`runtime/topology.py`), and which order it is."""

    rows: NodeRows
    edges: Any
    nodes: Any
    others: Any
    pointers: Any
    tasks: Any
    num_edges: Expr


class EdgeStorage(Storage):
    """Access to the values of a kernel for one tile of edges.

    Args:
        places: memory by value name; sums of nodes are local.
        first: position in the order of the tile's first edge.
        count: edges of the tile; further rows are those of the last edge.
        task: index of the task.
        dtype: of all elements.
        order: of the edges.
        ahead: how many edges ahead of their use operands are fetched into the cache; 0 for none.
    """

    def __init__(
        self,
        places: dict[str, Place],
        first: Expr,
        count: Expr,
        task: Expr,
        dtype: str,
        order: Edges,
        ahead: int,
    ) -> None:
        """Starts a tile in which nothing is written yet."""
        super().__init__(places, first, task, dtype, ahead)
        self.count, self.order = count, order
        self._entered: dict[str, Expr] | None = None
        self._upcoming: dict[str, Expr] = {}
        self._registers: dict[Key, list[Any]] = {}
        self._hoisted: dict[Key, list[Expr]] = {}

    def enter(self, r: Expr) -> None:
        """Starts code for row r alone, r below `count`."""
        position = T.bind(self.row + r)
        self._entered = {rows: T.bind(self._index(rows, position)) for rows in self._kinds()}
        if self.ahead:
            later = T.bind(T.min(position + self.ahead, self.order.num_edges - 1))
            self._upcoming = {rows: T.bind(self._index(rows, later)) for rows in self._kinds()}

    def leave(self) -> None:
        """Ends code for one row."""
        self._entered = None

    def _kinds(self) -> list[str]:
        """Rows of the arguments that are read or written row by row."""
        kinds = {p.operand.rows for p in self.places.values() if not p.is_local}
        return [rows for rows in ("row", "sender", "receiver") if rows in kinds]

    def _index(self, rows: str, position: Expr) -> Expr:
        """The row of an argument at a position in the order."""
        if rows == "row":
            return self.order.edges[position]
        return (self.order.nodes if rows == self.order.rows else self.order.others)[position]

    def lead(self, rows: str, r: Expr) -> tuple[Expr, ...]:
        """The leading indices of an argument."""
        if rows == "shared":
            return ()
        if self._entered is not None:
            return (self._entered[rows],)
        return (self._index(rows, self.row + T.min(r, self.count - 1)),)

    def open(self, sums: dict[Key, int], inputs: list[Key], r: Expr, block: Block) -> None:
        """Keeps sums in registers, from zero, and inputs of the node, until `close`.

        Args:
            sums: components of each segment that is summed.
            inputs: segments that are the same for all edges of the node.
            r: row of one of its edges.
            block: of lanes.
        """
        vector = vector_dtype(self.dtype, block.width)
        self._hoisted = {key: Storage.read(self, *key, r, block) for key in inputs}
        self._registers = {
            key: [T.alloc_buffer((1,), vector, scope="global") for _ in range(dim)]
            for key, dim in sums.items()
        }
        for registers in self._registers.values():
            for register in registers:
                T.buffer_store(register, zeros(self.dtype, block.width), [0])

    def close(self, block: Block) -> None:
        """Adds the registers to the sums."""
        for (name, segment), registers in self._registers.items():
            values = [register[0] for register in registers]
            super().write(name, segment, 0, block, values, add=True)
        self._registers, self._hoisted = {}, {}

    def read(
        self, name: str, segment: int, r: Expr, block: Block, channels: Channels | None = None
    ) -> list[Expr]:
        """The block's lanes of every component of a segment, bound to variables."""
        if (name, segment) in self._hoisted and _is_plain(channels):
            return self._hoisted[name, segment]
        return super().read(name, segment, r, block, channels)

    def upcoming(self, place: Place, r: Expr) -> Expr:
        """The row of an argument that is fetched while the row that was entered is computed."""
        del r
        return self._upcoming[place.operand.rows]

    def write(
        self,
        name: str,
        segment: int,
        r: Expr,
        block: Block,
        values: Sequence[Expr],
        *,
        add: bool,
        channels: Channels | None = None,
    ) -> None:
        """Stores, or adds, the block's lanes of every component of a segment."""
        if (name, segment) not in self._registers or not _is_plain(channels):
            super().write(name, segment, r, block, values, add=add, channels=channels)
            return
        for register, value in zip(self._registers[name, segment], values, strict=True):
            T.buffer_store(register, register[0] + value if add else value, [0])

    def running(self, name: str, segment: int) -> list[Expr] | None:
        """The sums so far of a segment that is kept in registers: a write must include them."""
        registers = self._registers.get((name, segment))
        return None if registers is None else [register[0] for register in registers]

    def adds(self, name: str, segment: int) -> bool:
        """Whether the next whole write of a segment must add to what is there."""
        return self.places[name].is_sum or super().adds(name, segment)


def _is_plain(channels: Channels | None) -> bool:
    """Whether lanes are the channels of a segment in order."""
    return channels is None or (isinstance(channels.start, int) and channels == Channels())
