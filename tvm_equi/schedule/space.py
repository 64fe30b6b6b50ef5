"""The decisions that a tuner may take, and the values that it may give them.

In: a kernel, a dtype and a target. Out: choices, each a decision by name with its values. The
rule's decisions are one point of the space. What is legal is said elsewhere
(`schedule/legality.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
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
from tvm_equi.schedule.legality import illegality
from tvm_equi.schedule.targets import CpuTarget, GpuTarget

Value = int | str | bool | list[int]
Point = Mapping[str, Any]
"""A value for each choice."""


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
        values["ahead_rows"] = [0, 1, 2]
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
        if not _is_alike(value, known[name]):
            raise ScheduleError(f"record: {name}: expected one like {known[name]!r}, got {value!r}")
    changed = replace(decisions, **{name: _key(value) for name, value in point.items()})
    problem = illegality(changed, kernel, dtype, target)
    if problem:
        raise ScheduleError(f"record: {problem}")
    return changed


def _is_alike(value: Any, known: Any) -> bool:
    """Whether a value of JSON has the type of another: lists hold what the other's hold."""
    if type(value) is not type(known):
        return False
    return not isinstance(known, list) or all(type(each) is type(known[0]) for each in value)


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
