"""Usual sets of paths of a tensor product.

In: irreps. Out: the irreps of the output and e3nn's instruction tuples, not yet normalised.
"""

from __future__ import annotations

from typing import TypeAlias

from tvm_equi.graph.operations.products import is_allowed
from tvm_equi.graph.types import Irrep, IrrepsText, canonical_irreps, format_irreps, parse_irreps

RawInstruction: TypeAlias = tuple[int, int, int, str, bool, float]
"""(i_in1, i_in2, i_out, mode, has_weight, path_weight), as e3nn.o3.TensorProduct takes it."""


def channelwise(in1: str, in2: str, out: str) -> tuple[IrrepsText, tuple[RawInstruction, ...]]:
    """Every path whose irrep is in `out`, channel by channel (uvu), each into a segment of its own.

    Args:
        in1: irreps of x, which has the channels.
        in2: irreps of y.
        out: the irreps to keep; their multiplicities play no part.

    Returns:
        The irreps of the output, sorted, and the instructions in the order of their output.

    Source:
        NequIP and MACE: mace/modules/irreps_tools.py, `tp_out_irreps_with_instructions`.

    Example:
        >>> channelwise("2x0e", "0e+1o", "0e+1o")[0]
        '2x0e+2x1o'
    """
    wanted = {irrep.ir for irrep in parse_irreps(out)}
    found = []
    for i, left in enumerate(parse_irreps(in1)):
        for j, right in enumerate(parse_irreps(in2)):
            parity = left.parity * right.parity
            for degree in range(abs(left.degree - right.degree), left.degree + right.degree + 1):
                if (degree, parity) in wanted:
                    found.append((Irrep(left.mul, degree, parity), i, j))
    found.sort(key=lambda item: item[0].ir)
    irreps = format_irreps(tuple(item[0] for item in found))
    return irreps, tuple((i, j, k, "uvu", True, 1.0) for k, (_, i, j) in enumerate(found))


def aligned(in1: str, in2: str, out: str) -> tuple[IrrepsText, tuple[RawInstruction, ...]]:
    """Every path whose irrep is in `out`, channel u of x with channel u of y (uuu).

    Args:
        in1: irreps of x.
        in2: irreps of y; only segments with the same number of channels meet.
        out: the irreps to keep; their multiplicities play no part.

    Returns:
        The irreps of the output, sorted, one segment per path, and the instructions in the order of
        their output.

    Source:
        The products of a node or an edge with itself or with its environment in Cormorant, Allegro
        and ACE.

    Example:
        >>> aligned("2x0e+2x1o", "2x1o", "0e+1o")[0]
        '2x0e+2x1o'
    """
    wanted = {irrep.ir for irrep in parse_irreps(out)}
    found = [
        (Irrep(left.mul, degree, left.parity * right.parity), i, j)
        for i, left in enumerate(parse_irreps(in1))
        for j, right in enumerate(parse_irreps(in2))
        for degree in range(abs(left.degree - right.degree), left.degree + right.degree + 1)
        if left.mul == right.mul and (degree, left.parity * right.parity) in wanted
    ]
    found.sort(key=lambda item: item[0].ir)
    irreps = format_irreps(tuple(item[0] for item in found))
    return irreps, tuple((i, j, k, "uuu", True, 1.0) for k, (_, i, j) in enumerate(found))


def fully_connected(in1: str, in2: str, out: str) -> tuple[IrrepsText, tuple[RawInstruction, ...]]:
    """Every allowed triple of segments, all channels mixed (uvw).

    Args:
        in1: irreps of x.
        in2: irreps of y.
        out: irreps of the output.

    Source:
        e3nn 0.6, o3/_tensor_product/_sub.py, `FullyConnectedTensorProduct`.
    """
    instructions = tuple(
        (i, j, k, "uvw", True, 1.0)
        for i, left in enumerate(parse_irreps(in1))
        for j, right in enumerate(parse_irreps(in2))
        for k, target in enumerate(parse_irreps(out))
        if is_allowed(left, right, target)
    )
    return canonical_irreps(out), instructions
