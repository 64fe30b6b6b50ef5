"""The decisions that a tuner may take, and the values that it may give them.

In: a kernel, a dtype and a target. Out: choices, each a decision by name with its values. The
rule's decisions are one point of the space. One predicate says what is legal, for the rule, the
tuner and whoever reads a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from tvm_equi.algebra.contraction import Contraction
from tvm_equi.algebra.convolution import is_convolution, pass_order
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import ScheduleError
from tvm_equi.lower.decisions import Decisions
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.roles import Roles
from tvm_equi.schedule import cpu, gpu
from tvm_equi.schedule.targets import CpuTarget, GpuTarget

Value = int | str | bool | list[int]
Point = Mapping[str, Any]
"""A value for each choice."""

MAX_TABLE_EDGES = 64
"""Edges of a tile: their tables of coefficients must fit the first-level cache."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision, and the values that it may have, in JSON's types.

    Args:
        name: a field of `Decisions` or `GpuDecisions`.
        values: in order; the rule's is among them.
    """

    name: str
    values: tuple[Value, ...]


def rule(kernel: Kernel, dtype: str, target: CpuTarget | GpuTarget) -> Decisions | GpuDecisions:
    """The rule's decisions.

    Args:
        kernel: the program.
        dtype: of its values.
        target: the CPU or GPUs.
    """
    if isinstance(target, CpuTarget):
        return cpu.decide(kernel, dtype, target)
    return gpu.decide(kernel, dtype, target)


def choices(kernel: Kernel, dtype: str, target: CpuTarget | GpuTarget) -> tuple[Choice, ...]:
    """What there is to decide for a kernel: choices with one value are left out.

    Args:
        kernel: the program.
        dtype: of its values.
        target: the CPU or GPUs.
    """
    decisions = rule(kernel, dtype, target)
    if isinstance(target, CpuTarget):
        found = _cpu_values(kernel, dtype, target)
    else:
        found = _gpu_values(kernel)
    point = as_point(decisions)
    ordered = {
        name: tuple(sorted({*map(_key, values), _key(point[name])}))
        for name, values in found.items()
    }
    return tuple(
        Choice(name, tuple(_unkey(value) for value in values))
        for name, values in ordered.items()
        if len(values) > 1
    )


def _key(value: Any) -> Any:
    """A value that sorts and compares: lists as tuples."""
    return tuple(value) if isinstance(value, list) else value


def _unkey(value: Any) -> Value:
    return list(value) if isinstance(value, tuple) else value


def _cpu_values(kernel: Kernel, dtype: str, target: CpuTarget) -> dict[str, list[Any]]:
    """Values of the decisions that matter to a kernel on a CPU."""
    lanes, registers = target.lanes(dtype), target.num_registers
    eighths = [registers * number // 8 for number in range(2, 8)]
    families = {kernel.contractions[step.contraction].family for step in kernel.steps}
    is_conv = is_convolution(kernel)
    has_shared_mix = any(
        form.family == "mix" and form.operands[1].rows == "shared" for form in kernel.contractions
    )
    has_row_output = any(kernel.operand(name).rows == "row" for name in kernel.outputs)
    # What has mattered the most comes first: a short run gets no further.
    values: dict[str, list[Any]] = {}
    if has_row_output and target.is_x86 and not is_conv:
        values["is_streamed"] = [False, True]
    if _has_gradients_to_y(kernel):
        values["pair_sums"] = [0, registers // 2, 3 * registers // 4, registers]
    if is_conv or has_shared_mix:
        values["row_tile"] = [2, 4, 8, 16, 32, 64]
    values["lanes"] = [max(1, lanes // 2), lanes, 2 * lanes]
    if is_conv:
        values["run_edges"] = [1, 2, 4, 8, 16]
        if _has_node_sums(kernel):
            values["node_sums"] = eighths[:-1]
    else:
        values["chunk_rows"] = [16, 32, 64, 128, 256]
        values["is_staged"] = [False, True]
    if "couple" in families:
        values["association"] = ["inline", "pairs", "table"]
    if "mix" in families:
        values["accumulators"] = eighths
        values["product_rows"] = [1, 2, 4, 8, 16]
        values["strip"] = [1, 2, 4, 8]
    if any(_loop_extents(form) > 1 for form in kernel.contractions):
        values["max_unrolled"] = [1, 8, 16]
    return values


def _has_gradients_to_y(kernel: Kernel) -> bool:
    """Whether sums over channels give an operand that has none."""
    forms = kernel.contractions
    return any(
        forms[step.contraction].family == "couple"
        and any(
            roles.common == step.output and not roles.common_has_lanes and roles.loop == 1
            for roles in (Roles(forms[step.contraction], p) for p in forms[step.contraction].paths)
        )
        for step in kernel.steps
    )


def _has_node_sums(kernel: Kernel) -> bool:
    """Whether products are summed over the edges of a node."""
    order = pass_order(kernel)
    return any(
        kernel.contractions[step.contraction].family == "couple"
        and step.output == len(step.operands) - 1
        and kernel.operand(step.target).rows == order
        for step in kernel.steps
    )


def _loop_extents(form: Contraction) -> int:
    """The largest extent of a channel letter that is looped over."""
    if form.family != "couple":
        return 1
    return max((Roles(form, path).loop for path in form.paths), default=1)


def _gpu_values(kernel: Kernel) -> dict[str, list[Any]]:
    """Values of the decisions that matter to a kernel on a GPU."""
    families = {kernel.contractions[step.contraction].family for step in kernel.steps}
    values: dict[str, list[Any]] = {
        "block_threads": [64, 128, 256],
        "max_lanes": [64, 128, 256],
        "sums": [24, 48, 64, 88, 112],
        "node_inputs": [0, 16, 32],
        "tile": [8, 16, 32, 64],
        "table_bytes": [8 << 10, 16 << 10, 24 << 10],
        "min_table_lanes": [4, 8, 32],
        "reduce_elements": [1280, 2560, 5120],
    }
    if "mix" in families:
        values["matrix_tile"] = [[32, 32, 8], [64, 64, 8], [64, 64, 16]]
        values["matrix_thread"] = [[2, 2], [4, 4]]
    return values


def as_point(decisions: Decisions | GpuDecisions) -> dict[str, Any]:
    """Decisions by name, in JSON's types.

    Args:
        decisions: of a schedule.
    """
    values = {field.name: getattr(decisions, field.name) for field in fields(decisions)}
    return {name: _unkey(value) for name, value in values.items()}


def apply_point(
    kernel: Kernel, dtype: str, target: CpuTarget | GpuTarget, point: Point
) -> Decisions | GpuDecisions:
    """The rule's decisions with some of them replaced.

    Args:
        kernel: the program.
        dtype: of its values.
        target: the CPU or GPUs.
        point: the replacements.

    Raises:
        ScheduleError: there is no such decision, a value is of another type, or the outcome is not
            legal.
    """
    decisions = rule(kernel, dtype, target)
    known = as_point(decisions)
    for name, value in point.items():
        if name not in known:
            raise ScheduleError(f"record: expected decisions among {sorted(known)}, got {name!r}")
        if type(value) is not type(known[name]):
            raise ScheduleError(
                f"record: {name}: expected {type(known[name]).__name__}, got {value!r}"
            )
    changed = replace(decisions, **{name: _key(value) for name, value in point.items()})
    problem = illegality(changed, kernel, dtype, target)
    if problem:
        raise ScheduleError(f"record: {problem}")
    return changed


def is_legal_point(kernel: Kernel, dtype: str, target: CpuTarget | GpuTarget, point: Point) -> bool:
    """Whether `apply_point` takes a point.

    Args:
        kernel: the program.
        dtype: of its values.
        target: the CPU or GPUs.
        point: values in place of the rule's.
    """
    try:
        apply_point(kernel, dtype, target, point)
    except ScheduleError:
        return False
    return True


def illegality(
    decisions: Decisions | GpuDecisions, kernel: Kernel, dtype: str, target: CpuTarget | GpuTarget
) -> str:
    """What is wrong with decisions, or "" if they are legal.

    Args:
        decisions: to look at.
        kernel: the program.
        dtype: of its values.
        target: the CPU or GPUs.
    """
    if isinstance(target, CpuTarget) and isinstance(decisions, Decisions):
        rules = _cpu_rules(decisions, kernel, dtype, target)
    elif isinstance(target, GpuTarget) and isinstance(decisions, GpuDecisions):
        rules = _gpu_rules(decisions, dtype)
    else:
        return f"expected decisions for {target.name}, got {type(decisions).__name__}"
    return next((text for text, is_kept in rules.items() if not is_kept()), "")


def _cpu_rules(
    decisions: Decisions, kernel: Kernel, dtype: str, target: CpuTarget
) -> dict[str, Callable[[], bool]]:
    """What must hold on a CPU, by what is said where it does not."""
    most = 4 * target.lanes(dtype)
    return {
        f"lanes: expected a power of two up to {most}, got {decisions.lanes}": lambda: (
            _is_power(decisions.lanes) and decisions.lanes <= most
        ),
        f"row_tile: expected a power of two up to {MAX_TABLE_EDGES}, got {decisions.row_tile}": (
            lambda: _is_power(decisions.row_tile) and decisions.row_tile <= MAX_TABLE_EDGES
        ),
        f"chunk_rows: expected 1 or more, got {decisions.chunk_rows}": lambda: (
            decisions.chunk_rows >= 1
        ),
        f"run_edges: expected 1 or more, got {decisions.run_edges}": (
            lambda: not is_convolution(kernel) or decisions.run_edges >= 1
        ),
        f"pair_sums: expected 0 or more, got {decisions.pair_sums}": lambda: (
            decisions.pair_sums >= 0
        ),
        "registers: expected 1 or more of each kind": lambda: (
            min(
                decisions.node_sums,
                decisions.accumulators,
                decisions.product_rows,
                decisions.strip,
            )
            >= 1
        ),
        f"association: expected table, inline or pairs, got {decisions.association!r}": lambda: (
            decisions.association in ("table", "inline", "pairs")
        ),
        "is_streamed: expected an x86-64 CPU and no convolution": lambda: (
            not decisions.is_streamed or (target.is_x86 and not is_convolution(kernel))
        ),
    }


def _gpu_rules(decisions: GpuDecisions, dtype: str) -> dict[str, Callable[[], bool]]:
    """What must hold on a GPU, by what is said where it does not."""
    size = 8 if dtype == "float64" else 4
    rows, columns, depth = decisions.matrix_tile
    shared = decisions.table_bytes + size * decisions.reduce_elements
    threads = rows // decisions.matrix_thread[0] * (columns // decisions.matrix_thread[1])
    return {
        f"block_threads: expected 32 to 1024, a multiple of 32, got {decisions.block_threads}": (
            lambda: 32 <= decisions.block_threads <= 1024 and decisions.block_threads % 32 == 0
        ),
        f"shared memory: expected up to 48 KiB for a block, got {shared} bytes": lambda: (
            shared <= 48 << 10
        ),
        f"matrix_tile: expected at most 1024 threads, got {decisions.matrix_tile}": lambda: (
            threads <= 1024 and size * depth * (rows + columns) <= 48 << 10
        ),
        f"max_lanes: expected at least a warp's 32, got {decisions.max_lanes}": lambda: (
            decisions.max_lanes >= 32
        ),
        "registers: expected sums of 1 or more": lambda: decisions.sums >= 1,
    }


def _is_power(value: int) -> bool:
    return value >= 1 and value & (value - 1) == 0
