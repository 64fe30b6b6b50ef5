"""The table of converters, by torch's name of the operator.

In: functions of steps and of the operator's arguments. Out: the same, in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Converter = Callable[..., Any]
"""(steps, arguments of the operator) -> value or values."""

CONVERTERS: dict[str, Converter] = {}

Function = TypeVar("Function", bound=Converter)


def converts(*names: str) -> Callable[[Function], Function]:
    """Registers the converter of some operators.

    Args:
        *names: as torch prints them, such as "aten.mul.Tensor".
    """

    def register(converter: Function) -> Function:
        for name in names:
            CONVERTERS[name] = converter
        return converter

    return register
