"""Operations on invariants, and the norm that makes them.

In: types. Out: types, by one rule per operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tvm_equi.errors import GraphError
from tvm_equi.graph.operations.checks import (
    expect_count,
    expect_rows,
    expect_same_dtype,
    expect_scalars,
    expect_value,
)
from tvm_equi.graph.types import Irrep, Type, ValueType, format_irreps
from tvm_equi.graph.types import IrrepsText as Irreps

ScalarFunction = Literal["identity", "silu", "tanh", "sigmoid", "relu", "abs"]

SECOND_MOMENT_SCALES: dict[ScalarFunction, float] = {
    "identity": 1.0,
    "silu": 1.6791767923989418,
    "tanh": 1.5937334472592695,
    "sigmoid": 1.8467055342154763,
    "relu": 1.4163393446331365,
    "abs": 1.001110600838467,
}
"""What makes the second moment of f(z), z normal, 1.

Source: e3nn 0.6, math/_normalize_activation.py, `normalize2mom`: its estimate from 1e6 fixed
samples.
"""

ODD_FUNCTIONS = frozenset({"identity", "tanh"})
EVEN_FUNCTIONS = frozenset({"abs"})


@dataclass(frozen=True, slots=True)
class Norm:
    """The length of every channel's irrep."""

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """One invariant per channel."""
        expect_count(inputs, ("x",))
        value = expect_value("x", inputs[0])
        lengths = tuple(Irrep(irrep.mul, 0, 1) for irrep in value.segments)
        return replace(value, irreps=format_irreps(lengths))


@dataclass(frozen=True, slots=True)
class RadialBasis:
    """Bessel functions of a length times a polynomial cutoff, zero beyond it.

    Args:
        num: of functions, sqrt(2 / cutoff) sin(n pi r / cutoff) / r for n = 1 .. num.
        cutoff: where they end, in the unit of the length.
        power: p of the cutoff polynomial, at least 2 for forces that end smoothly.

    Raises:
        GraphError: a value that is not positive.

    Source:
        Gasteiger, Gross, Guennemann, Directional Message Passing (2020), equations 7 and 8.
    """

    num: int
    cutoff: float
    power: int = 6

    def __post_init__(self) -> None:
        """Refuses numbers that are not positive."""
        for name, value in (("num", self.num), ("cutoff", self.cutoff), ("power", self.power)):
            if value <= 0:
                raise GraphError(f"{name}: expected more than 0, got {value}")

    @property
    def polynomial(self) -> tuple[float, float, float]:
        """Factors of (r/cutoff) to the powers p, p + 1 and p + 2; the constant term is 1."""
        return cutoff_polynomial(self.power)

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """`num` invariants per length."""
        expect_count(inputs, ("length",))
        value = expect_value("length", inputs[0])
        expect_scalars("length", value, 1)
        return replace(value, irreps=Irreps(f"{self.num}x0e"))


@dataclass(frozen=True, slots=True)
class Cutoff:
    """A polynomial of a length that falls from 1 at zero to 0 at the cutoff, and is 0 beyond it.

    Args:
        cutoff: where it ends, in the unit of the length.
        power: p of the polynomial, at least 2 for forces that end smoothly.

    Raises:
        GraphError: a value that is not positive.

    Source:
        Gasteiger, Gross, Guennemann, Directional Message Passing (2020), equation 8.
    """

    cutoff: float
    power: int = 6

    def __post_init__(self) -> None:
        """Refuses numbers that are not positive."""
        for name, value in (("cutoff", self.cutoff), ("power", self.power)):
            if value <= 0:
                raise GraphError(f"{name}: expected more than 0, got {value}")

    @property
    def polynomial(self) -> tuple[float, float, float]:
        """Factors of (r/cutoff) to the powers p, p + 1 and p + 2; the constant term is 1."""
        return cutoff_polynomial(self.power)

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """One invariant per length."""
        expect_count(inputs, ("length",))
        value = expect_value("length", inputs[0])
        expect_scalars("length", value, 1)
        return value


def cutoff_polynomial(power: int) -> tuple[float, float, float]:
    """Factors of u to the powers p, p + 1 and p + 2 in a polynomial from 1 (u = 0) to 0 (u = 1).

    Args:
        power: p.
    """
    p = power
    return -(p + 1) * (p + 2) / 2.0, float(p * (p + 2)), -p * (p + 1) / 2.0


@dataclass(frozen=True, slots=True)
class Activation:
    """One scalar function per segment.

    Args:
        functions: by name.
        factors: of the functions, e.g. from `SECOND_MOMENT_SCALES`.
    """

    functions: tuple[ScalarFunction, ...]
    factors: tuple[float, ...]

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """Scalars; an even function of odd ones gives even ones.

        Raises:
            GraphError: the number of functions or factors is not that of segments, a segment is no
                scalar, or a function of an odd scalar is neither even nor odd.
        """
        expect_count(inputs, ("x",))
        value = expect_value("x", inputs[0])
        for name, given in (("functions", self.functions), ("factors", self.factors)):
            if len(given) != len(value.segments):
                raise GraphError(
                    f"{name}: expected {len(value.segments)}, one per segment, got {len(given)}"
                )
        expect_scalars("x", value)
        out = []
        for number, (function, irrep) in enumerate(
            zip(self.functions, value.segments, strict=True)
        ):
            if function not in SECOND_MOMENT_SCALES:
                known = ", ".join(sorted(SECOND_MOMENT_SCALES))
                raise GraphError(f"functions[{number}]: expected one of {known}, got {function!r}")
            is_even = function in EVEN_FUNCTIONS
            if irrep.parity == -1 and not is_even and function not in ODD_FUNCTIONS:
                raise GraphError(
                    f"functions[{number}]: expected an even or odd function for odd scalars "
                    f"({irrep}), got {function!r}"
                )
            out.append(Irrep(irrep.mul, 0, 1 if is_even else irrep.parity))
        return replace(value, irreps=format_irreps(tuple(out)))


@dataclass(frozen=True, slots=True)
class ScalarMLP:
    """A perceptron on invariants, without biases: e3nn.nn.FullyConnectedNet.

    Args:
        sizes: of the input, the hidden layers and the output; layer n has sizes[n] * sizes[n + 1]
            weights.
        function: between layers.
        factor: of the function.
        columns: (start, end) ranges of the last layer's outputs that are computed; empty for all.

    Raises:
        GraphError: fewer than two sizes, a size below 1, or columns out of range.

    Source:
        e3nn 0.6, nn/_fc.py: weights are divided by the root of the number of a layer's inputs.
    """

    sizes: tuple[int, ...]
    function: ScalarFunction = "silu"
    factor: float = SECOND_MOMENT_SCALES["silu"]
    columns: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuses sizes and columns that are none."""
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise GraphError(f"sizes: expected two or more, each at least 1, got {self.sizes}")
        if self.function not in SECOND_MOMENT_SCALES:
            known = ", ".join(sorted(SECOND_MOMENT_SCALES))
            raise GraphError(f"function: expected one of {known}, got {self.function!r}")
        for start, end in self.columns:
            if not 0 <= start < end <= self.sizes[-1]:
                raise GraphError(
                    f"columns: expected ranges within 0 .. {self.sizes[-1]}, got {start}, {end}"
                )

    @property
    def num_columns(self) -> int:
        """Outputs that are computed."""
        return sum(end - start for start, end in self.columns) if self.columns else self.sizes[-1]

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """Invariants."""
        names = ["x", *(f"w{number}" for number in range(len(self.sizes) - 1))]
        expect_count(inputs, names)
        values = [expect_value(name, value) for name, value in zip(names, inputs, strict=True)]
        expect_scalars("x", values[0], self.sizes[0])
        for number, weights in enumerate(values[1:]):
            expect_rows(names[number + 1], weights, "shared")
            expect_scalars(names[number + 1], weights, self.sizes[number] * self.sizes[number + 1])
        expect_same_dtype(names, values)
        return replace(values[0], irreps=Irreps(f"{self.num_columns}x0e"))
