"""Types of the values of a graph: irreps, what the rows count, layout and dtype.

In: irreps in e3nn's notation. Out: frozen types that compare, hash and print. Refused: irreps that
e3nn cannot read, unknown rows, layouts and dtypes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NewType, TypeAlias, get_args

from tvm_equi.algebra.contraction import LAYOUTS, Layout
from tvm_equi.errors import GraphError, unknown_choice

Rows = Literal["node", "edge", "graph", "shared"]
"""What the leading axis of a value counts; a shared value has no such axis."""

DType = Literal["float32", "float64"]
IrrepsText = NewType("IrrepsText", str)
"""Irreps in e3nn's notation, e.g. "64x0e+64x1o"; the order and repetition of irreps matter."""

ROWS: tuple[Rows, ...] = get_args(Rows)
DTYPES: tuple[DType, ...] = get_args(DType)


@dataclass(frozen=True, slots=True, order=True)
class Irrep:
    """Some channels of one irrep of O(3).

    Args:
        mul: the multiplicity.
        degree: l.
        parity: 1 (even, "e") or -1 (odd, "o").
    """

    mul: int
    degree: int
    parity: int

    @property
    def dim(self) -> int:
        """Components of all channels."""
        return self.mul * (2 * self.degree + 1)

    @property
    def ir(self) -> tuple[int, int]:
        """(degree, parity): what the irrep is, without its multiplicity."""
        return self.degree, self.parity

    def __str__(self) -> str:
        """e3nn's notation."""
        return f"{self.mul}x{self.degree}{'e' if self.parity == 1 else 'o'}"


ONE_IRREP = re.compile(r"(\d+)x(\d+)([eo])", re.ASCII)
CANONICAL = re.compile(r"(\d+x\d+[eo](\+\d+x\d+[eo])*)?", re.ASCII)
"""Texts that are read without e3nn, which imports torch: artifacts have no others."""


@lru_cache(maxsize=4096)
def parse_irreps(irreps: str) -> tuple[Irrep, ...]:
    """The irreps of a text in e3nn's notation, in order.

    Args:
        irreps: e.g. "64x0e + 1o".

    Raises:
        GraphError: e3nn cannot read the text.

    Example:
        >>> parse_irreps("2x0e + 1o")
        (Irrep(mul=2, degree=0, parity=1), Irrep(mul=1, degree=1, parity=-1))
    """
    if CANONICAL.fullmatch(irreps):
        terms = (ONE_IRREP.fullmatch(term) for term in irreps.split("+"))
        return tuple(
            Irrep(int(term[1]), int(term[2]), 1 if term[3] == "e" else -1) for term in terms if term
        )
    from e3nn.o3 import Irreps

    try:
        parsed = Irreps(irreps)
    except (ValueError, IndexError, TypeError) as error:
        raise GraphError(
            f"irreps: expected e3nn's notation such as '64x0e+64x1o', got {irreps!r}"
        ) from error
    return tuple(Irrep(int(item.mul), int(item.ir.l), int(item.ir.p)) for item in parsed)


def format_irreps(irreps: tuple[Irrep, ...]) -> IrrepsText:
    """The canonical text of irreps."""
    return IrrepsText("+".join(map(str, irreps)))


def canonical_irreps(irreps: object) -> IrrepsText:
    """The canonical text of irreps: every multiplicity written, no spaces.

    Args:
        irreps: a text, or e3nn's Irreps.

    Example:
        >>> canonical_irreps("2x0e + 1o")
        '2x0e+1x1o'
    """
    return format_irreps(parse_irreps(str(irreps)))


def simplify_irreps(irreps: str) -> IrrepsText:
    """The irreps with equal neighbours merged and empty ones left out, as e3nn's `simplify`.

    Args:
        irreps: canonical or not.

    Example:
        >>> simplify_irreps("2x0e+3x0e+1x1o")
        '5x0e+1x1o'
    """
    merged: list[Irrep] = []
    for irrep in parse_irreps(irreps):
        if merged and merged[-1].ir == irrep.ir:
            irrep = Irrep(merged.pop().mul + irrep.mul, irrep.degree, irrep.parity)
        if irrep.mul:
            merged.append(irrep)
    return format_irreps(tuple(merged))


def irreps_dim(irreps: str) -> int:
    """Components of one row."""
    return sum(item.dim for item in parse_irreps(irreps))


def is_layout_free(irreps: str) -> bool:
    """Whether both layouts of these irreps are the same: no irrep has channels and components."""
    return all(item.mul == 1 or item.degree == 0 for item in parse_irreps(irreps))


@dataclass(frozen=True, slots=True)
class ValueType:
    """The type of a value of floating-point numbers.

    Args:
        irreps: canonical text; see `canonical_irreps`.
        rows: what the leading axis counts.
        layout: "mul_ir" puts the components of a channel side by side, "ir_mul" the channels of a
            component.
        dtype: "float32" or "float64".

    Raises:
        GraphError: unknown rows, layout or dtype, or irreps that are not canonical.
    """

    irreps: IrrepsText
    rows: Rows
    layout: Layout = "mul_ir"
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        """Refuses values outside the closed sets."""
        check_choice("rows", ROWS, self.rows)
        check_choice("layout", LAYOUTS, self.layout)
        check_choice("dtype", DTYPES, self.dtype)
        if canonical_irreps(self.irreps) != self.irreps:
            raise GraphError(
                f"irreps: expected {canonical_irreps(self.irreps)!r}, got {self.irreps!r}; "
                "use canonical_irreps()"
            )

    @property
    def segments(self) -> tuple[Irrep, ...]:
        """The irreps in order."""
        return parse_irreps(self.irreps)

    @property
    def dim(self) -> int:
        """Components of one row."""
        return irreps_dim(self.irreps)

    @property
    def is_invariant(self) -> bool:
        """Whether the value has scalars only; others lose equivariance by low precision."""
        return all(item.degree == 0 for item in self.segments)

    def __str__(self) -> str:
        """E.g. "64x0e+64x1o [edge]"."""
        layout = "" if self.layout == "mul_ir" or is_layout_free(self.irreps) else f" {self.layout}"
        return f"{self.irreps} [{self.rows}]{layout}"


@dataclass(frozen=True, slots=True)
class IndexType:
    """The type of an index (int64): for each of `rows`, the number of one of `into`.

    Args:
        rows: what the leading axis counts.
        into: which rows the numbers name.

    Raises:
        GraphError: unknown rows, or "shared" ones.
    """

    rows: Rows
    into: Rows

    def __post_init__(self) -> None:
        """Refuses indices of or into values that have no rows."""
        for name, value in (("rows", self.rows), ("into", self.into)):
            check_choice(name, [rows for rows in ROWS if rows != "shared"], value)

    def __str__(self) -> str:
        """E.g. "index edge -> node"."""
        return f"index {self.rows} -> {self.into}"


Type: TypeAlias = ValueType | IndexType


def check_choice(argument: str, choices: list[Rows] | tuple[str, ...], value: object) -> None:
    """Refuses a value outside a closed set.

    Raises:
        GraphError: with the choices and the nearest spelling.
    """
    if value not in choices:
        text = unknown_choice("graph", argument, choices, value)
        raise GraphError(text.removeprefix("graph: "))
