"""Databases with given records, written as a run writes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.schedule import sampling, space
from tvm_equi.schedule.targets import cpu_target
from tvm_equi.tuning.database import commit
from tvm_equi.tuning.metaschedule import meta_schedule, tvm_target


def write_database(
    folder: Path,
    kernel: Kernel,
    trials: Sequence[tuple[dict[str, Any], float]],
    family: str = "x86-64-v3",
) -> None:
    """Appends records of points that differ from the rule's in what is given."""
    target = cpu_target(family.partition("/")[0])
    choices = space.choices(kernel, "float32", target)
    known = space.as_point(space.rule(kernel, "float32", target))
    rule = {choice.name: known[choice.name] for choice in choices}
    (folder / family).mkdir(parents=True, exist_ok=True)
    store = meta_schedule().database.JSONDatabase(work_dir=str(folder / family))
    module = sampling.workload(kernel, "float32", target.name)
    workload = store.commit_workload(module)
    for point, seconds in trials:
        trace = sampling.decided(module, choices, rule, {**rule, **point}).trace
        commit(store, workload, trace, [seconds], tvm_target(target))
