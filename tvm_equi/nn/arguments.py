"""Checks of what users pass to the modules.

In: arguments of constructors and of `forward`. Out: the same, parsed. Each refusal is an
`ArgumentError` or `ArgumentTypeError` that names the argument, what was expected and what came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from e3nn.o3 import Irrep, Irreps

from tvm_equi.algebra.contraction import LAYOUTS, Layout
from tvm_equi.errors import ArgumentError, ArgumentTypeError, unknown_choice
from tvm_equi.runtime.devices import DEVICE_TYPES, is_on_gpu
from tvm_equi.runtime.kernels import DTYPES, GPU_DTYPES

Choice = TypeVar("Choice", bound=str)

Batch = Sequence[int]
"""Sizes of the leading dimensions."""


def parse_irreps(where: str, argument: str, value: object) -> Irreps:
    """The `e3nn.o3.Irreps` that a string, a list or irreps name.

    Raises:
        ArgumentError: the text or list is not made of irreps.
        ArgumentTypeError: the value can not be irreps.

    Example:
        >>> parse_irreps("Linear", "irreps_in", "8x0e + 4x1o")
        8x0e+4x1o
    """
    message = f"{where}: {argument}: expected irreps such as '8x0e + 4x1o', got {value!r}"
    try:
        return Irreps(value)
    except (ValueError, AssertionError) as error:
        raise ArgumentError(message) from error
    except (TypeError, AttributeError) as error:
        raise ArgumentTypeError(message) from error


def parse_filter(where: str, value: Iterable[object] | None) -> list[Irrep] | None:
    """The irreps that `filter_ir_out` keeps; None for all.

    Raises:
        ArgumentError: an entry is not an irrep.
        ArgumentTypeError: the value is no list of irreps.
    """
    if value is None:
        return None
    message = (
        f"{where}: filter_ir_out: expected a list of irreps such as ['0e', '1o'], got {value!r}"
    )
    try:
        return [Irrep(ir) for ir in value]
    except (ValueError, AssertionError) as error:
        raise ArgumentError(message) from error
    except (TypeError, AttributeError) as error:
        raise ArgumentTypeError(message) from error


def degrees(irreps: Irreps) -> tuple[tuple[int, int], ...]:
    """(multiplicity, degree) of each irrep."""
    return tuple((mul, ir.l) for mul, ir in irreps)


def parse_choice(where: str, argument: str, choices: Sequence[Choice], value: object) -> Choice:
    """The value, if it is one of a closed set.

    Raises:
        ArgumentError: it is none of the choices.
    """
    for choice in choices:
        if value == choice:
            return choice
    raise ArgumentError(unknown_choice(where, argument, choices, value))


def parse_layout(where: str, layout: str) -> Layout:
    """The layout, if it is one.

    Raises:
        ArgumentError: it is not.
    """
    return parse_choice(where, "layout", LAYOUTS, layout)


def parse_features(where: str, f_in: int | None, f_out: int | None) -> tuple[int, ...]:
    """(f_in, f_out) of a linear layer, or () where neither is given.

    Raises:
        ArgumentError: only one is given, or one is negative.
        ArgumentTypeError: one is no integer.
    """
    if (f_in is None) != (f_out is None):
        missing, given = ("f_in", "f_out") if f_in is None else ("f_out", "f_in")
        raise ArgumentError(
            f"{where}: {missing}: expected a number where {given} is given, got None"
        )
    if f_in is None or f_out is None:
        return ()
    for argument, size in (("f_in", f_in), ("f_out", f_out)):
        if not isinstance(size, int):
            raise ArgumentTypeError(f"{where}: {argument}: expected an integer, got {size!r}")
        if size < 0:
            raise ArgumentError(f"{where}: {argument}: expected a number >= 0, got {size}")
    return f_in, f_out


def parse_variances(where: str, argument: str, value: object, irreps: Irreps) -> list[float]:
    """One variance per irrep; 1 where none are given.

    Raises:
        ArgumentError: their number is not that of the irreps, or one is negative.
        ArgumentTypeError: the value is no list of numbers.
    """
    if value is None:
        return [1.0] * len(irreps)
    expected = (
        f"{where}: {argument}: expected {len(irreps)} variances >= 0, one per irrep of {irreps}"
    )
    if not isinstance(value, Iterable):
        raise ArgumentTypeError(f"{expected}, got {value!r}")
    try:
        variances = [float(variance) for variance in value]
    except TypeError as error:
        raise ArgumentTypeError(f"{expected}, got {value!r}") from error
    if len(variances) != len(irreps) or not all(variance >= 0 for variance in variances):
        raise ArgumentError(f"{expected}, got {variances}")
    return variances


def resolve_weight_flags(
    where: str, internal_weights: bool | None, shared_weights: bool | None, *, default: bool
) -> tuple[bool, bool]:
    """(internal_weights, shared_weights) with e3nn's defaults filled in.

    Args:
        where: the class.
        internal_weights: as given.
        shared_weights: as given.
        default: `internal_weights` of a module with shared weights that does not say.

    Raises:
        ArgumentError: internal weights that are not shared.
    """
    shared = shared_weights is None or bool(shared_weights)
    if internal_weights is None:
        internal_weights = shared and default
    if internal_weights and not shared:
        raise ArgumentError(
            f"{where}: shared_weights: expected True where internal_weights is True, got False; "
            "pass internal_weights=False and the weights of each row to forward"
        )
    return bool(internal_weights), shared


def check_operand(
    where: str, argument: str, tensor: torch.Tensor, columns: int, like: torch.Tensor
) -> torch.Tensor:
    """The tensor, if a kernel can take it.

    Args:
        where: the class.
        argument: the name of the tensor.
        tensor: what came.
        columns: wanted last dimension.
        like: the first operand, which has been checked; its dtype is wanted.

    Raises:
        ArgumentError: a wrong device or last dimension.
        ArgumentTypeError: no tensor, or a wrong dtype.
    """
    if not isinstance(tensor, torch.Tensor):
        raise ArgumentTypeError(
            f"{where}: {argument}: expected a tensor, got {type(tensor).__name__}"
        )
    dtype = tensor.dtype
    if dtype not in DTYPES and not (dtype in GPU_DTYPES and is_on_gpu(tensor)):
        raise ArgumentTypeError(
            f"{where}: {argument}: expected float32 or float64, got {_name(dtype)}; "
            "cast with .float() or .double()"
        )
    if tensor is not like and dtype != like.dtype:
        raise ArgumentTypeError(
            f"{where}: {argument}: expected {_name(like.dtype)} as the first input has, "
            f"got {_name(dtype)}; cast with .to(torch.{_name(like.dtype)})"
        )
    if tensor.device != like.device or tensor.device.type not in DEVICE_TYPES:
        wanted = "the CPU or a CUDA device" if tensor is like else str(like.device)
        raise ArgumentError(
            f"{where}: {argument}: expected a tensor on {wanted}, "
            f"got one on {str(tensor.device)!r}; move the module and its inputs to one device"
        )
    if tensor.shape[-1:] != (columns,):
        raise ArgumentError(
            f"{where}: {argument}: expected shape [..., {columns}], got {list(tensor.shape)}"
        )
    return tensor


def _name(dtype: torch.dtype) -> str:
    """A dtype as users write it."""
    return str(dtype).removeprefix("torch.")


def broadcast_batch(where: str, batches: Sequence[tuple[str, Batch]]) -> Batch:
    """The leading dimensions of the result, by torch's broadcasting rules.

    Args:
        where: the class.
        batches: name and leading dimensions of each operand.

    Raises:
        ArgumentError: they do not broadcast.
    """
    sizes: list[int] = []
    for axis in range(1, max(len(batch) for _, batch in batches) + 1):
        size = 1
        for argument, batch in batches:
            if len(batch) < axis or batch[-axis] == 1 or batch[-axis] == size:
                continue
            if size != 1:
                shapes = ", ".join(f"{name} {list(shape)}" for name, shape in batches)
                raise ArgumentError(
                    f"{where}: {argument}: expected leading dimensions that broadcast, got {shapes}"
                )
            size = batch[-axis]
        sizes.append(size)
    return tuple(reversed(sizes))


def flatten_rows(tensor: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The tensor as [rows, columns], its leading dimensions expanded to `batch`."""
    columns = tensor.shape[-1]
    if len(batch) == 1 and tensor.shape[:-1] == batch:
        return tensor
    rows = 1
    for size in batch:
        rows *= size
    return tensor.expand(*batch, columns).reshape(rows, columns)
