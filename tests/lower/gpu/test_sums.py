"""How each output of a launch is kept, and registers."""

import torch
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tests.lower.gpu.helpers import forms, run_emitted
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.convolution import pass_order, passes, stages
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.lower.gpu.launches import Walk
from tvm_equi.lower.gpu.sums import Registers, Scope, Sum, plan_sums


def all_sums(kernel: Kernel, own: str = "") -> dict[tuple[str, int], Sum]:
    found = {}
    for _, launch, form in forms([kernel]):
        if isinstance(launch, Walk):
            found |= plan_sums(form, launch, own)
    return found


def kinds(kernel: Kernel, own: str = "") -> dict[str, tuple[Scope, bool, bool]]:
    """(scope, over lanes, in registers) of the first segment of each output."""
    sums = all_sums(kernel, own)
    return {
        name: (s.scope, s.over_lanes, s.in_registers)
        for (name, segment), s in sums.items()
        if segment == 0
    }


def test_rows() -> None:
    forward, backward, _ = derivatives(product("uvu", (19, 1, 19), "row"))
    sums = all_sums(forward)
    assert not sums["z", 0].in_registers  # stored by its only path
    assert sums["z", 1].in_registers  # added to by two
    assert (sums["z", 0].dim, sums["z", 1].dim) == (3, 5)
    assert kinds(backward) == {
        "o0": ("row", False, False),
        "o1": ("row", True, True),  # y: summed over the channels of x
        "o2": ("row", False, False),
    }


def test_loops() -> None:
    """An output with the loop letter goes to memory, one without is kept for all of the loop."""
    backward = derivatives(product("uvu", (3, 11, 3), "row"))[1]
    assert kinds(backward) == {
        "o0": ("row", False, True),
        "o1": ("row", False, True),
        "o2": ("row", False, False),
    }


def test_shared_outputs_are_kept_for_all_of_a_chunk() -> None:
    backward = derivatives(product("uvu", (19, 1, 19), "shared"))[1]
    assert kinds(backward)["o2"] == ("all", False, True)
    looped = derivatives(product("uvu", (3, 11, 3), "shared"))[1]
    assert kinds(looped)["o2"] == ("all", False, False)


def test_nodes() -> None:
    forward, backward, _ = derivatives(stages(product("uvu", (19, 1, 19), "row")).edges)
    assert kinds(forward, "receiver") == {"z": ("node", False, True)}
    for part in passes(backward):
        own = pass_order(part.kernel)
        for name, found in kinds(part.kernel, own).items():
            on_node = part.kernel.operand(name).rows == own
            assert found[0] == ("node" if on_node else "row")
            assert not on_node or found == ("node", False, True)


def test_registers() -> None:
    sums = {
        ("z", 0): Sum(2, "row", False, True, "u", 0),
        ("z", 1): Sum(3, "node", False, True, "u", 0),
        ("z", 2): Sum(5, "row", False, False, "u", 0),
    }
    out = torch.full((5,), -1.0)

    def emit(out: object) -> None:
        registers = Registers(sums, "float32")
        assert set(registers.buffers) == {("z", 0), ("z", 1)}
        registers.zero("row")
        registers.zero("node")
        one = tirx.FloatImm("float32", 1.0)
        for key in registers.buffers:
            for k in range(sums[key].dim):
                for _ in range(k + 1):
                    registers.add(key, k, one)
        registers.zero("row")
        registers.add(("z", 0), 1, one)
        values = [*registers.values(("z", 0)), *registers.values(("z", 1))]
        for number, value in enumerate(values):
            T.buffer_store(out, value, [number])

    run_emitted(emit, {"out": out})
    assert out.tolist() == [0, 1, 1, 2, 3]
