"""Kernel -> TensorIR for a GPU: one function whose launches run one after another.

In: a `Kernel`, a dtype and the decisions of a schedule. Out: a `PrimFunc` with the arguments that
`lower/gpu/arguments.py` lists, each outer loop of which is a launch, bound to blocks and threads.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Operand, Rows
from tvm_equi.algebra.convolution import NODE_ROWS, is_convolution, pass_order
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.gpu.arguments import (
    ORDER,
    copied_inputs,
    copy_name,
    parts_name,
    summed_outputs,
)
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.launches import Launch, Product, Walk, launches
from tvm_equi.lower.gpu.memory import emit_copy, emit_parts, emit_zeros
from tvm_equi.lower.gpu.product import ProductEmitter
from tvm_equi.lower.gpu.scalars import accumulator, num_bytes
from tvm_equi.lower.gpu.sums import Key
from tvm_equi.lower.gpu.values import Memory
from tvm_equi.lower.gpu.walk import WalkEmitter
from tvm_equi.lower.location import in_lanes
from tvm_equi.lower.names import FUNCTION
from tvm_equi.lower.primfunc import match
from tvm_equi.lower.vector import Expr


def lower_gpu(kernel: Kernel, dtype: str, decisions: GpuDecisions) -> Any:
    """The PrimFunc of a kernel, every launch bound to blocks and threads.

    Args:
        kernel: the program.
        dtype: of every argument but indices, parts and temporaries, which have that of sums.
        decisions: from a schedule.
    """
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name(FUNCTION)
        T.func_attr({"tirx.noalias": True, "global_symbol": FUNCTION})
        GpuLowering(kernel, dtype, decisions).emit()
    return builder.get()


class GpuLowering:
    """Emits the launches of one function."""

    def __init__(self, kernel: Kernel, dtype: str, decisions: GpuDecisions) -> None:
        """Matches the arguments."""
        self.kernel, self.dtype, self.decisions = kernel, dtype, decisions
        self.over_edges = is_convolution(kernel)
        self.num_rows, self.num_chunks, self.num_segments, self.num_parts = (
            tirx.Var(name, "int64")
            for name in ("num_rows", "num_chunks", "num_segments", "num_parts")
        )
        self.counts: dict[Rows, Any] = {
            rows: tirx.Var(f"num_{rows}s", "int64") for rows in NODE_ROWS
        }
        self.counts["row"] = self.num_rows
        self.sum_dtype = accumulator(dtype)
        self.arguments: dict[str, Any] = {}
        self.order: dict[str, Any] = {}
        self._match_arguments()
        self.memory = self._memory()
        self._written: dict[Key, list[Launch]] = {}
        self._num_blocks = 0

    def _match(self, name: str, shape: tuple[Expr, ...], dtype: str) -> Any:
        return match(name, shape, dtype, num_bytes(dtype))

    def _match_arguments(self) -> None:
        """Buffers of all arguments, in order."""
        kernel = self.kernel
        for name in (*kernel.inputs, *kernel.outputs, *kernel.temporaries):
            operand = kernel.operand(name)
            shape: tuple[Expr, ...] = (self.counts.get(operand.rows, 0), operand.dim)
            if operand.rows == "shared":
                is_partial = name in kernel.outputs
                shape = (self.num_chunks, operand.dim) if is_partial else (operand.dim,)
            is_sum = operand.rows == "shared" and name in kernel.outputs
            is_wide = is_sum or name in kernel.temporaries
            self.arguments[name] = self._match(
                name, shape, self.sum_dtype if is_wide else self.dtype
            )
        if not self.over_edges:
            return
        for name in copied_inputs(kernel):
            operand = kernel.operand(name)
            shape = (self.counts[operand.rows], operand.dim)
            self.arguments[copy_name(name)] = self._match(copy_name(name), shape, self.dtype)
        for name in summed_outputs(kernel):
            shape = (self.num_parts, kernel.operand(name).dim)
            self.arguments[parts_name(name)] = self._match(parts_name(name), shape, self.sum_dtype)
        extents = {
            "edges": self.num_rows,
            "others": self.num_rows,
            "segment_nodes": self.num_segments,
            "segment_starts": tirx.Var("num_bounds", "int64"),
            "segment_parts": self.num_segments,
            "part_nodes": self.num_parts,
            "part_ends": self.num_parts,
        }
        self.order = {name: self._match(name, (extents[name],), "int64") for name in ORDER}

    def _memory(self) -> Memory:
        """Where launches find the values: copies in the place of inputs."""
        kernel = self.kernel
        operands: dict[str, Operand] = {}
        buffers, parts = {}, {}
        for name in (*kernel.inputs, *kernel.outputs, *kernel.temporaries):
            operands[name], buffers[name] = kernel.operand(name), self.arguments[name]
        if self.over_edges:
            for name in copied_inputs(kernel):
                operands[name] = in_lanes(operands[name])
                buffers[name] = self.arguments[copy_name(name)]
            parts = {name: self.arguments[parts_name(name)] for name in summed_outputs(kernel)}
        partial = frozenset(n for n in kernel.outputs if operands[n].rows == "shared")
        own = pass_order(kernel) if self.over_edges else ""
        return Memory(operands, buffers, partial, parts, own, self.sum_dtype)

    def block_name(self, what: str) -> str:
        """A new name for the block of a launch."""
        self._num_blocks += 1
        return f"{what}_{self._num_blocks}"

    def is_written(self, key: Key, launch: Launch) -> bool:
        """Whether an earlier launch has stored to the elements of a segment that this one adds to.

        Launches of one group have different lanes, and so different elements, unless the output has
        no lanes.
        """
        before = self._written.setdefault(key, [])
        result = any(
            other.group != launch.group or self._sums_lanes(key, launch) for other in before
        )
        before.append(launch)
        return result

    def _sums_lanes(self, key: Key, launch: Launch) -> bool:
        """Whether a walk sums an output over lanes."""
        if not isinstance(launch, Walk):
            return False
        form = self.kernel.contractions[launch.contraction]
        item = next(
            i
            for i in launch.items
            if (i.step.target, form.paths[i.path].segments[i.step.output]) == key
        )
        return launch.lane not in form.paths[item.path].channels[item.step.output]

    def emit(self) -> None:
        """Copies, zeros where no launch stores, launches, sums of parts."""
        kernel = self.kernel
        found = launches(kernel, self.decisions)
        if self.over_edges:
            for name in copied_inputs(kernel):
                emit_copy(self, name)
        written = {key for launch in found for key in self._keys(launch)}
        for name in (*kernel.temporaries, *kernel.outputs):
            for segment, kind in enumerate(kernel.operand(name).segments):
                if kind.size and (name, segment) not in written:
                    emit_zeros(self, name, segment)
        for launch in found:
            if isinstance(launch, Product):
                ProductEmitter(self, launch).emit()
            else:
                WalkEmitter(self, launch).emit()
        if self.over_edges:
            for name in summed_outputs(kernel):
                for first, size in self._columns(name, written):
                    emit_parts(self, name, first, size)

    def _columns(self, name: str, written: set[Key]) -> list[tuple[int, int]]:
        """(first, number) of the neighbouring columns that launches add to."""
        operand = self.kernel.operand(name)
        runs: list[tuple[int, int]] = []
        for segment, kind in enumerate(operand.segments):
            if (name, segment) in written and kind.size:
                first = operand.offsets[segment]
                if runs and sum(runs[-1]) == first:
                    runs[-1] = (runs[-1][0], runs[-1][1] + kind.size)
                else:
                    runs.append((first, kind.size))
        return runs

    def _keys(self, launch: Launch) -> set[Key]:
        """The output segments that a launch adds to."""
        paths = self.kernel.contractions[launch.contraction].paths
        return {
            (item.step.target, paths[item.path].segments[item.step.output]) for item in launch.items
        }
