"""TVM's checks of a function's arguments, with one error for all of them.

TVM asserts some ten facts about each argument, and each assertion raises an error of its own: over
half of a kernel's object file was that, and an eighth of the time it took to compile. Here the
facts are tested in the same order, each inside the last, so that still nothing is read before it is
known to be there; behind them all is one error, which says what the function takes.

In: functions of the host, as TVM's pipeline lowers them. Out: the same, shorter.
"""

from __future__ import annotations

from functools import cache
from itertools import takewhile
from typing import Any

SCOPES = ("storage_alignment", "device_id", "device_type")
"""Attributes that are around the code behind them, checks included."""

PACKED = 1
"""The calling convention of functions that check their arguments and return whether they failed."""

PREFIX = "__tvm_ffi_"
"""Of such a function's symbol."""


@cache
def pipeline() -> str:
    """The name of TVM's pipeline with these checks, which is registered at the first call."""
    import tvm
    from tvm.tirx.compilation_pipeline import get_tir_pipeline, register_tir_pipeline

    def factory() -> tuple[Any, Any, Any]:
        lower, finish_host, finish_device = get_tir_pipeline("s_tir")

        @tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
        def shorten(module: Any, _context: Any) -> Any:
            shorter = {name: with_one_error(each) for name, each in module.functions.items()}
            return tvm.IRModule(shorter, attrs=module.attrs)

        return lower, lambda: tvm.transform.Sequential([shorten, finish_host()]), finish_device

    register_tir_pipeline("tvm_equi", factory)
    return "tvm_equi"


def with_one_error(function: Any) -> Any:
    """The function with the assertions at its start nested, and one error behind them.

    Args:
        function: a PrimFunc of any calling convention; one of another than `PACKED`, or without
            assertions at its start, is returned as it is.
    """
    from tvm import tirx
    from tvm.ir import StringImm

    statements = _flat(function.body)
    start = list(takewhile(_is_start, statements))
    asserted = [each for each in map(_assertion, start) if each is not None]
    if function.attrs.get("calling_conv") != PACKED or not asserted:
        return function
    body: Any = tirx.Return(tirx.const(0, "int32"))
    for statement in reversed(statements[len(start) :]):
        body = _before(statement, body)
    for statement in reversed(start):
        assertion = _assertion(statement)
        if assertion is None:
            body = _before(statement, body)
            continue
        condition = assertion.condition
        if isinstance(statement, tirx.IfThenElse):  # it need hold only where the other does
            condition = tirx.if_then_else(statement.condition, condition, tirx.const(True))
        body = tirx.IfThenElse(condition, body, None)
    symbol = str(function.attrs["global_symbol"]).removeprefix(PREFIX)
    parts = [part.value for part in asserted[0].message_parts]
    takes = next((part for part in parts if part.startswith(f"{symbol}(")), symbol)
    message = ("expected arguments of ", takes, ", contiguous and on one device, got others")
    error = tirx.AssertStmt(
        tirx.const(False), StringImm("ValueError"), [StringImm(part) for part in message]
    )
    return function.with_body(tirx.SeqStmt([body, error]))


def _flat(statement: Any) -> list[Any]:
    """What is done one after the other; a scope comes before what is in it."""
    from tvm import tirx

    if isinstance(statement, tirx.SeqStmt):
        return [inner for each in statement.seq for inner in _flat(each)]
    if _is_scope(statement):
        return [statement, *_flat(statement.body)]
    return [statement]


def _before(statement: Any, behind: Any) -> Any:
    """A statement of `_flat` and what is done after it, or in it."""
    from tvm import tirx

    if _is_scope(statement):
        return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, behind)
    rest = behind.seq if isinstance(behind, tirx.SeqStmt) else [behind]
    return tirx.SeqStmt([statement, *rest])


def _is_scope(statement: Any) -> bool:
    from tvm import tirx

    return isinstance(statement, tirx.AttrStmt) and statement.attr_key in SCOPES


def _is_start(statement: Any) -> bool:
    """Whether a statement checks arguments or takes something from them."""
    from tvm import tirx

    names = (tirx.Bind, tirx.DeclBuffer)
    return isinstance(statement, names) or _is_scope(statement) or _assertion(statement) is not None


def _assertion(statement: Any) -> Any:
    """The assertion that a statement is, maybe on a condition; None for another statement."""
    from tvm import tirx

    if isinstance(statement, tirx.IfThenElse) and statement.else_case is None:
        statement = statement.then_case
    return statement if isinstance(statement, tirx.AssertStmt) else None
