"""What the code of a forward does that a trace would not see.

In: a module. Out: the names that its forward and the functions it calls read, and the reason why a
trace of it could compute something else: a trace follows one branch, and runs once what is not a
tensor operation.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch

ASKING = frozenset(
    {"isinstance", "issubclass", "hasattr", "type", "callable", "locals", "eval", "exec", "print"}
)
"""Builtins whose answer, or effect, is another for the stand-ins that a trace passes."""

MODES = frozenset(
    {"is_grad_enabled", "is_autocast_enabled", "is_inference_mode_enabled", "is_tensor", "set_grad"}
)
"""Names of functions of torch that ask about the moment."""

CHANGING = frozenset(
    {"__setitem__", "add", "append", "clear", "extend", "insert", "pop", "setdefault", "update"}
)
"""Names of methods that change a list or dictionary."""

SUMS = frozenset(
    {
        "scatter",
        "scatter_sum",
        "scatter_add",
        "scatter_add_",
        "scatter_reduce",
        "scatter_reduce_",
        "index_add",
        "index_add_",
    }
)
"""Names of functions and methods that add rows up by an index."""

PLAIN = (bool, int, float, str, type(None))
"""Types of attributes that a trace has as constants."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found.

    Args:
        names: that the code reads, of globals, attributes and methods.
        reason: why it must not be traced; "" where nothing speaks against it.
    """

    names: frozenset[str]
    reason: str

    @property
    def sums_rows(self) -> bool:
        """Whether anything may add rows up."""
        return bool(self.names & SUMS)


def scan(module: torch.nn.Module) -> Scan:
    """Reads the code of a module's forward, and of the Python functions that it calls.

    Args:
        module: of any class.
    """
    names: set[str] = set()
    reason = ""
    for function in _functions(type(module).forward, type(module)):
        for instruction in _instructions(function.__code__):
            if instruction.opname.startswith(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_M")):
                names.add(str(instruction.argval))
            if instruction.opname == "STORE_SUBSCR":
                names.add("__setitem__")
            reason = reason or _objection(instruction, function.__name__)
    return Scan(frozenset(names), reason or _changed_container(module, names))


def _changed_container(module: torch.nn.Module, names: set[str]) -> str:
    """Why a list or dictionary of the module may be changed in each call, or ""."""
    if not names & CHANGING:
        return ""
    held = [name for name in sorted(names) if isinstance(vars(module).get(name), (list, dict, set))]
    return f"forward may change {held[0]}" if held else ""


def watched_names(module: torch.nn.Module, names: frozenset[str]) -> tuple[str, ...]:
    """The plain attributes of a module that its code reads, which a trace has as constants.

    Args:
        module: whose they are.
        names: that its code reads.
    """
    own = vars(module)
    return tuple(name for name in sorted(names) if isinstance(own.get(name, ...), PLAIN))


def _objection(instruction: dis.Instruction, function: str) -> str:
    """Why an instruction must not be traced, or ""."""
    name = str(instruction.argval)
    if instruction.opname.startswith("STORE_ATTR"):
        return f"{function} sets an attribute, {name}"
    if instruction.opname.startswith(("STORE_GLOBAL", "SETUP_FINALLY", "PUSH_EXC_INFO")):
        return f"{function} has a try or with block, or sets a global"
    if instruction.opname.startswith(("LOAD_GLOBAL", "LOAD_NAME")) and name in ASKING:
        return f"{function} calls {name}, whose result a trace would freeze"
    if instruction.opname.startswith(("LOAD_ATTR", "LOAD_M")) and name in MODES:
        return f"{function} asks {name}, whose answer a trace would freeze"
    return ""


def _instructions(code: CodeType) -> Iterator[dis.Instruction]:
    """Those of a function, and of the functions inside it."""
    yield from dis.get_instructions(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)


def _functions(start: Any, owner: type) -> list[FunctionType]:
    """The function, and those of Python that it may call: globals and methods of its class."""
    found: list[FunctionType] = []
    waiting = [start]
    while waiting:
        function = waiting.pop()
        if isinstance(function, MethodType):
            function = function.__func__
        if not isinstance(function, FunctionType) or function in found:
            continue
        package = str(function.__module__).partition(".")[0]
        is_known = package in ("torch", "tvm_equi") or is_scatter(function)
        if is_known and function is not start:
            continue
        found.append(function)
        waiting += [cell.cell_contents for cell in function.__closure__ or ()]
        for name in _all_names(function.__code__):
            waiting.append(function.__globals__.get(name))
            if not hasattr(torch.nn.Module, name):
                waiting.append(getattr(owner, name, None))
    return found


def _all_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_names(constant)


SCATTER_PACKAGES = ("torch_scatter", "torch_geometric", "torch_runstats")
"""Whose scatter functions take (src, index, dim=-1, out=None, dim_size=None, reduce="sum")."""


def is_scatter(function: Any) -> bool:
    """Whether a function is one of the known packages' that sum rows by an index.

    Args:
        function: anything.
    """
    name = getattr(function, "__name__", getattr(function, "name", ""))
    module = getattr(function, "__module__", None) or getattr(function, "qualified_name", "")
    package = str(module).removeprefix("__torch__.").partition(".")[0]
    return name in ("scatter", "scatter_sum", "scatter_add") and package in SCATTER_PACKAGES
