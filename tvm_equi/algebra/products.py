"""Kernels of e3nn's tensor products and linear layers.

In: irreps as (mul, l) pairs and instructions whose coefficients are already normalised. Out: a
`Kernel` in normal form, where every step couples channel by channel ("couple"), multiplies by a
weight matrix ("mix"), or relabels channels ("select"). A weight matrix is applied before or after
the coupling, whichever costs fewer multiply-adds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

from tvm_equi.algebra.contraction import (
    PAIRS,
    Contraction,
    Family,
    Layout,
    Operand,
    Path,
    Rows,
    Segment,
    coupling_tensor,
)
from tvm_equi.algebra.kernel import Kernel, Step
from tvm_equi.errors import ArgumentError

Irreps = tuple[tuple[int, int], ...]
"""(multiplicity, degree l) of each irrep; parity plays no part in arithmetic."""

WeightRows = Literal["none", "row", "shared"]

WEIGHT_CHANNELS = {
    "uvw": "uvw",
    "uvu": "uv",
    "uvv": "uv",
    "uuw": "uw",
    "uuu": "u",
    "uvuv": "uv",
    "uvu<v": PAIRS,
    "u<vw": PAIRS + "w",
}
"""The channel pattern of the weights of each of e3nn's connection modes."""


@dataclass(frozen=True, slots=True, order=True)
class Instruction:
    """One path of a tensor product, as in e3nn, with its final coefficient.

    Args:
        i_in1: index into the irreps of x.
        i_in2: index into the irreps of y.
        i_out: index into the irreps of z.
        mode: e3nn's connection mode.
        has_weight: whether weights multiply the path.
        coefficient: factor of the Wigner 3j symbol, every normalisation included.
    """

    i_in1: int
    i_in2: int
    i_out: int
    mode: str
    has_weight: bool
    coefficient: float


@dataclass(slots=True)
class _Builder:
    """Collects paths under the contraction and step that they share.

    Args:
        on_nodes: whether matrices of weights act on nodes, beside the rows.
    """

    on_nodes: bool = False
    forms: dict[tuple[Family, tuple[str, ...]], list[Path]] = field(default_factory=dict)
    segments: dict[str, list[Segment]] = field(default_factory=dict)
    types: dict[str, Operand] = field(default_factory=dict)

    def add(self, family: Family, names: tuple[str, ...], path: Path) -> None:
        """Adds a path to the step that computes names[-1] from the others."""
        self.forms.setdefault((family, names), []).append(path)

    def temporary(self, name: str, mul: int, dim: int) -> int:
        """A new segment of a temporary; returns its index."""
        self.segments.setdefault(name, []).append(Segment(mul, dim))
        return len(self.segments[name]) - 1

    def kernel(self, order: Iterable[str], inputs: tuple[str, ...]) -> Kernel:
        """The kernel whose steps run in the given order of targets."""
        for name, segments in self.segments.items():
            self.types[name] = Operand(tuple(segments), "ir_mul", "row")
        rank = {name: number for number, name in enumerate(order)}
        contractions, steps = [], []
        for (family, names), paths in sorted(self.forms.items(), key=lambda f: rank[f[0][1][-1]]):
            coupled = tuple(slot for slot, name in enumerate(names) if name != "w")
            operands = tuple(self.types[name] for name in names)
            contractions.append(Contraction(family, operands, coupled, tuple(paths)))
            steps.append(Step(len(contractions) - 1, names, len(names) - 1))
        outside = (*inputs, "z")
        return Kernel(
            tuple(contractions),
            inputs,
            ("z",),
            tuple((name, self.types[name]) for name in outside),
            tuple(steps),
        )


def _operand(irreps: Irreps, layout: Layout) -> Operand:
    return Operand(tuple(Segment(mul, 2 * degree + 1) for mul, degree in irreps), layout, "row")


@lru_cache(maxsize=512)
def tensor_product_kernel(
    in1: Irreps,
    in2: Irreps,
    out: Irreps,
    instructions: tuple[Instruction, ...],
    *,
    weight_rows: WeightRows,
    layout: Layout = "mul_ir",
    over_edges: bool = False,
) -> Kernel:
    """The kernel z = TP(x, y, w) of an e3nn tensor product.

    Args:
        in1: irreps of x.
        in2: irreps of y.
        out: irreps of z.
        instructions: the paths; weights are in the order of the instructions that have them.
        weight_rows: "row" for one set of weights per row, "shared" for one in all, "none" where no
            path has any.
        layout: of x, y and z.
        over_edges: whether rows are edges of a graph, so that a matrix of shared weights acts on
            its nodes (`algebra.convolution.stages`) and what counts is the work on edges.

    Returns:
        A kernel with inputs x [rows, in1.dim], y [rows, in2.dim] and, unless `weight_rows` is
        "none", w ([rows, n] or [n]), and the output z [rows, out.dim].

    Raises:
        ArgumentError: an unknown mode, or multiplicities that do not fit a mode.

    Source:
        e3nn.o3.TensorProduct (e3nn 0.6), section "Parameters" for the modes and the order of
        weights.
    """
    build = _Builder(on_nodes=over_edges and weight_rows == "shared")
    build.types = {
        name: _operand(irreps, layout) for name, irreps in (("x", in1), ("y", in2), ("z", out))
    }
    weights: list[Segment] = []
    for number, ins in enumerate(instructions):
        if ins.mode not in WEIGHT_CHANNELS:
            raise ArgumentError(
                f"tensor_product_kernel: instructions[{number}].mode: expected one of "
                f"{sorted(WEIGHT_CHANNELS)}, got {ins.mode!r}"
            )
        muls = (in1[ins.i_in1][0], in2[ins.i_in2][0], out[ins.i_out][0])
        count = _num_weights(ins, muls) if ins.has_weight else 0
        if ins.has_weight:
            weights.append(Segment(count, 1))
        if 0 not in muls:
            _add_instruction(build, ins, muls, len(weights) - 1)
    inputs: tuple[str, ...] = ("x", "y")
    if weight_rows != "none":
        rows: Rows = "row" if weight_rows == "row" else "shared"
        build.types["w"] = Operand(tuple(weights), "mul_ir", rows)
        inputs = ("x", "y", "w")
    return build.kernel(("px", "py", "h", "k", "t", "s", "z"), inputs)


def _num_weights(ins: Instruction, muls: tuple[int, int, int]) -> int:
    """The number of weights of one instruction."""
    extents = dict(zip("uvw", muls, strict=True))
    channels = WEIGHT_CHANNELS[ins.mode]
    count = 1
    if channels.startswith(PAIRS):
        count, channels = muls[0] * (muls[0] - 1) // 2, channels.removeprefix(PAIRS)
    for letter in channels:
        count *= extents[letter]
    return count


def _add_instruction(
    build: _Builder, ins: Instruction, muls: tuple[int, int, int], weight: int
) -> None:
    """Adds the steps of one instruction."""
    u, v, w = muls
    d1, d2, d3 = (
        build.types[name].segments[index].dim
        for name, index in (("x", ins.i_in1), ("y", ins.i_in2), ("z", ins.i_out))
    )
    x, y, z, scale = ins.i_in1, ins.i_in2, ins.i_out, ins.coefficient
    match ins.mode:
        case "uvu" | "uvv" | "uvuv" | "uuu":
            extents = (("u", u),) if ins.mode == "uuu" else (("u", u), ("v", v))
            channels = ("u", "u", "u") if ins.mode == "uuu" else ("u", "v", ins.mode[2:])
            _add_coupling(build, ins, ("x", "y"), (x, y), channels, extents, weight)
        case "uvw" if v == 1 and (w < u if build.on_nodes else _weights_first(u, w, d1, d2, d3)):
            h = build.temporary("h", w, d1)
            mix = Path((x, weight, h), ("u", "uw", "w"), (("u", u), ("w", w)), 1.0)
            build.add("mix", ("x", "w", "h"), mix)
            couple = Path((h, y, z), ("u", "v", "u"), (("u", w), ("v", 1)), scale)
            build.add("couple", ("h", "y", "z"), couple)
        case "uvw" if u == 1 and not build.on_nodes and _weights_first(v, w, d2, d1, d3):
            k = build.temporary("k", w, d2)
            mix = Path((y, weight, k), ("u", "uw", "w"), (("u", v), ("w", w)), 1.0)
            build.add("mix", ("y", "w", "k"), mix)
            couple = Path((x, k, z), ("u", "v", "v"), (("u", 1), ("v", w)), scale)
            build.add("couple", ("x", "k", "z"), couple)
        case "uvw":
            t = build.temporary("t", u * v, d3)
            couple = Path((x, y, t), ("u", "v", "uv"), (("u", u), ("v", v)), scale)
            build.add("couple", ("x", "y", "t"), couple)
            mix = Path((t, weight, z), ("u", "uw", "w"), (("u", u * v), ("w", w)), 1.0)
            build.add("mix", ("t", "w", "z"), mix)
        case "uuw":
            t = build.temporary("t", u, d3)
            couple = Path((x, y, t), ("u", "u", "u"), (("u", u),), scale)
            build.add("couple", ("x", "y", "t"), couple)
            if ins.has_weight:
                mix = Path((t, weight, z), ("u", "uw", "w"), (("u", u), ("w", w)), 1.0)
                build.add("mix", ("t", "w", "z"), mix)
            else:
                build.add("select", ("t", "z"), Path((t, z), ("u", ""), (("u", u),), 1.0))
        case _:
            _add_pairs(build, ins, (u, w), (d1, d2, d3), weight)


def _add_coupling(
    build: _Builder,
    ins: Instruction,
    names: tuple[str, str],
    segments: tuple[int, int],
    channels: tuple[str, str, str],
    extents: tuple[tuple[str, int], ...],
    weight: int,
) -> None:
    """Adds a path from two values straight to z, weighted if the instruction says so."""
    left, right, target = channels
    if not ins.has_weight:
        path = Path((*segments, ins.i_out), channels, extents, ins.coefficient)
        build.add("couple", (*names, "z"), path)
        return
    of_weight = "u" if target == right == left else "uv"
    path = Path(
        (*segments, weight, ins.i_out),
        (left, right, of_weight, target),
        extents,
        ins.coefficient,
    )
    build.add("couple", (*names, "w", "z"), path)


def _add_pairs(
    build: _Builder,
    ins: Instruction,
    extents: tuple[int, int],
    dims: tuple[int, int, int],
    weight: int,
) -> None:
    """Adds the steps of a mode over pairs u < v: spread both operands, then couple them."""
    (u, w), (d1, d2, d3) = extents, dims
    num_pairs = u * (u - 1) // 2
    if num_pairs == 0:
        return
    both, pair = (("u", u), ("v", u)), (("u", num_pairs),)
    px, py = build.temporary("px", num_pairs, d1), build.temporary("py", num_pairs, d2)
    build.add("select", ("x", "px"), Path((ins.i_in1, px), ("u", PAIRS), both, 1.0))
    build.add("select", ("y", "py"), Path((ins.i_in2, py), ("v", PAIRS), both, 1.0))
    if ins.mode == "uvu<v":
        _add_coupling(build, ins, ("px", "py"), (px, py), ("u", "u", "u"), pair, weight)
        return
    s = build.temporary("s", num_pairs, d3)
    build.add("couple", ("px", "py", "s"), Path((px, py, s), ("u",) * 3, pair, ins.coefficient))
    mix = Path((s, weight, ins.i_out), ("u", "uw", "w"), (("u", num_pairs), ("w", w)), 1.0)
    build.add("mix", ("s", "w", "z"), mix)


def _weights_first(num_in: int, num_out: int, d_mixed: int, d_other: int, d_out: int) -> bool:
    """Whether weights on one input cost fewer multiply-adds than weights on the coupled product."""
    pattern = np.any(coupling_tensor((d_mixed, d_other, d_out)) != 0, axis=1)
    pairs = int(np.count_nonzero(pattern))
    return num_out * (num_in * d_mixed + pairs) < num_in * (num_out * d_out + pairs)


@lru_cache(maxsize=512)
def linear_kernel(
    in1: Irreps,
    out: Irreps,
    instructions: tuple[tuple[int, int, float], ...],
    *,
    weight_rows: Literal["row", "shared"],
    layout: Layout = "mul_ir",
) -> Kernel:
    """The kernel z = Linear(x, w) of e3nn's equivariant linear layer.

    Args:
        in1: irreps of x.
        out: irreps of z.
        instructions: (i_in, i_out, coefficient); each has mul_in x mul_out weights, in this order.
        weight_rows: "row" for one set of weights per row, "shared" for one in all.
        layout: of x and z.

    Returns:
        A kernel with inputs x [rows, in1.dim] and w, and the output z [rows, out.dim].

    Source:
        e3nn.o3.Linear (e3nn 0.6).
    """
    build = _Builder()
    muls = [(in1[i][0], out[j][0]) for i, j, _ in instructions]
    weights = tuple(Segment(u * w, 1) for u, w in muls)
    build.types = {
        "x": _operand(in1, layout),
        "w": Operand(weights, "mul_ir", "row" if weight_rows == "row" else "shared"),
        "z": _operand(out, layout),
    }
    for number, ((i, j, coefficient), (u, w)) in enumerate(zip(instructions, muls, strict=True)):
        if u * w:
            extents = (("u", u), ("w", w))
            path = Path((i, number, j), ("u", "uw", "w"), extents, coefficient)
            build.add("mix", ("x", "w", "z"), path)
    return build.kernel(("z",), ("x", "w"))
