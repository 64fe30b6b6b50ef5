"""numpy arrays as arguments of a program: checked against its signature, ordered by it.

In: arrays by position or name. Out: the arrays in the program's order, and the sizes that differ
from call to call. What needs no look at a call is worked out once. Refused, with the argument's
name: arrays that are missing, unknown, given twice, of another dtype or shape, or whose sizes
disagree with one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_equi.deploy.manifest import Value
from tvm_equi.errors import ArgumentError, ArgumentTypeError, ArtifactError

DTYPES = ("float16", "float32", "float64", "int32", "int64", "bool")
"""That numpy has; a program may have others, which it cannot be called with here."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What an argument must be.

    Args:
        dtype: of it.
        ndim: number of axes.
        fixed: (axis, size) pairs.
        named: (axis, number of the size) pairs.
    """

    dtype: np.dtype[Any]
    ndim: int
    fixed: tuple[tuple[int, int], ...]
    named: tuple[tuple[int, int], ...]


class Signature:
    """The arguments of a program.

    Args:
        where: names the program in errors.
        values: its inputs, in order.

    Raises:
        ArtifactError: numpy has no such dtype.
    """

    def __init__(self, where: str, values: Sequence[Value]) -> None:
        self.where = where
        self.values = tuple(values)
        self.names = tuple(value.name for value in values)
        sizes = {name: None for value in values for name in value.shape if isinstance(name, str)}
        self.sizes = tuple(sizes)
        self._rules = tuple(self._rule(value) for value in values)

    def _rule(self, value: Value) -> _Rule:
        axes = list(enumerate(value.shape))
        return _Rule(
            array_dtype(self.where, value),
            len(value.shape),
            tuple((axis, size) for axis, size in axes if isinstance(size, int)),
            tuple((axis, self.sizes.index(size)) for axis, size in axes if isinstance(size, str)),
        )

    def bind(
        self, args: Sequence[Any], named: Mapping[str, Any]
    ) -> tuple[Sequence[np.ndarray[Any, Any]], tuple[int, ...]]:
        """The arguments in order, and the sizes that they have.

        Args:
            args: given by position.
            named: given by name.

        Raises:
            ArgumentError: an argument is missing or unknown, or has another shape.
            ArgumentTypeError: one is no array, or has another dtype.
        """
        if named or len(args) != len(self._rules):
            args = self._ordered(args, named)
        sizes = [-1] * len(self.sizes)
        for index, (value, rule) in enumerate(zip(args, self._rules, strict=True)):
            if not isinstance(value, np.ndarray) or value.dtype != rule.dtype:
                raise self._wrong_type(index, value)
            shape = value.shape
            if len(shape) != rule.ndim:
                raise self._wrong_shape(index, shape, sizes, args)
            for axis, size in rule.fixed:
                if shape[axis] != size:
                    raise self._wrong_shape(index, shape, sizes, args)
            for axis, number in rule.named:
                if sizes[number] < 0:
                    sizes[number] = shape[axis]
                elif sizes[number] != shape[axis]:
                    raise self._wrong_shape(index, shape, sizes, args)
        return args, tuple(sizes)

    def _ordered(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """The arguments in order, however they were given."""
        wanted = ", ".join(self.names)
        if len(args) > len(self.names):
            raise ArgumentError(
                f"{self.where}: expected {len(self.names)} inputs ({wanted}), got {len(args)}"
            )
        given = dict(zip(self.names, args, strict=False))
        for name, value in named.items():
            if name not in self.names:
                raise ArgumentError(f"{self.where}: expected the inputs {wanted}, got {name!r} too")
            if name in given:
                raise ArgumentError(f"{self.where}: {name}: expected it once, got it twice")
            given[name] = value
        if missing := [name for name in self.names if name not in given]:
            raise ArgumentError(
                f"{self.where}: expected the inputs {wanted}, got no {', '.join(missing)}"
            )
        return [given[name] for name in self.names]

    def _wrong_type(self, index: int, value: object) -> ArgumentTypeError:
        wanted = self.values[index]
        where = f"{self.where}: {wanted.name}: expected a numpy array, {describe(wanted)}"
        if not isinstance(value, np.ndarray):
            advice = f"np.asarray(x, dtype={wanted.dtype!r}) makes one"
            return ArgumentTypeError(f"{where}, got {type(value).__name__}; {advice}")
        got = f"{value.dtype} {list(value.shape)}"
        return ArgumentTypeError(f"{where}, got {got}; cast it with .astype({wanted.dtype!r})")

    def _wrong_shape(
        self, index: int, shape: tuple[int, ...], sizes: Sequence[int], args: Sequence[Any]
    ) -> ArgumentError:
        """The error about a shape; says where the sizes come from that it does not fit."""
        wanted, known = self.values[index], dict(zip(self.sizes, sizes, strict=True))
        reasons = []
        if len(shape) == len(wanted.shape):
            for size, got in zip(wanted.shape, shape, strict=True):
                if isinstance(size, str) and known[size] >= 0 and known[size] != got:
                    reasons.append(f"; {size} is {known[size]} in {self._first_with(size)}")
        return ArgumentError(
            f"{self.where}: {wanted.name}: expected {describe(wanted)}, "
            f"got {wanted.dtype} {list(shape)}{''.join(dict.fromkeys(reasons))}"
        )

    def _first_with(self, size: str) -> str:
        """The name of the first input that has a size."""
        return next(value.name for value in self.values if size in value.shape)


def array_dtype(where: str, value: Value) -> np.dtype[Any]:
    """The dtype of an input's or output's array.

    Args:
        where: names the program in errors.
        value: of it.

    Raises:
        ArtifactError: numpy has no such dtype.
    """
    if value.dtype not in DTYPES:
        raise ArtifactError(
            f"{where}: {value.name}: expected a dtype of numpy's, got {value.dtype}"
        )
    return np.dtype(value.dtype)


def describe(value: Value) -> str:
    """An input or output in words, such as "float32 [edges, 3]".

    Args:
        value: of a program.

    Example:
        >>> describe(Value("vectors", "float32", ("edges", 3)))
        'float32 [edges, 3]'
    """
    return f"{value.dtype} [{', '.join(str(size) for size in value.shape)}]"
