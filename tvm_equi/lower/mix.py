"""TensorIR for bundles of "mix" steps: weight matrices, z[w, k] += W[u, w] x[u, k].

In: one contraction and all the steps of a kernel that use it at the same point. Out: TensorIR for
a tile of rows. Two forms, by where the weights live:
- one matrix per row: a single pass over the matrix, in which every step of the bundle takes part,
since reading (or
  writing) the matrix is what costs;
- one matrix for all rows: matrix products in registers, rows x components against lanes, so that
each element of the
  matrix is read once for all rows of the tile. Gradients to x use a transposed copy, made once for
  a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Contraction, Path
from tvm_equi.algebra.kernel import Step
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.location import Channels
from tvm_equi.lower.storage import Storage
from tvm_equi.lower.vector import (
    Block,
    Expr,
    block_width,
    constant,
    lane_sum,
    load,
    num_blocks,
    splat,
    static_blocks,
    total,
    vector_dtype,
    zeros,
)

X, W, Z = 0, 1, 2
"""Slots of a mix contraction."""


@dataclass
class Mix:
    """A bundle of mix steps.

    Args:
        form: the contraction.
        steps: its steps; none reads what another writes.
        decisions: from a schedule. Of 32 vector registers (16 without AVX-512), `accumulators` hold
            sums; more `product_rows` would leave none for a second block of lanes, and a scalar is
            then loaded for each multiply-add.
        transposed: (value, path number) -> buffer [w, u] with the transposed weights, where they
            are shared.
    """

    form: Contraction
    steps: list[Step]
    decisions: Decisions
    transposed: dict[tuple[str, int], Any] = field(default_factory=dict)

    @property
    def lanes(self) -> int:
        """Vector lanes."""
        return self.decisions.lanes

    @property
    def is_shared(self) -> bool:
        """Whether one matrix serves all rows."""
        return self.form.operands[W].rows == "shared"

    def to(self, slot: int) -> list[Step]:
        """Steps that compute a slot."""
        return [step for step in self.steps if step.output == slot]

    def transpose(self, buffers: dict[str, Any], dtype: str) -> None:
        """Copies the shared weights that gradients to x read, transposed, before all rows."""
        for name in dict.fromkeys(step.operands[W] for step in self.to(X)):
            offsets = self.form.operands[W].offsets
            for number, path in enumerate(self.form.paths):
                u, w = path.extent("u"), path.extent("w")
                copy = T.alloc_buffer((w * u,), dtype, scope="global")
                self.transposed[name, number] = copy
                offset = offsets[path.segments[W]]
                with T.serial(0, w) as column, T.serial(0, u) as row:
                    value = buffers[name][(offset + row * w + column,)]
                    T.buffer_store(copy, value, [column * u + row])

    def emit_row(self, storage: Storage, r: Expr) -> None:
        """One row with weights of its own."""
        for path in self.form.paths:
            _RowPath(self, path, storage, r).emit()

    def emit_tile(self, storage: Storage, num_rows: int) -> None:
        """A tile of rows with shared weights."""
        for number, path in enumerate(self.form.paths):
            tile = _TilePath(self, number, path, storage, num_rows)
            tile.emit_products()
            tile.emit_gradients()
            tile.emit_weight_gradients()


class _RowPath:
    """One path with per-row weights."""

    def __init__(self, mix: Mix, path: Path, storage: Storage, r: Expr) -> None:
        """Binds the path to its surroundings."""
        self.mix, self.path, self.storage, self.r = mix, path, storage, r
        self.dim = mix.form.dims(path)[X]
        self.u, self.w = path.extent("u"), path.extent("w")
        self.z_names = list(dict.fromkeys(s.operands[Z] for s in mix.steps if s.output != Z))
        self.w_names = list(dict.fromkeys(s.operands[W] for s in mix.steps if s.output != W))

    def _scaled(self, value: Expr) -> Expr:
        scale = self.path.scale
        return value if scale == 1.0 else value * constant(self.storage.dtype, scale)

    def emit(self) -> None:
        """Passes over strips of the matrix's columns."""
        width, strip_blocks = block_width(self.w, self.mix.lanes), self.mix.decisions.strip
        for step in self.mix.to(X):
            self.storage.fill(step.target, self.path.segments[X], self.r, self.mix.lanes)
        adds = {
            (step.target, step.output): self.storage.adds(
                step.target, self.path.segments[step.output]
            )
            for step in self.mix.steps
            if step.output != X
        }
        columns = strip_blocks * width
        strips, rest = divmod(self.w, columns)
        if strips:
            with T.serial(0, strips) as strip:
                blocks = static_blocks(columns, self.mix.lanes, strip * columns)
                self._emit_strip(blocks, adds)
        if rest:
            blocks = static_blocks(rest, self.mix.lanes, strips * columns)
            self._emit_strip(blocks, adds)
        for name, slot in adds:
            self.storage.mark(name, self.path.segments[slot])

    def _emit_strip(self, blocks: list[Block], adds: dict[tuple[str, int], bool]) -> None:
        """All rows u of the matrix against some blocks of its columns."""
        dtype, segment = self.storage.dtype, self.path.segments[Z]
        z = {
            name: [self.storage.read(name, segment, self.r, block) for block in blocks]
            for name in self.z_names
        }
        sums = {
            step.target: [
                [
                    T.alloc_buffer((1,), vector_dtype(dtype, block.width), scope="global")
                    for _ in range(self.dim)
                ]
                for block in blocks
            ]
            for step in self.mix.to(Z)
        }
        for registers in sums.values():
            for block, row in zip(blocks, registers, strict=True):
                for register in row:
                    T.buffer_store(register, zeros(dtype, block.width), [0])
        with T.serial(0, self.u) as u:
            self._emit_matrix_row(u, blocks, z, sums, adds)
        for name, registers in sums.items():
            for block, row in zip(blocks, registers, strict=True):
                values = [register[0] for register in row]
                self.storage.write(name, segment, self.r, block, values, add=adds[name, Z])

    def _emit_matrix_row(
        self,
        u: Expr,
        blocks: list[Block],
        z: dict[str, list[list[Expr]]],
        sums: dict[str, list[list[Any]]],
        adds: dict[tuple[str, int], bool],
    ) -> None:
        """Row u of the matrix, read and written once."""
        storage, path, r = self.storage, self.path, self.r
        x_names = dict.fromkeys(s.operands[X] for s in self.mix.steps if s.output != X)
        x = {
            name: [
                T.bind(self._scaled(storage.scalar(name, path.segments[X], r, u, k)))
                for k in range(self.dim)
            ]
            for name in x_names
        }
        channels = Channels(u * self.w, 1)
        gradients: dict[str, list[Expr]] = {}
        for number, block in enumerate(blocks):
            weights = {
                name: storage.read(name, path.segments[W], r, block, channels)[0]
                for name in self.w_names
            }
            for step in self.mix.to(Z):
                for k, register in enumerate(sums[step.target][number]):
                    term = splat(x[step.operands[X]][k], block.width) * weights[step.operands[W]]
                    T.buffer_store(register, register[0] + term, [0])
            for step in self.mix.to(X):
                terms = [v * weights[step.operands[W]] for v in z[step.operands[Z]][number]]
                old = gradients.get(step.target)
                gradients[step.target] = (
                    terms if old is None else [a + b for a, b in zip(old, terms, strict=True)]
                )
            for name in dict.fromkeys(step.target for step in self.mix.to(W)):
                value = None
                for step in self.mix.to(W):
                    if step.target == name:
                        for a, b in zip(
                            x[step.operands[X]], z[step.operands[Z]][number], strict=True
                        ):
                            term = splat(a, block.width) * b
                            value = term if value is None else value + term
                storage.write(
                    name, path.segments[W], r, block, [value], add=adds[name, W], channels=channels
                )
        width = blocks[0].width
        for name, values in gradients.items():
            for k, value in enumerate(values):
                old = storage.scalar(name, path.segments[X], r, u, k)
                new = old + self._scaled(lane_sum(value, width))
                storage.store_scalar(name, path.segments[X], r, u, k, new)


class _TilePath:
    """One path with shared weights, for all rows of a tile."""

    def __init__(self, mix: Mix, number: int, path: Path, storage: Storage, num_rows: int) -> None:
        """Binds the path to its surroundings."""
        self.mix, self.number, self.path = mix, number, path
        self.storage, self.num_rows = storage, num_rows
        self.dim = mix.form.dims(path)[X]
        self.u, self.w = path.extent("u"), path.extent("w")

    def _rows(self, num_terms: int, most: int) -> int:
        """Rows that registers hold at once: a power of two, which divides the tile."""
        rows = 1
        while (
            2 * rows * self.dim * num_terms <= self.mix.decisions.accumulators and 2 * rows <= most
        ):
            rows *= 2
        return min(rows, self.num_rows)

    def emit_products(self) -> None:
        """z[r, w, k] += sum_u x[r, u, k] W[u, w], lanes over w."""
        weights = {
            step.operands[W]: (
                self.storage.places[step.operands[W]].buffer,
                self.mix.form.operands[W].offsets[self.path.segments[W]],
            )
            for step in self.mix.to(Z)
        }
        self._emit_product(self.mix.to(Z), X, Z, self.u, self.w, weights)

    def emit_gradients(self) -> None:
        """dx[r, u, k] += sum_w dz[r, w, k] W^T[w, u], lanes over u."""
        weights = {
            step.operands[W]: (self.mix.transposed[step.operands[W], self.number], 0)
            for step in self.mix.to(X)
        }
        self._emit_product(self.mix.to(X), Z, X, self.w, self.u, weights)

    def _emit_product(
        self,
        steps: list[Step],
        source: int,
        target: int,
        depth: int,
        extent: int,
        weights: dict[str, tuple[Any, int]],
    ) -> None:
        """Adds sum_c source[r, c, k] weights[c, lanes], c < depth, to target[r, lanes, k]."""
        segment = self.path.segments[target]
        for name in dict.fromkeys(step.target for step in steps):
            add = self.storage.adds(name, segment)
            some = [step for step in steps if step.target == name]
            width = block_width(extent, self.mix.lanes)
            decisions = self.mix.decisions
            rows = self._rows(1, decisions.product_rows)
            most = max(1, min(decisions.strip, decisions.accumulators // (rows * self.dim)))
            blocks_in_all = num_blocks(extent, self.mix.lanes)
            strip = -(-blocks_in_all // -(-blocks_in_all // most))
            with _each_subtile(self.num_rows, rows) as tile:
                full, rest = divmod(extent, strip * width)
                if full:
                    with T.serial(0, full) as index:
                        blocks = static_blocks(
                            strip * width, self.mix.lanes, index * (strip * width)
                        )
                        self._emit_block(some, source, tile, blocks, depth, extent, weights, add)
                if rest:
                    blocks = [
                        Block(full * strip * width + start, width, min(rest - start, width))
                        for start in range(0, rest, width)
                    ]
                    self._emit_block(some, source, tile, blocks, depth, extent, weights, add)
            self.storage.mark(name, segment)

    def _emit_block(
        self,
        steps: list[Step],
        source: int,
        tile: list[Expr],
        blocks: list[Block],
        depth: int,
        extent: int,
        weights: dict[str, tuple[Any, int]],
        add: bool,
    ) -> None:
        """Some rows against some blocks of lanes, summed in registers over the depth."""
        dtype, storage = self.storage.dtype, self.storage
        name, target = steps[0].target, steps[0].output
        sums = [
            [
                [
                    T.alloc_buffer((1,), vector_dtype(dtype, block.width), scope="global")
                    for _ in range(self.dim)
                ]
                for _ in tile
            ]
            for block in blocks
        ]
        for block, of_rows in zip(blocks, sums, strict=True):
            for registers in of_rows:
                for register in registers:
                    T.buffer_store(register, zeros(dtype, block.width), [0])
        with T.serial(0, depth) as c:
            for step in steps:
                buffer, offset = weights[step.operands[W]]
                vectors = [
                    T.bind(load(buffer, (), offset + c * extent + b.base, b.width, b.valid))
                    for b in blocks
                ]
                for position, r in enumerate(tile):
                    for k in range(self.dim):
                        scalar = storage.scalar(
                            step.operands[source], self.path.segments[source], r, c, k
                        )
                        for block, vector, of_rows in zip(blocks, vectors, sums, strict=True):
                            register = of_rows[position][k]
                            term = splat(scalar, block.width) * vector
                            T.buffer_store(register, register[0] + term, [0])
        segment = self.path.segments[target]
        for block, of_rows in zip(blocks, sums, strict=True):
            for r, registers in zip(tile, of_rows, strict=True):
                values = [self._scaled(register[0], block.width) for register in registers]
                storage.write(name, segment, r, block, values, add=add)

    def _scaled(self, value: Expr, width: int) -> Expr:
        scale = self.path.scale
        if scale == 1.0:
            return value
        return value * splat(constant(self.storage.dtype, scale), width)

    def emit_weight_gradients(self) -> None:
        """dW[u, w] += sum_rk x[r, u, k] dz[r, w, k] into partial sums, lanes over w."""
        steps = self.mix.to(W)
        if not steps:
            return
        width = block_width(self.w, self.mix.lanes)
        for name in dict.fromkeys(step.target for step in steps):
            some = [step for step in steps if step.target == name]
            rows = self._rows(len(some), self.num_rows)
            with _each_subtile(self.num_rows, rows) as tile:
                with T.serial(0, self.w // width) as index:
                    self._emit_weight_block(some, Block(index * width, width, width), tile)
                if self.w % width:
                    rest = self.w % width
                    self._emit_weight_block(some, Block(self.w - rest, width, rest), tile)

    def _emit_weight_block(self, steps: list[Step], block: Block, tile: list[Expr]) -> None:
        """Adds the products of some rows to one block of columns of a weight gradient."""
        storage, path = self.storage, self.path
        products = [
            (step.operands[X], r, k, T.bind(self._scaled(value, block.width)))
            for step in steps
            for r in tile
            for k, value in enumerate(storage.read(step.operands[Z], path.segments[Z], r, block))
        ]
        with T.serial(0, self.u) as u:
            terms = [
                splat(storage.scalar(x, path.segments[X], r, u, k), block.width) * z
                for x, r, k, z in products
            ]
            storage.write(
                steps[0].target,
                path.segments[W],
                0,
                block,
                [total(terms)],
                add=True,
                channels=Channels(u * self.w, 1),
            )


@contextmanager
def _each_subtile(num_rows: int, rows: int) -> Iterator[list[Expr]]:
    """A loop over the rows of a tile, `rows` of them at a time."""
    if num_rows == rows:
        yield list(range(rows))
    else:
        with T.serial(0, num_rows // rows) as index:
            yield [index * rows + row for row in range(rows)]
