"""e3nn's path coefficients: each normalisation of its tensor product and linear layer, once.

In: irreps as (multiplicity, degree) pairs and index tuples. Out: one factor per instruction, root
taken, equal to e3nn's `instruction.path_weight`. Refused: unknown normalisations and modes, indices
out of range, variances that do not match the irreps, and a negative factor under the root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from math import sqrt
from typing import Literal, TypeAlias

from tvm_equi.errors import ArgumentError, unknown_choice

Irreps: TypeAlias = Sequence[tuple[int, int]]
TensorProductInstruction: TypeAlias = tuple[int, int, int, str, bool, float]
IrrepNormalization: TypeAlias = Literal["component", "norm", "none"]
PathNormalization: TypeAlias = Literal["element", "path", "none"]

NUM_SUMMED: Mapping[str, Callable[[int, int], int]] = {
    "uvw": lambda u, v: u * v,
    "uvu": lambda u, v: v,
    "uvv": lambda u, v: u,
    "uuw": lambda u, v: u,
    "uuu": lambda u, v: 1,
    "uvuv": lambda u, v: 1,
    "uvu<v": lambda u, v: 1,
    "u<vw": lambda u, v: u * (v - 1) // 2,
}
"""The channel products that e3nn counts in one output channel, by mode, from multiplicities u, v.

Source: e3nn 0.6, o3/_tensor_product/_tensor_product.py, `num_elements`.
"""

_DIM_FACTOR: Mapping[str, Callable[[int, int, int], int]] = {
    "component": lambda d1, d2, d3: d3,
    "norm": lambda d1, d2, d3: d1 * d2,
    "none": lambda d1, d2, d3: 1,
}
"""What `irrep_normalization` puts into a squared coefficient, from the three irreps' dimensions."""


def tensor_product_coefficients(
    in1: Irreps,
    in2: Irreps,
    out: Irreps,
    instructions: Sequence[TensorProductInstruction],
    *,
    in1_var: Sequence[float] | None = None,
    in2_var: Sequence[float] | None = None,
    out_var: Sequence[float] | None = None,
    irrep_normalization: IrrepNormalization = "component",
    path_normalization: PathNormalization = "element",
) -> tuple[float, ...]:
    """The factor of the Wigner 3j symbol on each path of a tensor product.

    Args:
        in1: (multiplicity, degree) of each irrep of the first input.
        in2: the same for the second input.
        out: the same for the output.
        instructions: (i_in1, i_in2, i_out, mode, has_weight, path_weight) for each path.
        in1_var: variance of each irrep of the first input; None for all 1.
        in2_var: the same for the second input.
        out_var: wanted variance of each irrep of the output; None for all 1.
        irrep_normalization: "component" where each component has unit variance, "norm" where each
            irrep has unit norm.
        path_normalization: "element" divides an output by all its terms, "path" each path by its
            own terms and by the number of paths.

    Returns:
        One coefficient per instruction.

    Raises:
        ArgumentError: an unknown normalisation or mode, an index out of range, variances of a wrong
            length, or a negative product of variances and path weight.

    Source:
        e3nn 0.6, o3/_tensor_product/_tensor_product.py, `TensorProduct.__init__`.

    Example:
        >>> paths = [(0, 0, 0, "uvu", True, 1.0)]
        >>> tensor_product_coefficients(
        ...     [(2, 1)], [(1, 1)], [(2, 0)], paths, irrep_normalization="norm"
        ... )
        (3.0,)
    """
    where = "tensor_product_coefficients"
    _check_choice(where, "irrep_normalization", _DIM_FACTOR, irrep_normalization)
    _check_choice(where, "path_normalization", ("element", "path", "none"), path_normalization)
    var1 = _variances(where, "in1_var", in1_var, len(in1))
    var2 = _variances(where, "in2_var", in2_var, len(in2))
    var3 = _variances(where, "out_var", out_var, len(out))

    terms, factors = [], []
    for number, (i, j, k, mode, _, path_weight) in enumerate(instructions):
        at = f"instructions[{number}]"
        for name, index, irreps in (("i_in1", i, in1), ("i_in2", j, in2), ("i_out", k, out)):
            _check_index(where, f"{at}.{name}", index, len(irreps))
        _check_choice(where, f"{at}.mode", NUM_SUMMED, mode)
        terms.append(var1[i] * var2[j] * NUM_SUMMED[mode](in1[i][0], in2[j][0]))
        dims = (2 * irreps[index][1] + 1 for irreps, index in ((in1, i), (in2, j), (out, k)))
        factors.append(_DIM_FACTOR[irrep_normalization](*dims) * var3[k] * path_weight)
    targets = [instruction[2] for instruction in instructions]
    return _roots(where, factors, _divisors(terms, targets, path_normalization))


def linear_coefficients(
    irreps_in: Irreps,
    irreps_out: Irreps,
    instructions: Sequence[tuple[int, int]],
    *,
    path_normalization: Literal["element", "path"] = "element",
) -> tuple[float, ...]:
    """The factor of the weights on each path of an equivariant linear layer.

    Args:
        irreps_in: (multiplicity, degree) of each irrep of the input.
        irreps_out: the same for the output.
        instructions: (i_in, i_out) for each path; biases are not among them.
        path_normalization: as in `tensor_product_coefficients`.

    Returns:
        One coefficient per instruction.

    Raises:
        ArgumentError: an unknown normalisation, or an index out of range.

    Source:
        e3nn 0.6, o3/_linear.py, `Linear.__init__`.

    Example:
        >>> linear_coefficients([(3, 0), (13, 0)], [(2, 0)], [(0, 0), (1, 0)])
        (0.25, 0.25)
    """
    where = "linear_coefficients"
    _check_choice(where, "path_normalization", ("element", "path"), path_normalization)
    for number, (i, k) in enumerate(instructions):
        _check_index(where, f"instructions[{number}].i_in", i, len(irreps_in))
        _check_index(where, f"instructions[{number}].i_out", k, len(irreps_out))
    terms = [float(irreps_in[i][0]) for i, _ in instructions]
    divisors = _divisors(terms, [k for _, k in instructions], path_normalization)
    return _roots(where, [1.0] * len(terms), divisors)


def _divisors(
    terms: Sequence[float], targets: Sequence[int], path_normalization: PathNormalization
) -> list[float]:
    """What each path's squared coefficient is divided by; 1 where there is nothing to sum."""
    if path_normalization == "none":
        return [1.0] * len(terms)
    num_paths = Counter(targets)
    totals = dict.fromkeys(targets, 0.0)
    for term, target in zip(terms, targets, strict=True):
        totals[target] += term
    divisors = [
        totals[target] if path_normalization == "element" else term * num_paths[target]
        for term, target in zip(terms, targets, strict=True)
    ]
    return [divisor if divisor > 0 else 1.0 for divisor in divisors]


def _roots(where: str, factors: Sequence[float], divisors: Sequence[float]) -> tuple[float, ...]:
    """The coefficients; refuses a square that is negative."""
    for number, factor in enumerate(factors):
        if factor < 0:
            raise ArgumentError(
                f"{where}: instructions[{number}].path_weight: expected "
                f"out_var * path_weight >= 0, got a factor of {factor:g}"
            )
    return tuple(sqrt(factor / div) for factor, div in zip(factors, divisors, strict=True))


def _variances(
    where: str, argument: str, variances: Sequence[float] | None, num_irreps: int
) -> tuple[float, ...]:
    """One variance per irrep; 1 where none are given."""
    if variances is None:
        return (1.0,) * num_irreps
    if len(variances) != num_irreps:
        raise ArgumentError(
            f"{where}: {argument}: expected {num_irreps} variances, one per irrep, "
            f"got {len(variances)}"
        )
    return tuple(float(variance) for variance in variances)


def _check_choice(where: str, argument: str, choices: Collection[str], got: str) -> None:
    """Refuses a value outside a closed set."""
    if got not in choices:
        raise ArgumentError(unknown_choice(where, argument, choices, got))


def _check_index(where: str, argument: str, index: int, size: int) -> None:
    """Refuses an index that the irreps do not have; a negative one does not count from the end."""
    if not 0 <= index < size:
        raise ArgumentError(f"{where}: {argument}: expected 0 <= index < {size}, got {index}")
