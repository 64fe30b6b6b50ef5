"""A tensor product over the edges of a graph, as calls of kernels on nodes and on edges.

In: the plan of a tensor product, and what is to be computed inside. Out: plans, and a function that
runs them. Weights that all edges share act on nodes, before edges or after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch

from tvm_equi.algebra.convolution import stages, substitute
from tvm_equi.algebra.harmonics import harmonics_kernel
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.radial import radial_kernel
from tvm_equi.runtime.convolution import convolve
from tvm_equi.runtime.plans import resolve
from tvm_equi.runtime.topology import Topology
from tvm_equi.runtime.torch_op import run


class StagePlans(NamedTuple):
    """Plans of the stages, and the names of what they take and give.

    Args:
        before: of (x, w) -> h on senders; "" for none.
        edges: of the convolution.
        inputs: names of its inputs: of x, y, w, h; or in the place of y "one" and "vectors", in
            that of w "radial" and "last".
        outputs: names of its outputs: of z, t, s.
        after: of (some of t, s, then w) -> z on receivers; "" for none.
    """

    before: str
    edges: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    after: str


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def stage_plans(product: str, num_hidden: int = 0, harmonics: str = "") -> StagePlans:
    """The plans of a tensor product over edges.

    Args:
        product: plan of the tensor product.
        num_hidden: where weights per edge are computed inside, from so many radial features; else
            0.
        harmonics: normalisation of the spherical harmonics that are computed inside, in the place
            of y; else "".
    """
    return _stage_plans(product, num_hidden, harmonics)


@lru_cache(maxsize=1024)
def _stage_plans(product: str, num_hidden: int, harmonics: str) -> StagePlans:
    parts = stages(resolve(product))
    edges, names = parts.edges, list(parts.edges.inputs)
    if num_hidden and "w" in names:
        number = names.index("w")
        inner = radial_kernel(edges.operand("w"), num_hidden)
        edges = substitute(edges, number, inner)
        names[number : number + 1] = ["radial", "last"]
    if harmonics and "y" in names:
        number = names.index("y")
        edges = substitute(edges, number, harmonics_kernel(edges.operand("y"), harmonics))
        names[number : number + 1] = ["one", "vectors"]
    return StagePlans(
        _plan(parts.before), edges.plan(), tuple(names), parts.edges.outputs, _plan(parts.after)
    )


def _plan(kernel: Kernel | None) -> str:
    return kernel.plan() if kernel is not None else ""


def run_stages(
    plans: StagePlans, values: Mapping[str, torch.Tensor], topology: Topology
) -> torch.Tensor:
    """The product, summed over each receiver's edges.

    Args:
        plans: of the stages.
        values: by name: what `plans.inputs` lists but h, and w where there are stages on nodes.
        topology: the edges.

    Returns:
        [receivers, columns].
    """
    values = dict(values)
    if plans.before:
        values["h"] = run(plans.before, [values["x"], values["w"]])[0]
    found = convolve(plans.edges, [values[name] for name in plans.inputs], topology)
    sums = dict(zip(plans.outputs, found, strict=True))
    if not plans.after:
        return sums["z"]
    own = sums.pop("z", None)
    product = run(plans.after, [*sums.values(), values["w"]])[0]
    return product if own is None else own + product


def radial_blocks(last: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The last matrix of a radial perceptron as `radial_kernel` wants it.

    Args:
        last: [hidden, sum of sizes].
        sizes: the number of weights of each weighted instruction.

    Returns:
        Flat: for each instruction its columns, a row after another.
    """
    return torch.cat([block.reshape(-1) for block in last.split(list(sizes), dim=1)])
