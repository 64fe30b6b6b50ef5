"""What the converter of an operator sees: values so far, sizes, and where new steps go.

In: nodes of torch's graph. Out: steps of a Relax function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node
from tvm import relax

from tvm_equi.relax.sizes import Sizes

Expr = Any


class Steps:
    """The steps of one function.

    Args:
        sizes: its variables.

    Attributes:
        constants: what depends on no input and no parameter.
        values: of the nodes so far.
        checked: indices that have been checked, by node and size.
        required: conditions that must hold, with what is wrong where they do not.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.constants: dict[Node, torch.Tensor] = {}
        self.builder = relax.BlockBuilder()
        self.values: dict[Node, Any] = {}
        self.checked: dict[tuple[Node, str], Expr] = {}
        self.required: list[tuple[Expr, str]] = []
        self.node: Any = None

    def emit(self, expr: Expr) -> Expr:
        """A new step."""
        return self.builder.emit(expr)

    def emit_te(self, function: Callable[..., Any], *args: Any, name: str, **kwargs: Any) -> Expr:
        """A new step that TVM's tensor expressions describe.

        Args:
            function: of tensors and numbers, gives a tensor.
            *args: values, sizes and numbers.
            name: of the new function.
            **kwargs: further ones.
        """
        return self.builder.emit_te(function, *args, primfunc_name_hint=name, **kwargs)

    @property
    def result(self) -> Any:
        """Torch's stand-in for what the step gives: has shape and dtype."""
        return self.node.meta["val"]

    @property
    def shape(self) -> list[Expr]:
        """The shape of what the step gives."""
        return self.sizes.shape(list(self.result.shape))

    @property
    def dtype(self) -> str:
        """The dtype of what the step gives."""
        return dtype_name(self.result.dtype)

    def argument(self, number: int) -> Any:
        """Torch's stand-in for an argument, or the argument where it is no tensor."""
        found = self.node.args[number]
        return found.meta["val"] if isinstance(found, Node) else found

    def cast(self, value: Expr, dtype: str) -> Expr:
        """A value in a dtype."""
        if str(value.ty.dtype) == dtype:
            return value
        return self.emit(relax.op.astype(value, dtype))

    def operand(self, value: Any, dtype: str) -> Expr:
        """A tensor, number or size as a tensor of a dtype."""
        if isinstance(value, (bool, int, float)):
            return relax.const(value, dtype)
        if isinstance(getattr(value, "ty", None), relax.TensorType):
            return self.cast(value, dtype)
        return self.emit_te(_scalar, value, dtype, name="size")


def _scalar(value: Any, dtype: str) -> Any:
    """A tensor of no axes that holds a size."""
    from tvm import te

    return te.compute((), lambda: value.astype(dtype), name="size")


def dtype_name(dtype: torch.dtype) -> str:
    """TVM's name of a dtype."""
    return str(dtype).removeprefix("torch.")
