"""MetaSchedule's parts: proposals are legal and new, and the cost model learns from decisions."""

import subprocess
import sys

import numpy as np
import pytest

from tests.kernels import kinds
from tvm_equi.errors import TuningError
from tvm_equi.schedule import sampling, space
from tvm_equi.schedule.targets import cpu_target
from tvm_equi.tuning import metaschedule

TARGET = cpu_target("x86-64-v3")
KERNEL = kinds()["conv uvu gradient 0"]
CHOICES = space.choices(KERNEL, "float32", TARGET)
KNOWN = space.as_point(space.rule(KERNEL, "float32", TARGET))
RULE = {choice.name: KNOWN[choice.name] for choice in CHOICES}


def test_search_finds_the_best_of_a_made_up_cost() -> None:
    ms = metaschedule.meta_schedule()
    module = sampling.workload(KERNEL, "float32", "x86-64-v3")
    store = ms.database.MemoryDatabase()
    workload = store.commit_workload(module)
    context = metaschedule.context(KERNEL, CHOICES, RULE, module, "float32", TARGET, 1)
    model = metaschedule.cost_model(CHOICES)
    arguments = ms.arg_info.ArgInfo.from_entry_func(module, remove_preproc=False)
    context.pre_tuning(512, 8, None, store, model)

    def cost(point: dict[str, object]) -> float:
        """Tiles of 4 and wide lanes are best."""
        return 1.0 + abs(int(point["row_tile"]) - 4) + 16 / int(point["lanes"])  # type: ignore[call-overload]

    best, points = [], []
    for _ in range(10):
        candidates = list(context.generate_measure_candidates() or [])
        found = [sampling.read_point(each.sch.mod) for each in candidates]
        assert all(space.is_legal_point(KERNEL, "float32", TARGET, each) for each in found)
        points += found
        results = [ms.runner.RunnerResult([cost(each)], None) for each in found]
        for each, result in zip(candidates, results, strict=True):
            store.commit_tuning_record(
                ms.database.TuningRecord(
                    each.sch.trace, workload, result.run_secs, context.target, arguments
                )
            )
        model.update(context, candidates, results)
        context.notify_runner_results(candidates, results)
        best.append(min(cost(each) for each in points))
    assert best[-1] == cost({"row_tile": 4, "lanes": 16})
    assert len({str(each) for each in points}) > 0.9 * len(points)
    some = candidates + [ms.MeasureCandidate(_decided(tile), arguments) for tile in (4, 64)]
    scores = np.asarray(model.predict(context, some))
    assert scores[-2] > scores[-1]


def _decided(row_tile: int):  # type: ignore[no-untyped-def]
    module = sampling.workload(KERNEL, "float32", "x86-64-v3")
    return sampling.decided(module, CHOICES, RULE, {**RULE, "row_tile": row_tile, "lanes": 16})


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    metaschedule.meta_schedule.cache_clear()
    monkeypatch.setattr(metaschedule, "NEEDED", ("xgboost", "no_such_package"))
    with pytest.raises(
        TuningError, match=r"got no no_such_package; pip install 'tvm_equi\[tune\]'"
    ):
        metaschedule.meta_schedule()


def test_tensor_intrinsics_are_not_parsed_and_can_be_imported_later() -> None:
    """Importing them takes up to half a minute, so that here they are only looked for."""
    code = (
        "import importlib.util, sys\n"
        "from tests.tuning.test_metaschedule import *\n"
        "module = sampling.workload(KERNEL, 'float32', 'x86-64-v3')\n"
        "metaschedule.context(KERNEL, CHOICES, RULE, module, 'float32', TARGET, 1)\n"
        "name = 'tvm.s_tir.tensor_intrin'\n"
        "print(name in sys.modules, importlib.util.find_spec(name).submodule_search_locations)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    is_there, _, folders = done.stdout.partition(" ")
    assert is_there == "False"
    assert "tensor_intrin" in folders


def test_results() -> None:
    assert [float(each) for each in metaschedule.result(2.0).run_secs] == [2.0]
    failed = metaschedule.result(float("inf"))
    assert (failed.run_secs, str(failed.error_msg)) == (None, "failed")
