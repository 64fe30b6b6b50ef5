"""Sparse multilinear forms over irreps: the one arithmetic operation of the package.

In: operands whose segments are irreps with channels, and paths that couple one segment of each
operand. A form has no designated output: a step of a `Kernel` says which operand it computes, so
that a derivative is the same form with another operand computed. Out: facts (extents,
coefficients) that lowering and the numpy oracle read. A form whose channels, extents or degrees do
not fit is refused when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tvm_equi.algebra.cg import wigner_3j
from tvm_equi.errors import ArgumentError

Layout = Literal["mul_ir", "ir_mul"]
Rows = Literal["row", "shared", "sender", "receiver"]
LAYOUTS: tuple[Layout, ...] = ("mul_ir", "ir_mul")

PAIRS = "u<v"
"""Channel pattern of a segment whose channels are the pairs u < v of two channel axes."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One irrep of an operand: `mul` channels of `dim` components."""

    mul: int
    dim: int

    @property
    def size(self) -> int:
        """Elements of the segment in one row."""
        return self.mul * self.dim


@dataclass(frozen=True, slots=True, order=True)
class Operand:
    """The type of a value: its segments, their layout, and what the leading axis counts.

    Args:
        segments: the irreps in order; weights are segments of `dim` 1.
        layout: "mul_ir" puts the components of a channel side by side (e3nn's), "ir_mul" the
            channels of a component.
        rows: "row" for one set of values per row, "shared" for one set for all rows; where rows are
            edges of a graph, "sender" and "receiver" for one set per node: an edge reads the set of
            its sender or receiver, and adds to it where the value is computed.
    """

    segments: tuple[Segment, ...]
    layout: Layout = "mul_ir"
    rows: Rows = "row"

    @property
    def dim(self) -> int:
        """Elements in one row."""
        return sum(segment.size for segment in self.segments)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each segment starts in a row."""
        return tuple(accumulate((segment.size for segment in self.segments), initial=0))[:-1]


@dataclass(frozen=True, slots=True, order=True)
class Path:
    """One segment of every operand, coupled.

    Args:
        segments: the segment of each operand.
        channels: the channel letters of each operand, e.g. ("u", "v", "uv", "u"); `PAIRS` for
            pairs u < v.
        extents: (letter, extent) for each letter.
        scale: factor of the coupling tensor.
    """

    segments: tuple[int, ...]
    channels: tuple[str, ...]
    extents: tuple[tuple[str, int], ...]
    scale: float

    def extent(self, letter: str) -> int:
        """The extent of a channel letter."""
        return dict(self.extents)[letter]

    def num_channels(self, channels: str) -> int:
        """The number of channels that a channel pattern spans."""
        if channels == PAIRS:
            n = self.extent("u")
            return n * (n - 1) // 2
        return int(np.prod([self.extent(letter) for letter in channels], initial=1))


Family = Literal["couple", "mix", "select"]


@dataclass(frozen=True, slots=True, order=True)
class Contraction:
    """Paths over a fixed tuple of operands.

    Args:
        family: "couple" contracts irreps channel by channel (a Clebsch-Gordan tensor over the
            coupled operands),
            "mix" multiplies channels by a weight matrix and leaves components alone, "select"
            relabels or sums channels. A family is how a form is lowered; the arithmetic is the
            same for all.
        operands: the operand types.
        coupled: the operands that carry components, three (Wigner 3j) or two (identity); the
            others are weights.
        paths: the couplings; each adds to the computed operand.

    Raises:
        ArgumentError: a path does not fit its operands.
    """

    family: Family
    operands: tuple[Operand, ...]
    coupled: tuple[int, ...]
    paths: tuple[Path, ...]

    def __post_init__(self) -> None:
        """Refuses paths whose channels or components do not fit."""
        for number, path in enumerate(self.paths):
            for slot, (operand, index, channels) in enumerate(
                zip(self.operands, path.segments, path.channels, strict=True)
            ):
                segment, wanted = operand.segments[index], path.num_channels(channels)
                if segment.mul != wanted:
                    raise ArgumentError(
                        f"contraction: paths[{number}].channels[{slot}]: expected a segment of "
                        f"{wanted} channels for {channels!r}, got {segment.mul}"
                    )
            dims = [self.dims(path)[slot] for slot in self.coupled]
            if len(dims) == 2 and dims[0] != dims[1]:
                raise ArgumentError(
                    f"contraction: paths[{number}].segments: expected equal components, got {dims}"
                )

    def dims(self, path: Path) -> tuple[int, ...]:
        """Components of the path's segment in each operand."""
        return tuple(
            operand.segments[index].dim
            for operand, index in zip(self.operands, path.segments, strict=True)
        )

    def coupling(self, path: Path) -> NDArray[np.float64]:
        """The path's coupling tensor times its scale: float64, one axis per coupled operand."""
        dims = self.dims(path)
        return path.scale * coupling_tensor(tuple(dims[slot] for slot in self.coupled))


@lru_cache(maxsize=4096)
def coupling_tensor(dims: tuple[int, ...]) -> NDArray[np.float64]:
    """The invariant tensor of two or three irreps of the given dimensions.

    Args:
        dims: 2l+1 of each irrep.

    Returns:
        float64: the identity for two irreps, the real Wigner 3j symbol for three (norm 1, e3nn's
            basis and sign).
    """
    if len(dims) == 2:
        return np.eye(dims[0])
    l1, l2, l3 = ((dim - 1) // 2 for dim in dims)
    return wigner_3j(l1, l2, l3)
