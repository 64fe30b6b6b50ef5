"""e3nn's instructions of tensor products and linear layers, parsed.

In: tuples (i_in1, i_in2, i_out, mode, has_weight[, path_weight]). Out: `Instruction`s with the
shape of their weights. Refused: indices out of range, unknown modes, multiplicities that do not fit
a mode, and irreps that do not couple.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from e3nn.o3 import Irreps

from tvm_equi.errors import ArgumentError, ArgumentTypeError, unknown_choice


class Instruction(NamedTuple):
    """One path of a tensor product, with e3nn's field names.

    Args:
        i_in1: index into the irreps of the first input.
        i_in2: index into the irreps of the second input.
        i_out: index into the irreps of the output.
        connection_mode: which multiplicities are connected, e.g. "uvu".
        has_weight: whether weights multiply the path.
        path_weight: as given by the user, or, in a module, the final factor of the Wigner 3j
            symbol.
        path_shape: shape of the weights.
    """

    i_in1: int
    i_in2: int
    i_out: int
    connection_mode: str
    has_weight: bool
    path_weight: float
    path_shape: tuple[int, ...]


class Mode(NamedTuple):
    """What e3nn demands of a connection mode; u, v, w are the three multiplicities."""

    path_shape: Callable[[int, int, int], tuple[int, ...]]
    fits: Callable[[int, int, int], bool]
    demand: str
    needs_weight: bool = False


MODES: Mapping[str, Mode] = {
    "uvw": Mode(lambda u, v, w: (u, v, w), lambda u, v, w: True, "", needs_weight=True),
    "uvu": Mode(lambda u, v, w: (u, v), lambda u, v, w: u == w, "mul_out = mul_in1"),
    "uvv": Mode(lambda u, v, w: (u, v), lambda u, v, w: v == w, "mul_out = mul_in2"),
    "uuw": Mode(lambda u, v, w: (u, w), lambda u, v, w: u == v, "mul_in1 = mul_in2"),
    "uuu": Mode(lambda u, v, w: (u,), lambda u, v, w: u == v == w, "mul_in1 = mul_in2 = mul_out"),
    "uvuv": Mode(lambda u, v, w: (u, v), lambda u, v, w: u * v == w, "mul_out = mul_in1 * mul_in2"),
    "uvu<v": Mode(
        lambda u, v, w: (u * (u - 1) // 2,),
        lambda u, v, w: u == v and u * (u - 1) // 2 == w,
        "mul_in1 = mul_in2 and mul_out = mul_in1 * (mul_in1 - 1) / 2",
    ),
    "u<vw": Mode(
        lambda u, v, w: (u * (u - 1) // 2, w),
        lambda u, v, w: u == v,
        "mul_in1 = mul_in2",
        needs_weight=True,
    ),
}
"""Source: e3nn 0.6, o3/_tensor_product/_tensor_product.py (shapes) and _codegen.py (demands)."""


def parse_instructions(
    where: str, in1: Irreps, in2: Irreps, out: Irreps, instructions: Iterable[Sequence[Any]]
) -> list[Instruction]:
    """The instructions, checked, with `path_weight` as given.

    Args:
        where: the class.
        in1: irreps of the first input.
        in2: irreps of the second input.
        out: irreps of the output.
        instructions: e3nn's tuples.

    Raises:
        ArgumentError: an instruction that e3nn would refuse too.
        ArgumentTypeError: an entry that is no tuple, or whose fields have wrong types.
    """
    parsed = []
    for number, entry in enumerate(instructions):
        at = f"{where}: instructions[{number}]"
        i_in1, i_in2, i_out, mode, has_weight, path_weight = _fields(at, entry)
        for name, index, irreps in (
            ("i_in1", i_in1, in1),
            ("i_in2", i_in2, in2),
            ("i_out", i_out, out),
        ):
            _check_index(f"{at}.{name}", index, irreps)
        if mode not in MODES:
            raise ArgumentError(unknown_choice(where, f"instructions[{number}].mode", MODES, mode))
        _check_coupling(at, in1[i_in1].ir, in2[i_in2].ir, out[i_out].ir)
        muls = (in1[i_in1].mul, in2[i_in2].mul, out[i_out].mul)
        shape = MODES[mode].path_shape(*muls)
        _check_mode(at, mode, has_weight, muls, shape)
        parsed.append(Instruction(i_in1, i_in2, i_out, mode, has_weight, path_weight, shape))
    return parsed


def _fields(at: str, entry: Sequence[Any]) -> tuple[int, int, int, str, bool, float]:
    """The fields of one tuple, with the default path weight filled in."""
    expected = (
        f"{at}: expected (i_in1, i_in2, i_out, mode, has_weight[, path_weight]), got {entry!r}"
    )
    try:
        i_in1, i_in2, i_out, mode, has_weight, *rest = entry
        indices = [index.__index__() for index in (i_in1, i_in2, i_out)]
        path_weight = float(rest[0]) if rest else 1.0
    except (TypeError, AttributeError) as error:
        raise ArgumentTypeError(expected) from error
    except ValueError as error:
        raise ArgumentError(expected) from error
    if len(rest) > 1:
        raise ArgumentError(expected)
    if not path_weight >= 0:
        raise ArgumentError(f"{at}.path_weight: expected a number >= 0, got {path_weight}")
    return indices[0], indices[1], indices[2], mode, bool(has_weight), path_weight


def _check_index(at: str, index: int, irreps: Irreps) -> None:
    """Refuses an index that the irreps do not have; a negative one does not count from the end."""
    if not 0 <= index < len(irreps):
        raise ArgumentError(
            f"{at}: expected 0 <= index < {len(irreps)} for irreps {irreps}, got {index}"
        )


def _check_coupling(at: str, ir1: Any, ir2: Any, ir_out: Any) -> None:
    """Refuses irreps that parity or the triangle inequality forbids."""
    allowed = list(ir1 * ir2)
    if ir_out not in allowed:
        listed = ", ".join(str(ir) for ir in allowed)
        raise ArgumentError(
            f"{at}: expected an output irrep of {ir1} x {ir2}, one of {listed}, got {ir_out}"
        )


def _check_mode(
    at: str, mode: str, has_weight: bool, muls: tuple[int, int, int], shape: tuple[int, ...]
) -> None:
    """Refuses multiplicities that do not fit a mode; as e3nn, not of a path without channels."""
    u, v, w = muls
    facts = MODES[mode]
    if facts.needs_weight and not has_weight:
        raise ArgumentError(f"{at}.has_weight: expected True for mode {mode!r}, got False")
    if 0 in shape and "<" not in mode:
        return
    if not facts.fits(u, v, w):
        raise ArgumentError(
            f"{at}: expected {facts.demand} for mode {mode!r}, "
            f"got mul_in1={u}, mul_in2={v}, mul_out={w}"
        )
    if mode == "uuw" and not has_weight and w != 1:
        raise ArgumentError(f"{at}: expected mul_out = 1 for mode 'uuw' without weights, got {w}")


BIAS = -1
"""`i_in` of the instruction that adds a bias."""


class LinearInstruction(NamedTuple):
    """One path of a linear layer, with e3nn's field names.

    Args:
        i_in: index into the irreps of the input, `BIAS` for a bias.
        i_out: index into the irreps of the output.
        path_shape: shape of the weights.
        path_weight: factor of the weights.
    """

    i_in: int
    i_out: int
    path_shape: tuple[int, ...]
    path_weight: float


def parse_pairs(
    where: str, first: Irreps, last: Irreps, instructions: Iterable[Sequence[int]] | None
) -> list[tuple[int, int]]:
    """(i_in, i_out) of each path of a linear layer; None for every pair of equal irreps.

    Raises:
        ArgumentError: an index out of range, or a pair of different irreps.
        ArgumentTypeError: an entry that is no pair of integers.
    """
    if instructions is None:
        return [
            (i, k)
            for i, (_, ir_in) in enumerate(first)
            for k, (_, ir_out) in enumerate(last)
            if ir_in == ir_out
        ]
    pairs = []
    for number, entry in enumerate(instructions):
        at = f"{where}: instructions[{number}]"
        try:
            i, k = (index.__index__() for index in entry)
        except (TypeError, AttributeError) as error:
            raise ArgumentTypeError(f"{at}: expected (i_in, i_out), got {entry!r}") from error
        except ValueError as error:
            raise ArgumentError(f"{at}: expected (i_in, i_out), got {entry!r}") from error
        _check_index(f"{at}.i_in", i, first)
        _check_index(f"{at}.i_out", k, last)
        if first[i].ir != last[k].ir:
            raise ArgumentError(
                f"{at}: expected equal irreps of input and output, "
                f"got {first[i].ir} and {last[k].ir}"
            )
        pairs.append((i, k))
    return pairs


def parse_biases(
    where: str, irreps: Irreps, biases: bool | Sequence[bool] | None
) -> Sequence[bool]:
    """Whether each irrep of a linear layer's output has a bias; True for all scalars.

    Raises:
        ArgumentError: a wrong number of entries, or a bias of what is no scalar.
        ArgumentTypeError: no list.
    """
    if biases is None or isinstance(biases, bool):
        return [bool(biases) and ir.is_scalar() for _, ir in irreps]
    if not isinstance(biases, Sequence):
        raise ArgumentTypeError(f"{where}: biases: expected a list of bool, got {biases!r}")
    if len(biases) != len(irreps):
        raise ArgumentError(
            f"{where}: biases: expected {len(irreps)} entries, one per irrep of {irreps}, "
            f"got {len(biases)}"
        )
    for number, (has_bias, (_, ir)) in enumerate(zip(biases, irreps, strict=True)):
        if has_bias and not ir.is_scalar():
            raise ArgumentError(
                f"{where}: biases[{number}]: expected False for {ir}, as only 0e is invariant, "
                "got True"
            )
    return biases
