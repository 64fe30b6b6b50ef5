"""MetaSchedule's parts for a design space of decisions: sampler, mutator, judge, features, search.

In: a kernel's choices. Out: a `TuneContext` whose evolutionary search proposes schedules of the
kernel's stand-in (`schedule/sampling.py`), and a cost model that learns from decisions: loops say
nothing here, since every candidate has the same.
"""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.errors import TuningError
from tvm_equi.schedule import sampling, space
from tvm_equi.schedule.space import Choice, Point
from tvm_equi.schedule.targets import CpuTarget, GpuTarget

NEEDED = ("xgboost", "cloudpickle", "psutil", "tornado")
POPULATION = 48
WARM_UP = 8
"""Measurements of a kernel from which the cost model predicts."""


@lru_cache(maxsize=1)
def meta_schedule() -> Any:
    """The module `tvm.s_tir.meta_schedule`.

    Raises:
        TuningError: a package that it needs is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise TuningError(
            f"tune: expected the packages of MetaSchedule, got no {', '.join(missing)}; "
            "pip install 'tvm_equi[tune]'"
        )
    with _no_intrinsics():
        from tvm.s_tir import meta_schedule as module
    return module


@contextmanager
def _no_intrinsics() -> Iterator[None]:
    """An import of TVM's tensor intrinsics that brings none: parsing them all takes up to 14 s."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        yield
        return
    import tvm.s_tir

    tvm.s_tir.tensor_intrin = sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name], tvm.s_tir.tensor_intrin


def result(seconds: float) -> Any:
    """A measurement as MetaSchedule has it.

    Args:
        seconds: measured; infinite where the candidate failed.
    """
    if seconds == float("inf"):
        return meta_schedule().runner.RunnerResult(None, "failed")
    return meta_schedule().runner.RunnerResult([seconds], None)


def context(
    kernel: Kernel,
    choices: tuple[Choice, ...],
    rule: Point,
    module: Any,
    dtype: str,
    target: CpuTarget | GpuTarget,
    seed: int,
) -> Any:
    """A `TuneContext` over a design space.

    Args:
        kernel: the program.
        choices: of the space.
        rule: the rule's value of each.
        module: the workload that stands for the kernel.
        dtype: of its values.
        target: the CPU or GPUs.
        seed: of the search, from 1.
    """
    ms = meta_schedule()
    generator = ms.space_generator.ScheduleFn(
        lambda schedule: sampling.sample(schedule, choices, rule),
        sch_rules=[],
        postprocs=[_judge(kernel, dtype, target)],
        mutator_probs={_mutator(seed): 1.0},
    )
    strategy = ms.search_strategy.EvolutionarySearch(
        population_size=POPULATION,
        init_measured_ratio=0.5,
        init_min_unmeasured=4,
        max_fail_count=20,
        genetic_num_iters=3,
        genetic_mutate_prob=0.9,
        eps_greedy=0.1,
    )
    with _no_intrinsics():
        return ms.TuneContext(
            mod=module,
            target=tvm_target(target),
            space_generator=generator,
            search_strategy=strategy,
            task_name=kernel.key()[:12],
            rand_state=seed,
            num_threads=1,
            logger=_silent(),
        )


def tvm_target(target: CpuTarget | GpuTarget) -> Any:
    """The TVM target that records name.

    Args:
        target: the CPU or GPUs.
    """
    import tvm

    if isinstance(target, CpuTarget):
        return tvm.target.Target({"kind": "llvm", "mcpu": target.mcpu, "num-cores": 1})
    return target.tvm_target()


def cost_model(choices: tuple[Choice, ...]) -> Any:
    """XGBoost on decisions, for one kernel.

    Args:
        choices: of its space.
    """
    ms = meta_schedule()
    from tvm.ir.utils import derived_object

    @derived_object
    class Decided(ms.feature_extractor.PyFeatureExtractor):  # type: ignore[misc, name-defined]
        """One row per candidate: each choice as its place in order, and as one of its values."""

        def extract_from(self, context: Any, candidates: list[Any]) -> list[Any]:
            import tvm

            del context
            rows = [_features(choices, each.sch.mod) for each in candidates]
            return [tvm.runtime.tensor(row) for row in rows]

    return ms.cost_model.XGBModel(
        extractor=Decided(), num_warmup_samples=WARM_UP, num_tuning_cores=1, verbose_eval=0
    )


def _features(choices: tuple[Choice, ...], module: Any) -> Any:
    """The features of a candidate: float32 [1, features]."""
    point = sampling.read_point(module)
    row: list[float] = []
    for choice in choices:
        index = choice.values.index(point[choice.name])
        row.append(index / len(choice.values))
        row += [float(number == index) for number in range(len(choice.values))]
    return np.array([row], dtype="float32")


def _mutator(seed: int) -> Any:
    """Gives one choice, or sometimes two, another value."""
    ms = meta_schedule()
    from tvm.ir.utils import derived_object

    @derived_object
    class Mutator(ms.mutator.PyMutator):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.random = random.Random(seed)

        def _initialize_with_tune_context(self, context: Any) -> None:
            del context

        def apply(self, trace: Any, _: Any) -> Any:
            found = sampling.samples(trace)
            for instruction in self.random.sample(
                found, min(len(found), self.random.choice((1, 1, 2)))
            ):
                count = len(instruction.attrs[0])
                index = self.random.randrange(count)
                trace = trace.with_decision(instruction, index, remove_postproc=True)
            return trace

        def clone(self) -> Any:
            return Mutator()

    return Mutator()


def _judge(kernel: Kernel, dtype: str, target: CpuTarget | GpuTarget) -> Any:
    """Refuses what is not legal."""
    ms = meta_schedule()
    from tvm.ir.utils import derived_object

    @derived_object
    class Judge(ms.postproc.PyPostproc):  # type: ignore[misc, name-defined]
        def _initialize_with_tune_context(self, context: Any) -> None:
            del context

        def apply(self, schedule: Any) -> bool:
            point = sampling.read_point(schedule.mod)
            return space.is_legal_point(kernel, dtype, target, point)

        def clone(self) -> Any:
            return Judge()

    return Judge()


def _silent() -> Any:
    """A logger whose lines do not reach the terminal."""
    import logging

    logger = logging.getLogger("tvm_equi.metaschedule")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger
