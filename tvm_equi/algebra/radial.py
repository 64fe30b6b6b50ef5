"""The last linear layer of a radial perceptron, to be computed inside a convolution.

In: the type of a tensor product's weights. Out: the kernel w = h W that gives them per edge from
the perceptron's hidden values, for `algebra.convolution.substitute`: weights then never go to
memory.
"""

from __future__ import annotations

from functools import lru_cache

from tvm_equi.algebra.contraction import Contraction, Operand, Path, Segment
from tvm_equi.algebra.kernel import Kernel, Step
from tvm_equi.errors import ArgumentError


@lru_cache(maxsize=512)
def radial_kernel(weights: Operand, num_hidden: int) -> Kernel:
    """The kernel w[e] = h[e] W.

    Args:
        weights: the type of w: one set per row, all of one component.
        num_hidden: columns of h.

    Returns:
        A kernel with inputs h [rows, num_hidden] and W, and the output w. W is one block
        [num_hidden, mul] for each segment of the weights, one after another.

    Raises:
        ArgumentError: the weights are shared.
    """
    if weights.rows != "row":
        raise ArgumentError(
            f"radial_kernel: weights: expected one set per row, got rows {weights.rows!r}"
        )
    h = Operand((Segment(num_hidden, 1),))
    blocks = tuple(Segment(num_hidden * segment.mul, 1) for segment in weights.segments)
    matrix = Operand(blocks, "mul_ir", "shared")
    paths = tuple(
        Path((0, number, number), ("u", "uw", "w"), (("u", num_hidden), ("w", segment.mul)), 1.0)
        for number, segment in enumerate(weights.segments)
        if segment.mul and num_hidden
    )
    return Kernel(
        (Contraction("mix", (h, matrix, weights), (0, 2), paths),),
        ("h", "W"),
        ("w",),
        (("h", h), ("W", matrix), ("w", weights)),
        (Step(0, ("h", "W", "w"), 2),),
    )
