"""Sizes: torch's symbolic numbers -> TVM's integer expressions.

In: numbers, and sympy expressions of torch's shape environment. Out: int64 expressions over one
variable per named size. Refused: functions of sizes that TVM has no integer operation for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import sympy
import torch
from tvm import tirx

from tvm_equi.errors import UnsupportedError

Expr = Any
"""An expression of TVM."""

_BINARY = {
    "FloorDiv": tirx.floordiv,
    "CleanDiv": tirx.floordiv,
    "Mod": tirx.floormod,
    "PythonMod": tirx.floormod,
    "Min": tirx.min,
    "Max": tirx.max,
}
"""By the name of sympy's, or torch's own, function."""


def constant(number: int) -> Expr:
    """A number that is a size."""
    return tirx.IntImm("int64", number)


class Sizes:
    """The variables of a program's named sizes.

    Args:
        names: by torch's symbol, of every size that the inputs have.
    """

    def __init__(self, names: Mapping[Any, str]) -> None:
        self._by_name = {name: tirx.Var(name, "int64") for name in dict.fromkeys(names.values())}
        self._variables = {symbol: self._by_name[name] for symbol, name in names.items()}

    def variable(self, name: str) -> Expr:
        """The variable of a named size."""
        return self._by_name[name]

    def size(self, number: int | torch.SymInt) -> Expr:
        """One size.

        Raises:
            UnsupportedError: a function of sizes that has no integer operation here.
        """
        if isinstance(number, int):
            return constant(number)
        return self._expression(number.node.expr)

    def shape(self, numbers: Sequence[int | torch.SymInt]) -> list[Expr]:
        """Several sizes."""
        return [self.size(number) for number in numbers]

    def _expression(self, expr: Any) -> Expr:
        """One expression of sympy.

        Raises:
            UnsupportedError: a function that has no integer operation here.
        """
        if expr.is_Integer:
            return constant(int(expr))
        if expr in self._variables:
            return self._variables[expr]
        parts = [self._expression(part) for part in expr.args]
        if isinstance(expr, sympy.Add):
            return reduce(lambda left, right: left + right, parts)
        if isinstance(expr, sympy.Mul):
            return reduce(lambda left, right: left * right, parts)
        if isinstance(expr, sympy.Pow) and expr.exp.is_Integer and 0 < expr.exp <= 8:
            return reduce(lambda left, right: left * right, [parts[0]] * int(expr.exp))
        found = _BINARY.get(type(expr).__name__)
        if found is None or len(parts) < 2:
            raise UnsupportedError(
                f"relax: sizes: expected sums, products, quotients, minima and maxima of "
                f"{', '.join(self._by_name)}, got {expr}"
            )
        return reduce(found, parts)
