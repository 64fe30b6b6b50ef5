"""Vector expressions in TensorIR: blocks of lanes, their loads and stores, sums over lanes.

In: TensorIR buffers and index expressions. Out: TensorIR expressions whose lanes are channels. A
width of 1 gives plain scalars, so that every caller is written once. A block whose last lanes lie
past the end of its channels is loaded and stored under a mask: no lane past the end is ever read
or written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

Expr = Any
"""A TensorIR expression; TVM's Python classes carry no types."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lanes [base, base + valid) of a channel axis, held in vectors of `width` lanes."""

    base: Expr
    width: int
    valid: int


def block_width(extent: int, lanes: int) -> int:
    """The vector width for a channel axis: `lanes`, or the next power of two of a shorter axis."""
    width = 1
    while width < min(extent, lanes):
        width *= 2
    return width


def num_blocks(extent: int, lanes: int) -> int:
    """The number of blocks that cover a channel axis."""
    return -(-extent // block_width(extent, lanes))


@contextmanager
def _serial(extent: int) -> Iterator[Expr]:
    with T.serial(0, extent) as index:
        yield index


def each_block(extent: int, lanes: int, emit: Any) -> None:
    """Emits `emit(Block)` over a channel axis: a loop over full blocks, then one masked block."""
    width = block_width(extent, lanes)
    full, rest = divmod(extent, width)
    if full == 1:
        emit(Block(0, width, width))
    elif full:
        with _serial(full) as index:
            emit(Block(index * width, width, width))
    if rest:
        emit(Block(full * width, width, rest))


def static_blocks(extent: int, lanes: int, base: Expr = 0) -> list[Block]:
    """The blocks of a short channel axis that starts at `base`, unrolled."""
    width = block_width(extent, lanes)
    return [
        Block(base + start, width, min(width, extent - start)) for start in range(0, extent, width)
    ]


def zeros(dtype: str, width: int) -> Expr:
    """A vector of zeros."""
    return splat(tirx.FloatImm(dtype, 0.0), width)


def constant(dtype: str, value: float) -> Expr:
    """A scalar constant, every bit of the float64 kept that the dtype can hold."""
    return tirx.FloatImm(dtype, float(value))


def splat(scalar: Expr, width: int) -> Expr:
    """A vector that holds one scalar in every lane."""
    return scalar if width == 1 else T.Broadcast(scalar, width)


def vector_dtype(dtype: str, width: int) -> str:
    """The dtype of a vector."""
    return dtype if width == 1 else f"{dtype}x{width}"


def _mask(width: int, valid: int) -> Expr:
    lanes = [tirx.IntImm("bool", lane < valid) for lane in range(width)]
    return T.Shuffle(lanes, list(range(width)))


def load(buffer: Expr, lead: Sequence[Expr], address: Expr, width: int, valid: int) -> Expr:
    """`valid` contiguous elements; zeros in the other lanes."""
    if width == 1:
        return buffer[(*lead, address)]
    if valid <= 0:
        return zeros(buffer.dtype, width)
    ramp = T.Ramp(address, 1, width)
    if valid >= width:
        return buffer[(*lead, ramp)]
    dtype = vector_dtype(buffer.dtype, width)
    mask = _mask(width, valid)
    # TVM leaves the lanes that a masked load skips undefined.
    return T.Select(
        mask, T.masked_load(dtype, buffer, *lead, ramp, mask), zeros(buffer.dtype, width)
    )


def store(
    buffer: Expr, lead: Sequence[Expr], address: Expr, value: Expr, width: int, valid: int
) -> None:
    """Stores the first `valid` lanes to contiguous elements."""
    if width == 1:
        T.buffer_store(buffer, value, [*lead, address])
    elif valid >= width:
        T.buffer_store(buffer, value, [*lead, T.Ramp(address, 1, width)])
    elif valid > 0:
        ramp = T.Ramp(address, 1, width)
        T.evaluate(T.masked_store(buffer, value, *lead, ramp, _mask(width, valid)))


def prefetch(buffer: Expr, index: Sequence[Expr]) -> None:
    """Asks for an element's cache line, to be read soon."""
    address = T.address_of(buffer[tuple(index)])
    read, level, data = (tirx.IntImm("int32", value) for value in (0, 2, 1))
    T.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", address, read, level, data))


def load_strided(
    buffer: Expr, lead: Sequence[Expr], address: Expr, stride: int, block: Block
) -> Expr:
    """Elements `stride` apart, one a lane; zeros in lanes past the end."""
    if stride == 1 or block.width == 1:
        return load(buffer, lead, address, block.width, block.valid)
    zero = tirx.FloatImm(buffer.dtype, 0.0)
    lanes = [
        buffer[(*lead, address + lane * stride)] if lane < block.valid else zero
        for lane in range(block.width)
    ]
    return T.Shuffle(lanes, list(range(block.width)))


def store_strided(
    buffer: Expr, lead: Sequence[Expr], address: Expr, stride: int, value: Expr, block: Block
) -> None:
    """Stores lanes to elements `stride` apart."""
    if stride == 1 or block.width == 1:
        store(buffer, lead, address, value, block.width, block.valid)
        return
    bound = T.bind(value)
    for lane in range(block.valid):
        scalar = T.Shuffle([bound], [lane])
        T.buffer_store(buffer, scalar, [*lead, address + lane * stride])


def interleave(vectors: Sequence[Expr], width: int) -> list[Expr]:
    """Components [dim][lane] as they lie in mul_ir memory: element lane * dim + component.

    Where dim is odd (and so invertible modulo the width), lane c of component i goes to position
    (c dim + i) mod width of its chunk whatever the chunk: one permutation per component puts all
    lanes in place, and each chunk is a blend. Blends run on twice as many ports as permutations,
    and stores leave the other ports free; for loads (`deinterleave`) the same trick measured
    slower.
    """
    dim = len(vectors)
    if dim == 1 or width == 1:
        return list(vectors)
    if dim % 2 == 0:
        return [
            _pick(
                vectors, [(e % dim) * width + e // dim for e in range(q * width, (q + 1) * width)]
            )
            for q in range(dim)
        ]
    inverse = pow(dim, -1, width)
    placed = [
        _permute(vector, [(p - i) * inverse % width for p in range(width)])
        for i, vector in enumerate(vectors)
    ]
    return [_blend(placed, [(q * width + p) % dim for p in range(width)]) for q in range(dim)]


def deinterleave(chunks: Sequence[Expr], width: int) -> list[Expr]:
    """The inverse of `interleave`."""
    dim = len(chunks)
    if dim == 1 or width == 1:
        return list(chunks)
    return [_pick(chunks, [lane * dim + i for lane in range(width)]) for i in range(dim)]


def _permute(vector: Expr, lanes: list[int]) -> Expr:
    return T.bind(T.Shuffle([vector], lanes))


def _blend(vectors: Sequence[Expr], sources: list[int]) -> Expr:
    """A vector whose position p comes from position p of vectors[sources[p]]."""
    width = len(sources)
    first, *rest = sorted(set(sources))
    result = vectors[first]
    for source in rest:
        lanes = [width + p if owner == source else p for p, owner in enumerate(sources)]
        result = T.Shuffle([result, vectors[source]], lanes)
    return result


def _pick(vectors: Sequence[Expr], lanes: list[int]) -> Expr:
    """Chosen lanes of the concatenation; only vectors that hold one of them are read."""
    width = len(lanes)
    used = sorted({lane // width for lane in lanes})
    position = {vector: number for number, vector in enumerate(used)}
    indices = [position[lane // width] * width + lane % width for lane in lanes]
    return T.bind(T.Shuffle([vectors[vector] for vector in used], indices))


def lane_sum(value: Expr, width: int) -> Expr:
    """The sum over lanes, by halving: a fixed order, so that it is deterministic."""
    while width > 1:
        width //= 2
        bound = T.bind(value)
        low = T.Shuffle([bound], list(range(width)))
        value = low + T.Shuffle([bound], list(range(width, 2 * width)))
    return value


def lane_sums(values: Sequence[Expr], width: int) -> Expr:
    """A vector whose lane v is the sum over lanes of values[v], for exactly `width` values."""
    vectors = list(values)
    if width == 1:
        return vectors[0]
    span = 1
    while span < width:
        # After this round each vector holds partial sums of 2 * span values, `width // (2 * span)`
        # lanes each.
        low = [lane for lane in range(2 * width) if not (lane // _half(width, span)) % 2]
        high = [lane + _half(width, span) for lane in low]
        vectors = [
            T.bind(T.Shuffle([a, b], low) + T.Shuffle([a, b], high))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        span *= 2
    return vectors[0]


def _half(width: int, span: int) -> int:
    """Lanes that one value's partial sum keeps after a round of `lane_sums`."""
    return width // (2 * span)


def total(terms: Sequence[Expr]) -> Expr:
    """The sum of terms, left to right."""
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result
