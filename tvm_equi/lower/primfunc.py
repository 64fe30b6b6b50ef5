"""Kernel -> TensorIR: one function with symbolic rows, in named blocks.

In: a `Kernel`, a dtype and the decisions of a schedule. Out: a `PrimFunc` whose arguments are the
kernel's inputs, then its outputs. A shared output is an array of partial sums, [chunks, dim], that
the caller adds up: rows are split into that many chunks whatever the number of threads, so that
results do not depend on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Contraction
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.bundles import Bundle, bundles
from tvm_equi.lower.couple import Couple
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.mix import Mix
from tvm_equi.lower.names import FUNCTION, ROWS_BLOCK
from tvm_equi.lower.opaque import opaque_zeros
from tvm_equi.lower.roles import Roles
from tvm_equi.lower.select import emit_select
from tvm_equi.lower.storage import Place, Storage
from tvm_equi.lower.streaming import fence, is_large, streaming
from tvm_equi.lower.vector import Block, Expr, each_block, store, zeros


def fits_row_lanes(form: Contraction) -> bool:
    """Whether rows can run over lanes: every irrep has one channel, and no operand is shared."""
    return (
        form.family == "couple"
        and bool(form.paths)
        and all(extent == 1 for path in form.paths for _, extent in path.extents)
        and all(operand.rows == "row" for operand in form.operands)
    )


def row_tile(kernel: Kernel, groups: list[Bundle], decisions: Decisions) -> int:
    """Rows of a tile: a vector where rows run over lanes, some where a matrix is shared, or one."""
    forms = [kernel.contractions[bundle.contraction] for bundle in groups]
    tile = 1
    if any(form.family == "mix" and form.operands[1].rows == "shared" for form in forms):
        tile = decisions.row_tile
    if any(fits_row_lanes(form) for form in forms):
        tile = max(tile, decisions.lanes)
    return tile


def staged_segments(
    kernel: Kernel, groups: list[Bundle], decisions: Decisions
) -> dict[str, list[int]]:
    """Segments of arguments that lanes touch more than once a row, and that are interleaved.

    A tile keeps these in ir_mul layout, so that they are transposed once and not by every path.
    """
    uses: Counter[tuple[str, int]] = Counter()
    for bundle in groups:
        form = kernel.contractions[bundle.contraction]
        touched: set[tuple[str, int, object]] = set()
        for number, path in enumerate(form.paths):
            roles = Roles(form, path) if form.family == "couple" else None
            spread = roles.spread if roles else None
            chunks = roles.pair_chunks(bundle.steps, decisions) if roles else []
            for step in bundle.steps:
                for slot in form.coupled:
                    # The paths of a group read and write their common spread operand once.
                    once = form.family == "couple" and slot == spread
                    use = path.segments[slot] if once else number
                    touched.add((step.operands[slot], path.segments[slot], use))
                    # Pairs that find no register have loops of their own.
                    if len(chunks) > 1 and roles and step.output == roles.common != slot:
                        touched.add((step.operands[slot], path.segments[slot], (number, "pairs")))
        uses.update((name, segment) for name, segment, _ in touched)
    staged: dict[str, list[int]] = {}
    for (name, segment), count in sorted(uses.items()):
        operand = kernel.operand(name)
        is_argument = name in kernel.inputs or name in kernel.outputs
        is_interleaved = operand.layout == "mul_ir" and operand.segments[segment].dim > 1
        if count > 1 and is_argument and is_interleaved and operand.segments[segment].mul > 1:
            staged.setdefault(name, []).append(segment)
    return staged


def has_shared_output(kernel: Kernel) -> bool:
    """Whether an output is summed over rows."""
    return any(kernel.operand(name).rows == "shared" for name in kernel.outputs)


def lower(kernel: Kernel, dtype: str, decisions: Decisions) -> Any:
    """The PrimFunc of a kernel.

    Args:
        kernel: the program.
        dtype: "float32" or "float64", of every argument.
        decisions: from a schedule.

    Returns:
        A PrimFunc `tvm_equi_kernel(inputs..., outputs...)`: rows operands are [n, dim], shared
        inputs [dim], shared outputs [chunks, dim].
    """
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name(FUNCTION)
        T.func_attr({"tirx.noalias": True, "global_symbol": FUNCTION})
        n, num_chunks = tirx.Var("n", "int64"), tirx.Var("num_chunks", "int64")
        places = _arguments(kernel, dtype, n, num_chunks)
        _Lowering(kernel, dtype, decisions, places, n, num_chunks).emit()
    return builder.get()


def streamed_places(kernel: Kernel, places: dict[str, Place]) -> dict[str, Place]:
    """Memory of the outputs that have a row for each row of the kernel, stored past the cache."""
    return {
        name: replace(places[name], is_large=is_large(places[name].buffer))
        for name in kernel.outputs
        if kernel.operand(name).rows == "row" and not places[name].is_local
    }


def alignment(dtype: str) -> int:
    """Bytes that a tensor is aligned to: a view may start at any element."""
    return int(dtype.removeprefix("float")) // 8


def match(name: str, shape: Sequence[Expr], dtype: str, align: int) -> Any:
    """The buffer of an argument; printed TensorIR and errors call it by the name.

    Args:
        name: of the argument.
        shape: of the buffer.
        dtype: of its elements.
        align: bytes that it is aligned to.
    """
    buffer = T.match_buffer(T.arg(name, T.handle()), shape, dtype, align=align)
    IRBuilder.name(name, buffer)
    return buffer


def whole(buffer: Any) -> Expr:
    """The region of a whole buffer."""
    return buffer[tuple(slice(0, extent) for extent in buffer.shape)]


def fill_zeros(
    buffer: Any, lead: tuple[Expr, ...], size: int, lanes: int, dtype: str, start: Expr = 0
) -> None:
    """Stores zeros to `size` elements of a row."""

    def emit(block: Block) -> None:
        zero = zeros(dtype, block.width)
        store(buffer, lead, start + block.base, zero, block.width, block.valid)

    if size:
        each_block(size, lanes, emit)


def _arguments(kernel: Kernel, dtype: str, n: Expr, num_chunks: Expr) -> dict[str, Place]:
    """Matched buffers of the inputs and outputs."""
    places = {}
    for name in (*kernel.inputs, *kernel.outputs):
        operand = kernel.operand(name)
        is_partial = name in kernel.outputs and operand.rows == "shared"
        shape: tuple[Expr, ...] = (n, operand.dim)
        if operand.rows == "shared":
            shape = (num_chunks, operand.dim) if is_partial else (operand.dim,)
        buffer = match(name, shape, dtype, alignment(dtype))
        places[name] = Place(operand, buffer, is_partial=is_partial)
    return places


class _Lowering:
    """Emits the body of one function."""

    def __init__(
        self,
        kernel: Kernel,
        dtype: str,
        decisions: Decisions,
        places: dict[str, Place],
        n: Expr,
        num_chunks: Expr,
    ) -> None:
        """Groups the steps into bundles."""
        self.kernel, self.dtype, self.decisions = kernel, dtype, decisions
        self.places, self.n = places, n
        self.is_reduced = has_shared_output(kernel)
        self.num_chunks = num_chunks if self.is_reduced else T.ceildiv(n, decisions.chunk_rows)
        self.bundles = bundles(kernel)
        self.mixes = {
            number: Mix(kernel.contractions[b.contraction], list(b.steps), decisions)
            for number, b in enumerate(self.bundles)
            if kernel.contractions[b.contraction].family == "mix"
        }
        self.tile = row_tile(kernel, self.bundles, decisions)

    def emit(self) -> None:
        """Transposes shared weights, then runs chunks of rows."""
        is_streamed = self.decisions.is_streamed
        with opaque_zeros(), streaming(self.dtype) if is_streamed else nullcontext():
            if is_streamed:
                self.places |= streamed_places(self.kernel, self.places)
            self._emit_rows()

    def _emit_rows(self) -> None:
        """The same, whether outputs go past the cache or not."""
        for mix in self.mixes.values():
            if mix.is_shared:
                buffers = {name: place.buffer for name, place in self.places.items()}
                mix.transpose(buffers, self.dtype)
        with T.serial(0, self.num_chunks) as index, T.sblock(ROWS_BLOCK):
            chunk = T.axis.spatial(self.num_chunks, index)
            self._declare_regions()
            rows = self.decisions.chunk_rows
            if self.is_reduced:
                rows = T.ceildiv(self.n, self.num_chunks)
            first = T.bind(T.min(chunk * rows, self.n))
            last = T.bind(T.min(first + rows, self.n))
            self._zero_partials(chunk)
            self._allocate_temporaries()
            if self.tile > 1:
                full = T.bind((last - first) // self.tile)
                with T.serial(0, full) as index:
                    self._emit_tile(first + index * self.tile, chunk, self.tile)
                first = T.bind(first + full * self.tile)
            with T.serial(0, last - first) as row:
                self._emit_tile(first + row, chunk, 1)
            if self.decisions.is_streamed:
                fence()

    def _declare_regions(self) -> None:
        """Declares that the block reads and writes everything: chunks are no tiles."""
        T.reads(*(whole(self.places[name].buffer) for name in self.kernel.inputs))
        T.writes(*(whole(self.places[name].buffer) for name in self.kernel.outputs))

    def _zero_partials(self, chunk: Expr) -> None:
        """Starts the chunk's partial sums at zero."""
        for place in self.places.values():
            if place.is_partial:
                dim, lanes = place.operand.dim, self.decisions.lanes
                fill_zeros(place.buffer, (chunk,), dim, lanes, self.dtype)

    def _allocate_temporaries(self) -> None:
        """Memory of the temporaries of one tile."""
        for name in self.kernel.temporaries:
            operand = self.kernel.operand(name)
            size = max(1, self.tile * operand.dim)
            buffer = T.alloc_buffer((size,), self.dtype, scope="global")
            is_single = all(segment.mul <= 1 for segment in operand.segments)
            rows = self.tile if is_single and self.tile > 1 else 0
            self.places[name] = Place(operand, buffer, is_local=True, rows_last=rows)

        if not self.decisions.is_staged:
            return
        for name, segments in staged_segments(self.kernel, self.bundles, self.decisions).items():
            place = self.places[name]
            buffers = []
            for segment in segments:
                size = self.tile * place.operand.segments[segment].size
                buffers.append((segment, T.alloc_buffer((size,), self.dtype, scope="global")))
            self.places[name] = replace(place, staged=tuple(buffers))

    def _stage(
        self, storage: Storage, names: Iterable[str], num_rows: int, *, into_argument: bool
    ) -> None:
        """Copies the staged segments of some values."""
        staged = [(name, seg) for name in names for seg, _ in self.places[name].staged]
        if staged:
            with _each_row(num_rows) as r:
                for name, segment in staged:
                    lanes = self.decisions.lanes
                    storage.stage(name, segment, r, lanes, into_argument=into_argument)

    def _emit_tile(self, row: Expr, chunk: Expr, num_rows: int) -> None:
        """All bundles for one tile of rows."""
        ahead = self.decisions.ahead_rows
        storage = Storage(self.places, row, chunk, self.dtype, ahead)
        self._stage(storage, self.kernel.inputs, num_rows, into_argument=False)
        last_write = {
            step.target: number for number, b in enumerate(self.bundles) for step in b.steps
        }
        for number, bundle in enumerate(self.bundles):
            form = self.kernel.contractions[bundle.contraction]
            with T.sblock(f"{form.family}_{number}"):
                T.reads()
                T.writes()
                if number in self.mixes and self.mixes[number].is_shared:
                    self.mixes[number].emit_tile(storage, num_rows)
                elif num_rows > 1 and fits_row_lanes(form):
                    rows, steps = storage.rows_in_lanes(), list(bundle.steps)
                    Couple(form, steps, rows, self.decisions, num_rows).emit(0)
                else:
                    with _each_row(num_rows) as r:
                        self._emit_row(number, bundle, storage, r)
            done = [name for name, index in last_write.items() if index == number]
            self._finish(storage, done, num_rows)
        self._finish(storage, [n for n in self.kernel.outputs if n not in last_write], num_rows)
        self._stage(storage, self.kernel.outputs, num_rows, into_argument=True)

    def _emit_row(self, number: int, bundle: Bundle, storage: Storage, r: Expr) -> None:
        """One bundle for one row."""
        form, steps, lanes = (
            self.kernel.contractions[bundle.contraction],
            list(bundle.steps),
            self.decisions.lanes,
        )
        match form.family:
            case "couple":
                Couple(form, steps, storage, self.decisions).emit(r)
            case "mix":
                self.mixes[number].emit_row(storage, r)
            case "select":
                emit_select(form, steps, storage, lanes, r)

    def _finish(self, storage: Storage, names: list[str], num_rows: int) -> None:
        """Stores zeros to segments that no path reaches."""
        missing = [(name, segment) for name in names for segment in storage.unwritten(name)]
        if missing:
            with _each_row(num_rows) as r:
                for name, segment in missing:
                    storage.fill(name, segment, r, self.decisions.lanes)


@contextmanager
def _each_row(num_rows: int) -> Iterator[Expr]:
    """A loop over the rows of a tile."""
    if num_rows == 1:
        yield 0
    else:
        with T.serial(0, num_rows) as r:
            yield r
