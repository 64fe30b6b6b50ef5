"""The schedule of what lies between kernels: fused elementwise steps and sums over axes.

In: a module whose steps are fused. Out: the same, each function one pass over its output: what it
is made of is computed where it is read, rows run in parallel where there are many, and in a plain
loop where starting threads would take longer than the work.

    for i, j in T.grid(n, 64): A[i, j] = ...        if n * 64 < 32768: for i: for j: B[i, j] = ...
    for i, j in T.grid(n, 64): B[i, j] = f(A[i, j])  else:              for i in T.parallel(n): ...
"""

from __future__ import annotations

import logging
import re
from functools import reduce
from typing import Any

import tvm
from tvm import s_tir, tirx

from tvm_equi.relax.indices import SCHEDULED
from tvm_equi.relax.sizes import constant

logger = logging.getLogger(__name__)

SERIAL_ELEMENTS = 1 << 14
"""Steps on fewer numbers run on one thread."""


@tvm.transform.module_pass(opt_level=0, name="ScheduleGlue")
class ScheduleGlue:
    """Schedules every function that no other pass has scheduled."""

    def transform_module(self, module: Any, _context: Any) -> Any:
        """The module with all functions scheduled."""
        result = tvm.IRModule(dict(module.functions_items()), attrs=module.attrs)
        for variable, function in module.functions_items():
            if isinstance(function, tirx.PrimFunc) and SCHEDULED not in (function.attrs or {}):
                try:
                    scheduled = schedule(function)
                except s_tir.ScheduleError as error:  # right as TVM made it, and slower
                    logger.warning("%s: runs step by step: %s", variable.name_hint, error)
                    state = s_tir.Schedule(tvm.IRModule({"main": function}))
                    _start_sums(state)
                    scheduled = state.mod["main"].with_attr(SCHEDULED, True)
                result.update_func(variable, _with_any_alignment(scheduled))
        return result


def schedule(function: Any) -> Any:
    """A function, scheduled.

    Args:
        function: of blocks that TVM's legalisation makes.
    """
    state = s_tir.Schedule(tvm.IRModule({"main": function}))
    _inline(state)
    _start_sums(state)
    serial = state.mod["main"]
    loops = _parallel_loops(state)
    if not loops:
        return serial.with_attr(SCHEDULED, True)
    for loop in loops:
        state.parallel(loop)
    return _by_size(serial, state.mod["main"]).with_attr(SCHEDULED, True)


def _inline(state: Any) -> None:
    """Computes what no output is where it is read."""
    outputs = {str(state.get(block).name_hint) for block in state.get_output_blocks("root")}
    for block in state.get_child_blocks(state.get_sblock("root")):
        is_reduction = any(
            var.iter_type != tirx.IterVar.DataPar for var in state.get(block).iter_vars
        )
        if str(state.get(block).name_hint) not in outputs and not is_reduction:
            state.compute_inline(block)


def _start_sums(state: Any) -> None:
    """Sets sums to zero before loops that may be empty: TVM does it in the first iteration."""
    for block in state.get_child_blocks(state.get_sblock("root")):
        kinds = [var.iter_type for var in state.get(block).iter_vars]
        loops = state.get_loops(block)
        over = [
            loop for loop, kind in zip(loops, kinds, strict=False) if kind != tirx.IterVar.DataPar
        ]
        if any(not isinstance(state.get(loop).extent, tirx.IntImm) for loop in over):
            state.decompose_reduction(block, over[0])


def _parallel_loops(state: Any) -> list[Any]:
    """The outermost loop of each block, where it is over rows."""
    found: list[Any] = []
    for block in state.get_child_blocks(state.get_sblock("root")):
        loops = state.get_loops(block)
        if not loops:
            continue
        kinds = [var.iter_type for var in state.get(block).iter_vars]
        is_new = not any(state.get(loops[0]).same_as(state.get(loop)) for loop in found)
        is_over_rows = kinds[:1] == [tirx.IterVar.DataPar]
        if is_new and is_over_rows and _is_long(state.get(loops[0]).extent):
            found.append(loops[0])
    return found


def _is_long(extent: Any) -> bool:
    """Whether a loop may be worth several threads."""
    return not isinstance(extent, tirx.IntImm) or int(extent.value) >= SERIAL_ELEMENTS // 64


def _by_size(serial: Any, parallel: Any) -> Any:
    """A function that runs in parallel if its outputs are large."""
    sizes = [
        reduce(lambda left, right: left * right, list(param.shape), constant(1))
        for param in serial.params
        if hasattr(param, "shape")  # a tensor, not a number
    ]
    total = reduce(lambda left, right: tirx.max(left, right), sizes)
    root = serial.body.block
    body = tirx.IfThenElse(total < SERIAL_ELEMENTS, root.body, parallel.body.block.body)
    block = s_tir.SBlock(
        root.iter_vars, root.reads, root.writes, root.name_hint, body, root.init, root.alloc_buffers
    )
    both = serial.with_body(s_tir.SBlockRealize([], True, block))
    return tirx.transform.ConvertSSA()(tvm.IRModule({"main": both}))["main"]  # loops are apart


def _with_any_alignment(function: Any) -> Any:
    """A function whose tensors may lie anywhere: those of callers do, numpy's for instance.

    TVM takes them to start at multiples of 64 bytes, and a vector that does not crashes.
    """
    text = tvm.ir.save_json(function)
    return tvm.ir.load_json(re.sub(r'"data_alignment": ?\d+', '"data_alignment":1', text))
