"""Plans of stages: names and kernels; `tests/nn/test_stages.py` has their numbers."""

from tests.nn.test_stages import product
from tvm_equi.nn import stages
from tvm_equi.runtime.plans import resolve
from tvm_equi.runtime.stage_plans import stage_plans


def test_plans() -> None:
    inside = stage_plans(product("row"), 5, "component")
    assert inside.inputs == ("x", "one", "vectors", "radial", "last")
    assert inside == stages.stage_plans(product("row"), 5, "component")
    kernel = resolve(inside.edges)
    assert [kernel.operand(name).dim for name in kernel.inputs] == [20, 1, 3, 5, 5 * 34]
    assert kernel.operand(kernel.outputs[0]).rows == "receiver"
    shared = stage_plans(product("shared", over_edges=True))
    assert resolve(shared.before).inputs == ("x", "w")
    assert resolve(shared.after).outputs == ("z",)
