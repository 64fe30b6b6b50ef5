"""The kernels of the workloads, as the package calls them: what is tuned, and raced with the rule.

In: workloads. Out: kernels by workload, form ("rows" or "edges") and pass (forward, backward,
double backward: with respect to everything). A convolution may take two kernels for a pass, and one
with shared weights products on nodes beside that over edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from bench.counts import KERNELS
from bench.kernels import kernel_of
from bench.workloads import Workload

FORMS = ("rows", "edges")


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel of a workload.

    Args:
        workload: its name.
        form: "rows" or "edges".
        kernel: one of `KERNELS`.
        part: number of the kernel, where a pass has several.
        plan: of the kernel.
    """

    workload: str
    form: str
    kernel: str
    part: int
    plan: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.workload} {self.form} {self.kernel}" + (f" {self.part}" if self.part else "")


def entries(workloads: Iterable[Workload]) -> Iterator[Entry]:
    """The kernels, each once, the most used passes first.

    Args:
        workloads: to take apart.
    """
    from tvm_equi.runtime.kernel_plans import kernel_plans, planned_kernel
    from tvm_equi.runtime.plans import derivative_plans

    seen: set[str] = set()
    workloads = list(workloads)
    for number, kernel in enumerate(KERNELS):
        for form in FORMS:
            for workload in workloads:
                plans = [derivative_plans(plan, number)[-1] for plan in _plans(workload, form)]
                parts = [part for plan in plans for part in kernel_plans(plan)]
                for position, part in enumerate(parts):
                    found = planned_kernel(part)
                    if found.structure() not in seen:
                        seen.add(found.structure())
                        yield Entry(workload.name, form, kernel, position, found.plan())


def _plans(workload: Workload, form: str) -> list[str]:
    """Plans of the forward pass."""
    from tvm_equi.nn.stages import stage_plans

    plan = kernel_of(workload.build(torch.float32)).plan()
    if form == "rows":
        return [plan]
    stages = stage_plans(plan)
    return [each for each in (stages.edges, stages.before, stages.after) if each]
