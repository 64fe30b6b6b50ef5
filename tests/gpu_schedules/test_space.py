"""The design space for GPUs: whatever is decided, kernels give the oracle's values, as OpenCL.

The operands are those that a tuner measures with.
"""

import pytest
import torch

from tests.kernels import kinds
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.schedule import space
from tvm_equi.schedule.targets import OPENCL, gpu_target
from tvm_equi.tuning.operands import make_case

KINDS = kinds()
TARGET = gpu_target(OPENCL)
NAMES = ("uvu gradient", "uvw", "linear gradient", "conv uvu gradient 0", "conv uvw gradient 0")


def points(kernel: Kernel) -> list[dict[str, object]]:
    """The rule, the ends of every choice, and one point in which all choices differ from it."""
    rule = space.as_point(space.rule(kernel, "float64", TARGET))
    found: list[dict[str, object]] = [{}]
    last: dict[str, object] = {}
    for choice in space.choices(kernel, "float64", TARGET):
        others = [value for value in choice.values if value != rule[choice.name]]
        found += [{choice.name: value} for value in {0: others[0], 1: others[-1]}.values()]
        last[choice.name] = others[0]
    return [*found, last]


@pytest.mark.parametrize("name", NAMES)
def test_every_choice_gives_the_oracles_values(name: str, opencl: None) -> None:
    from tests.gpu_schedules.opencl import Program, called

    kernel = KINDS[name]
    case = make_case(kernel, "float64", 150, device="cuda")
    start = len(case.inputs)
    sources, run = set(), 0
    for point in points(kernel):
        if not space.is_legal_point(kernel, "float64", TARGET, point):
            continue
        program = Program(kernel, "float64", point)
        tensors = [torch.tensor(array) for array in case.arguments]
        called(program, kernel)(*tensors)
        outputs = [tensor.numpy() for tensor in tensors[start : start + len(case.outputs)]]
        assert case.error(outputs, is_whole=True) < 1e-12, point
        sources.add(program.source)
        run += 1
    assert run > 8
    assert len(sources) > 4  # choices change the code
