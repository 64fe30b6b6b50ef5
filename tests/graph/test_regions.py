"""Kernels of operations, and which weights remain when paths go."""

import numpy as np

from tvm_equi.algebra.evaluate import evaluate
from tvm_equi.graph.operations import Instruction, TensorProduct
from tvm_equi.graph.regions import coupling_part, kept_ranges, kernel_of
from tvm_equi.graph.types import canonical_irreps


def test_kept_ranges_merge_neighbours() -> None:
    assert kept_ranges((2, 3, 4, 1), [True, True, False, True]) == ((0, 5), (9, 10))
    assert kept_ranges((2, 0, 4), [False, True, True]) == ((2, 6),)
    assert kept_ranges((2,), [False]) == ()


def test_coupling_part_leaves_zero_paths_out() -> None:
    irreps = canonical_irreps("2x0e+2x1o+0x2e")
    product = TensorProduct(
        irreps,
        canonical_irreps("1o"),
        canonical_irreps("2x0e+2x1o+2x2e"),
        (
            Instruction(0, 0, 0, "uvu", True, 1.0),  # 0 x 1 has no 0
            Instruction(0, 0, 1, "uvu", True, 1.0),
            Instruction(1, 0, 1, "uvu", True, 1.0),  # 1o x 1o is even
            Instruction(1, 0, 2, "uvu", True, 0.0),
            Instruction(1, 0, 0, "uvu", True, 1.0),
            Instruction(2, 0, 1, "uvu", True, 1.0),  # no channels
        ),
        "row",
    )
    live, ranges = coupling_part(product)
    assert [ins.i_out for ins in live.instructions] == [1, 0]
    assert ranges == ((2, 4), (8, 10))
    assert live.weights == "row"
    arrays = [np.ones((3, 8)), np.ones((3, 3)), np.ones((3, 4))]
    assert evaluate(kernel_of(live), arrays)[0].shape == (3, 18)
