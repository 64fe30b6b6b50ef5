"""Operations that do arithmetic on irreps: tensor products, linear layers, spherical harmonics.

In: types. Out: types, by one rule per operation. Refused: instructions whose irreps or
multiplicities do not fit. An instruction that parity or the triangle rule forbids has no invariant
tensor, so it contributes zero; the pass `prune` removes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Literal, NamedTuple, get_args

from tvm_equi.algebra.contraction import Layout
from tvm_equi.algebra.products import WEIGHT_CHANNELS, Instruction, WeightRows
from tvm_equi.errors import GraphError, unknown_choice
from tvm_equi.graph.operations.checks import (
    expect_count,
    expect_irreps,
    expect_layout,
    expect_rows,
    expect_same_dtype,
    expect_scalars,
    expect_value,
)
from tvm_equi.graph.types import Irrep, Type, ValueType, format_irreps, parse_irreps
from tvm_equi.graph.types import IrrepsText as Irreps

WEIGHT_ROWS: tuple[WeightRows, ...] = get_args(WeightRows)
Normalization = Literal["integral", "component", "norm"]

_MULTIPLICITIES: Mapping[str, str] = {
    "uvw": "any multiplicities",
    "uvu": "mul_in1 = mul_out",
    "uvv": "mul_in2 = mul_out",
    "uuw": "mul_in1 = mul_in2 (and, without weights, mul_out = 1)",
    "uuu": "mul_in1 = mul_in2 = mul_out",
    "uvuv": "mul_in1 * mul_in2 = mul_out",
    "uvu<v": "mul_in1 = mul_in2 and mul_in1 * (mul_in1 - 1) / 2 = mul_out",
    "u<vw": "mul_in1 = mul_in2",
}
"""What each mode asks of the multiplicities. Source: e3nn 0.6, o3/_tensor_product/_codegen.py."""

_NEEDS_WEIGHT = frozenset({"uvw", "u<vw"})


def multiplicities_fit(mode: str, u: int, v: int, w: int, has_weight: bool) -> bool:
    """Whether a connection mode can couple so many channels; as e3nn, any may be none."""
    if 0 in (u, v, w):
        return True
    fits = {
        "uvw": True,
        "uvu": u == w,
        "uvv": v == w,
        "uuw": u == v and (has_weight or w == 1),
        "uuu": u == v == w,
        "uvuv": u * v == w,
        "uvu<v": u == v and u * (u - 1) // 2 == w,
        "u<vw": u == v,
    }
    return fits[mode]


def num_weights(instruction: Instruction, u: int, v: int, w: int) -> int:
    """The number of weights of an instruction that couples so many channels."""
    if not instruction.has_weight:
        return 0
    count = 1
    for letter in WEIGHT_CHANNELS[instruction.mode].replace("u<v", "p"):
        count *= {"u": u, "v": v, "w": w, "p": u * (u - 1) // 2}[letter]
    return count


def is_allowed(left: Irrep, right: Irrep, out: Irrep) -> bool:
    """Whether O(3) has an invariant tensor of three irreps: parity and the triangle rule."""
    fits_triangle = abs(left.degree - right.degree) <= out.degree <= left.degree + right.degree
    return fits_triangle and left.parity * right.parity == out.parity


class PathIrreps(NamedTuple):
    """The three irreps that an instruction couples."""

    left: Irrep
    right: Irrep
    out: Irrep


@dataclass(frozen=True, slots=True)
class TensorProduct:
    """A bilinear product of two values: e3nn.o3.TensorProduct.

    Args:
        irreps_in1: of x.
        irreps_in2: of y.
        irreps_out: of the output.
        instructions: the paths, with their final coefficients.
        weights: "row" for one set of weights per row, "shared" for one in all, "none".
        layout: of x, y and the output.
    """

    irreps_in1: Irreps
    irreps_in2: Irreps
    irreps_out: Irreps
    instructions: tuple[Instruction, ...]
    weights: WeightRows = "none"
    layout: Layout = "mul_ir"

    def irreps_of(self, instruction: Instruction) -> PathIrreps:
        """The irreps that an instruction couples."""
        return PathIrreps(
            parse_irreps(self.irreps_in1)[instruction.i_in1],
            parse_irreps(self.irreps_in2)[instruction.i_in2],
            parse_irreps(self.irreps_out)[instruction.i_out],
        )

    def weight_sizes(self) -> tuple[int, ...]:
        """The number of weights of each instruction."""
        muls = (
            tuple(irrep.mul for irrep in self.irreps_of(instruction))
            for instruction in self.instructions
        )
        return tuple(
            num_weights(instruction, *mul)
            for instruction, mul in zip(self.instructions, muls, strict=True)
        )

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """The product's type.

        Raises:
            GraphError: an instruction does not fit, or weights are missing or given twice.
        """
        self.check()
        names = ("x", "y") if self.weights == "none" else ("x", "y", "w")
        expect_count(inputs, names)
        values = [expect_value(name, value) for name, value in zip(names, inputs, strict=True)]
        for name, value, irreps in zip(
            "xy", values, (self.irreps_in1, self.irreps_in2), strict=False
        ):
            expect_irreps(name, value, irreps)
            expect_layout(name, value, self.layout)
        if values[0].rows == "shared":
            raise GraphError("x: expected a value with rows, got a shared one")
        expect_rows("y", values[1], values[0].rows)
        if len(values) == 3:
            expect_rows("w", values[2], "shared" if self.weights == "shared" else values[0].rows)
            expect_scalars("w", values[2], sum(self.weight_sizes()))
        expect_same_dtype(names, values)
        return ValueType(self.irreps_out, values[0].rows, self.layout, values[0].dtype)

    def check(self) -> None:
        """Refuses instructions that do not fit the irreps.

        Raises:
            GraphError: naming the instruction and its field.
        """
        irreps = (self.irreps_in1, self.irreps_in2, self.irreps_out)
        for number, ins in enumerate(self.instructions):
            at = f"instructions[{number}]"
            for name, index, text in zip(
                ("i_in1", "i_in2", "i_out"), (ins.i_in1, ins.i_in2, ins.i_out), irreps, strict=True
            ):
                _check_index(f"{at}.{name}", index, text)
            if ins.mode not in _MULTIPLICITIES:
                message = unknown_choice(at, "mode", _MULTIPLICITIES, ins.mode)
                raise GraphError(message.replace(": mode", ".mode", 1))
            u, v, w = (irrep.mul for irrep in self.irreps_of(ins))
            if not ins.has_weight and ins.mode in _NEEDS_WEIGHT:
                raise GraphError(f"{at}.has_weight: expected true for mode {ins.mode!r}, got false")
            if not multiplicities_fit(ins.mode, u, v, w, ins.has_weight):
                raise GraphError(
                    f"{at}.mode: expected {_MULTIPLICITIES[ins.mode]} for {ins.mode!r}, "
                    f"got {u}, {v} and {w}"
                )
        has_weights = any(ins.has_weight for ins in self.instructions)
        if has_weights and self.weights == "none":
            raise GraphError(
                "weights: expected 'row' or 'shared' for instructions with weights, got 'none'"
            )
        if self.weights not in WEIGHT_ROWS:
            raise GraphError(f"weights: expected 'none', 'row' or 'shared', got {self.weights!r}")


class LinearPath(NamedTuple):
    """One path of a linear layer: out[i_out] += coefficient * x[i_in] @ weights."""

    i_in: int
    i_out: int
    coefficient: float


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear map of channels: e3nn.o3.Linear.

    Args:
        irreps_in: of x.
        irreps_out: of the output.
        paths: each has mul_in * mul_out weights, in this order.
        biases: segments of the output, all scalars, to which a bias is added.
        weights: "shared" for one set of weights, "row" for one per row.
        layout: of x and the output.
    """

    irreps_in: Irreps
    irreps_out: Irreps
    paths: tuple[LinearPath, ...]
    biases: tuple[int, ...] = ()
    weights: Literal["row", "shared"] = "shared"
    layout: Layout = "mul_ir"

    def weight_sizes(self) -> tuple[int, ...]:
        """The number of weights of each path."""
        left, out = parse_irreps(self.irreps_in), parse_irreps(self.irreps_out)
        return tuple(left[path.i_in].mul * out[path.i_out].mul for path in self.paths)

    def bias_sizes(self) -> tuple[int, ...]:
        """The number of biases of each segment in `biases`."""
        out = parse_irreps(self.irreps_out)
        return tuple(out[segment].mul for segment in self.biases)

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """The layer's type."""
        self._check_paths()
        names = ("x", "w", "b") if self.biases else ("x", "w")
        expect_count(inputs, names)
        values = [expect_value(name, value) for name, value in zip(names, inputs, strict=True)]
        x = values[0]
        expect_irreps("x", x, self.irreps_in)
        expect_layout("x", x, self.layout)
        if x.rows == "shared":
            raise GraphError("x: expected a value with rows, got a shared one")
        wanted_rows = "shared" if self.weights == "shared" else x.rows
        expect_rows("w", values[1], wanted_rows)
        expect_scalars("w", values[1], sum(self.weight_sizes()))
        if self.biases:
            expect_rows("b", values[2], wanted_rows)
            expect_scalars("b", values[2], sum(self.bias_sizes()))
        expect_same_dtype(names, values)
        return ValueType(self.irreps_out, x.rows, self.layout, x.dtype)

    def _check_paths(self) -> None:
        """Refuses paths between different irreps, and biases of what is no scalar.

        Raises:
            GraphError: naming the path and its field.
        """
        left, out = parse_irreps(self.irreps_in), parse_irreps(self.irreps_out)
        for number, path in enumerate(self.paths):
            _check_index(f"paths[{number}].i_in", path.i_in, self.irreps_in)
            _check_index(f"paths[{number}].i_out", path.i_out, self.irreps_out)
            if left[path.i_in].ir != out[path.i_out].ir:
                raise GraphError(
                    f"paths[{number}]: expected one irrep on both sides, "
                    f"got {left[path.i_in]} and {out[path.i_out]}"
                )
        for number, segment in enumerate(self.biases):
            _check_index(f"biases[{number}]", segment, self.irreps_out)
            if out[segment].ir != (0, 1):
                raise GraphError(f"biases[{number}]: expected even scalars, got {out[segment]}")


@dataclass(frozen=True, slots=True)
class SphericalHarmonics:
    """Real spherical harmonics of one vector per row: e3nn.o3.SphericalHarmonics.

    Args:
        degrees: l of each output segment, all of multiplicity 1.
        normalize: whether to use the vector's direction only; if not, degree l is a polynomial of
            degree l.
        normalization: "component" for norm sqrt(2l + 1), "norm" for 1, "integral" for sqrt((2l + 1)
            / 4 pi).

    Raises:
        GraphError: a negative degree, or an unknown normalization.
    """

    degrees: tuple[int, ...]
    normalize: bool = True
    normalization: Normalization = "component"

    def __post_init__(self) -> None:
        """Refuses degrees and normalizations that are none."""
        if any(degree < 0 for degree in self.degrees):
            raise GraphError(f"degrees: expected 0 or more, got {self.degrees}")
        if self.normalization not in get_args(Normalization):
            choices = get_args(Normalization)
            message = unknown_choice("", "normalization", choices, self.normalization)
            raise GraphError(message.removeprefix(": "))

    def pole_value(self, degree: int) -> float:
        """The middle component of a degree at the pole; all others are 0 there."""
        factors = {
            "component": sqrt(2 * degree + 1),
            "norm": 1.0,
            "integral": sqrt((2 * degree + 1) / (4 * pi)),
        }
        return factors[self.normalization]

    def infer(self, inputs: Sequence[Type]) -> ValueType:
        """One irrep per degree, of parity (-1)^l for a vector (1o), even for a pseudovector.

        Raises:
            GraphError: the input is not one vector per row.
        """
        expect_count(inputs, ("vectors",))
        value = expect_value("vectors", inputs[0])
        if value.irreps not in ("1x1o", "1x1e"):
            raise GraphError(f"vectors: expected irreps 1x1o or 1x1e, got {value.irreps}")
        if value.rows == "shared":
            raise GraphError("vectors: expected a value with rows, got a shared one")
        parity = value.segments[0].parity
        irreps = tuple(Irrep(1, degree, parity**degree) for degree in self.degrees)
        return ValueType(format_irreps(irreps), value.rows, "mul_ir", value.dtype)


def _check_index(argument: str, index: int, irreps: str) -> None:
    """Refuses an index that irreps do not have.

    Raises:
        GraphError: naming the argument.
    """
    size = len(parse_irreps(irreps))
    if not 0 <= index < size:
        raise GraphError(f"{argument}: expected 0 or more and below {size}, got {index}")
