"""Terms of every family and role equal the oracle, for rows whose sums need no other threads."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from tvm.script.ir_builder import tirx as T

from tests.lower.gpu.helpers import assert_close, outputs, random_inputs, run_emitted
from tests.lower.test_primfunc import MODES, product
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.lower.gpu.decisions import GpuDecisions
from tvm_equi.lower.gpu.launches import Item, Walk, lane_letter, loop_letter
from tvm_equi.lower.gpu.sums import Registers, plan_sums
from tvm_equi.lower.gpu.terms import Terms
from tvm_equi.lower.gpu.values import At, Letters, Memory

ALONE = GpuDecisions(min_table_lanes=1000)
"""Every thread combines its coefficients itself."""


@pytest.mark.parametrize("exact", [False, True])
def test_one_row(exact: bool) -> None:
    """Terms alone, of one launch, into memory that other rows share."""
    kernel = product("uvu", (19, 1, 19), "row")
    (form,), (step,) = kernel.contractions, kernel.steps
    path = form.paths[0]
    lane = lane_letter(form, path, step.output)
    items = tuple(Item(number, step) for number in range(len(form.paths)))
    launch = Walk(0, items, lane, 0, path.extent(lane), loop_letter(path, lane), False, 0)
    inputs = random_inputs(kernel, 4)
    z = torch.full((4, kernel.operand("z").dim), 5.0, dtype=torch.float64)

    def emit(**buffers: Any) -> None:
        operands = {name: kernel.operand(name) for name in buffers}
        memory = Memory(operands, buffers, frozenset(), {}, "", "float64")
        sums = plan_sums(form, launch, "")
        written = dict.fromkeys(sums, False)
        with T.serial(0, launch.lanes) as thread:
            registers = Registers(sums, "float64")
            registers.zero("row")
            terms = Terms(form, launch, memory, sums, registers, None, written, exact=exact)
            terms.emit(At(row=2), Letters(lane, thread, ""), 0)
            for key in registers.buffers:
                for k, value in enumerate(registers.values(key)):
                    first = kernel.operand("z").offsets[key[1]]
                    T.buffer_store(buffers["z"], value, [2, first + thread * sums[key].dim + k])

    tensors = {n: torch.tensor(a) for n, a in zip(kernel.inputs, inputs, strict=True)}
    run_emitted(emit, {**tensors, "z": z})
    (wanted,) = evaluate(kernel, inputs)
    reached = sum(segment.size for segment in kernel.operand("z").segments[:2])
    assert_close([z[2, :reached].numpy()], [wanted[2, :reached]])
    assert (z[[0, 1, 3]] == 5).all()
    assert (z[2, reached:] == 5).all()


@pytest.mark.parametrize(("mode", "u", "v", "w"), MODES)
def test_equals_the_oracle(mode: str, u: int, v: int, w: int) -> None:
    kernel = product(mode, (u, v, w), "row")
    inputs = random_inputs(kernel, 3)
    assert_close(outputs(kernel, ALONE, inputs), evaluate(kernel, inputs))


@pytest.mark.parametrize(
    ("mode", "muls"), [("uvu", (3, 11, 3)), ("uvuv", (17, 2, 34)), ("uuu", (21, 21, 21))]
)
def test_gradients_equal_the_oracle(mode: str, muls: tuple[int, int, int]) -> None:
    """Where every operand has channels of its own, no gradient is summed over lanes."""
    kernel = product(mode, muls, "row")
    for some in itertools.chain([(0,), (1,), (2,)], [(0, 1, 2)]):
        gradient = vjp(kernel, some, (0,))
        inputs = random_inputs(gradient, 2)
        assert_close(outputs(gradient, ALONE, inputs), evaluate(gradient, inputs))
    twice = vjp(vjp(kernel, (0, 1, 2), (0,)), (0, 1, 2, 3), (0, 1, 2))
    inputs = random_inputs(twice, 2)
    assert_close(outputs(twice, ALONE, inputs), evaluate(twice, inputs))


def test_no_weights() -> None:
    kernel = product("uvuv", (3, 5, 15), "none")
    for one in (kernel, vjp(kernel, (0, 1), (0,))):
        inputs = random_inputs(one, 3)
        assert_close(outputs(one, ALONE, inputs), evaluate(one, inputs))


def test_one_thread_per_row() -> None:
    for mode in ("uvu", "uuu"):
        kernel = vjp(product(mode, (1, 1, 1), "row"), (0, 1, 2), (0,))
        inputs = random_inputs(kernel, 70)
        assert_close(outputs(kernel, ALONE, inputs), evaluate(kernel, inputs))


def test_constants_of_matrices() -> None:
    """The scale of a path is applied once, whichever operand is computed."""
    kernel = product("uvw", (5, 1, 8), "row")
    for some in ((0,), (2,)):
        gradient = vjp(kernel, some, (0,))
        inputs = random_inputs(gradient, 2)
        (found,), (wanted,) = outputs(gradient, ALONE, inputs), evaluate(gradient, inputs)
        assert np.abs(wanted).max() > 0
        assert_close([found], [wanted])
