"""The design space as MetaSchedule sees it: a small function that stands for a kernel, a trace.

In: a kernel, a dtype and a target. Out: a workload whose one block a schedule annotates with what
is sampled. Decisions change the lowering and not only its loops, so that what is tuned is this
stand-in: it carries the kernel's plan, and whoever builds it reads the annotations, lowers the
kernel accordingly and compiles that. A trace replays on it like any other, and a database of
records needs nothing beside itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import ScheduleError
from tvm_equi.schedule.records import PREFIX, SPACE
from tvm_equi.schedule.space import Choice, Point

BLOCK = "kernel"


def workload(
    kernel: Kernel, dtype: str, family: str, conditions: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """The IRModule that stands for a kernel, measured under some conditions.

    Args:
        kernel: the program.
        dtype: of its values.
        family: of targets.
        conditions: of the measurement, in JSON's types: times under others are not comparable.
    """
    import tvm
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as T

    facts = {
        "kernel": kernel.structure(),
        "plan": kernel.plan(),
        "dtype": dtype,
        "family": family,
        "conditions": json.dumps(dict(conditions), sort_keys=True),
    }
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr(
            {"global_symbol": "main", "tirx.noalias": True}
            | {f"{PREFIX}{name}": value for name, value in facts.items()}
        )
        out = T.match_buffer(T.arg("out", T.handle()), (1,), "float32")
        with T.serial(0, 1) as index, T.sblock(BLOCK):
            at = T.axis.spatial(1, index)
            T.reads()
            T.writes(out[at])
            T.buffer_store(out, tvm.tirx.FloatImm("float32", 0.0), [at])
    return tvm.IRModule({"main": builder.get()})


RULE_SHARE = 0.6
"""Probability of the rule's value of a choice: most values far from it are bad together."""


def sample(schedule: Any, choices: tuple[Choice, ...], rule: Point) -> None:
    """Samples every choice, and annotates the block with the outcome.

    Args:
        schedule: of a `workload`.
        choices: to sample from.
        rule: the values that are the most probable.
    """
    block = schedule.get_sblock(BLOCK)
    text = json.dumps({choice.name: choice.values for choice in choices})
    schedule.annotate(block, SPACE, text)
    for choice in choices:
        others = (1.0 - RULE_SHARE) / (len(choice.values) - 1)
        shares = [RULE_SHARE if v == rule[choice.name] else others for v in choice.values]
        index = schedule.sample_categorical(list(range(len(shares))), shares)
        schedule.annotate(block, PREFIX + choice.name, index)


def decided(module: Any, choices: tuple[Choice, ...], rule: Point, point: Point) -> Any:
    """A schedule whose samples have given outcomes.

    Args:
        module: a `workload`.
        choices: of its space.
        rule: the rule's value of each.
        point: a value of each.

    Raises:
        ScheduleError: the point is not in the space.
    """
    from tvm import s_tir

    schedule = s_tir.Schedule(module)
    sample(schedule, choices, rule)
    trace = schedule.trace
    for choice, instruction in zip(choices, samples(trace), strict=True):
        if point[choice.name] not in choice.values:
            raise ScheduleError(
                f"decided: {choice.name}: expected one of {list(choice.values)}, "
                f"got {point[choice.name]!r}"
            )
        index = choice.values.index(point[choice.name])
        trace = trace.with_decision(instruction, index, remove_postproc=True)
    fresh = s_tir.Schedule(module)
    trace.apply_to_schedule(fresh, remove_postproc=True)
    return fresh


def samples(trace: Any) -> list[Any]:
    """The instructions of a trace that sample.

    Args:
        trace: of a schedule.
    """
    return [each for each in trace.insts if each.kind.name == "SampleCategorical"]


def read_point(module: Any) -> Point:
    """The values that a scheduled `workload` is annotated with.

    Args:
        module: the IRModule of a schedule.
    """
    annotations = _block(module["main"]).annotations
    space = json.loads(str(annotations[SPACE]))
    return {name: values[int(annotations[PREFIX + name])] for name, values in space.items()}


def _block(function: Any) -> Any:
    """The annotated block."""
    from tvm import s_tir

    state = s_tir.Schedule(function)
    return state.get(state.get_sblock(BLOCK))
