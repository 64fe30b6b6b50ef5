"""The stand-in that MetaSchedule tunes: equal for equal kernels; traces replay on it."""

from pathlib import Path

import pytest

from tests.kernels import linear, product
from tvm_equi.errors import ScheduleError
from tvm_equi.schedule import records, sampling, space
from tvm_equi.schedule.targets import cpu_target
from tvm_equi.tuning.metaschedule import meta_schedule, tvm_target

TARGET = cpu_target("x86-64-v3")
KERNEL = product()
CHOICES = space.choices(KERNEL, "float32", TARGET)
RULE = {
    name: value
    for name, value in space.as_point(space.rule(KERNEL, "float32", TARGET)).items()
    if name in [choice.name for choice in CHOICES]
}


def test_a_workload_is_that_of_its_kernel() -> None:
    from tvm_ffi import structural_equal

    module = sampling.workload(KERNEL, "float32", "x86-64-v3")
    assert str(module["main"].attrs["tvm_equi.plan"]) == KERNEL.plan()
    again = sampling.workload(product(), "float32", "x86-64-v3")
    assert structural_equal(module, again)
    for other in (
        sampling.workload(linear(), "float32", "x86-64-v3"),
        sampling.workload(KERNEL, "float64", "x86-64-v3"),
        sampling.workload(KERNEL, "float32", "x86-64-v4"),
        sampling.workload(KERNEL, "float32", "x86-64-v3", {"rows": 64}),
    ):
        assert not structural_equal(module, other)


def test_a_record_replays_from_the_database_alone(tmp_path: Path) -> None:
    """TVM's replay of the trace, and our reading of the same files as data, agree."""
    from tvm import s_tir

    ms = meta_schedule()
    module = sampling.workload(KERNEL, "float32", "x86-64-v3", {"rows": 64, "threads": 1})
    point = {choice.name: choice.values[-1] for choice in CHOICES}
    store = ms.database.JSONDatabase(work_dir=str(tmp_path))
    workload = store.commit_workload(module)
    arguments = ms.arg_info.ArgInfo.from_entry_func(module, remove_preproc=False)
    for seconds, each in ((2.0, RULE), (1.0, point)):
        trace = sampling.decided(module, CHOICES, RULE, each).trace
        store.commit_tuning_record(
            ms.database.TuningRecord(trace, workload, [seconds], tvm_target(TARGET), arguments)
        )
    del store
    fresh = ms.database.JSONDatabase(work_dir=str(tmp_path), allow_missing=False)
    best = fresh.query_tuning_record(module, tvm_target(TARGET), "main")
    schedule = s_tir.Schedule(best.workload.mod)
    best.trace.apply_to_schedule(schedule, remove_postproc=False)
    assert sampling.read_point(schedule.mod) == point
    found = records.read(tmp_path)
    assert [(each.seconds, each.point) for each in found] == [(2.0, RULE), (1.0, point)]
    assert {each.structure for each in found} == {
        records.Structure(KERNEL.structure(), "float32", "x86-64-v3")
    }
    assert {each.plan for each in found} == {KERNEL.plan()}
    assert all(each.conditions == {"rows": 64, "threads": 1} for each in found)


def test_points_outside_the_space_are_refused() -> None:
    module = sampling.workload(KERNEL, "float32", "x86-64-v3")
    with pytest.raises(ScheduleError, match=r"decided: lanes: expected one of \[.*got 5"):
        sampling.decided(module, CHOICES, RULE, {**RULE, "lanes": 5})
