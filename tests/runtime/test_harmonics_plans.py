"""Steps from one degree to others; `tests/nn/test_spherical_harmonics.py` has their numbers."""

from tvm_equi.runtime.harmonics_plans import harmonics_steps
from tvm_equi.runtime.plans import resolve


def test_steps() -> None:
    assert harmonics_steps({0, 1}, "component") == []
    steps = harmonics_steps({2, 3, 5}, "norm")
    assert [(s.sources, s.partner, s.targets) for s in steps] == [
        ((1,), 1, (2,)),
        ((1, 2), 2, (3, 4)),
        ((1,), 4, (5,)),
    ]
    kernel = resolve(steps[1].plan)
    assert [kernel.operand(name).dim for name in (*kernel.inputs, *kernel.outputs)] == [8, 5, 16]
