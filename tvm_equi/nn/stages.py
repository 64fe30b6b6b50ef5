"""A tensor product over the edges of a graph, as calls of kernels on nodes and on edges.

In: the plan of a tensor product, and what is to be computed inside. Out: plans, and a function that
runs them. Weights that all edges share act on nodes, before edges or after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from tvm_equi.runtime import stage_plans as plans_of
from tvm_equi.runtime.convolution import convolve
from tvm_equi.runtime.stage_plans import StagePlans
from tvm_equi.runtime.topology import Topology
from tvm_equi.runtime.torch_op import run


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
    return plans_of.stage_plans(product, num_hidden, harmonics)


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
    found: torch.Tensor = plans_of.run_stages(
        plans, values, run, lambda plan, inputs: convolve(plan, inputs, topology)
    )
    return found


def radial_blocks(last: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The last matrix of a radial perceptron as `radial_kernel` wants it.

    Args:
        last: [hidden, sum of sizes].
        sizes: the number of weights of each weighted instruction.

    Returns:
        Flat: for each instruction its columns, a row after another.
    """
    return torch.cat([block.reshape(-1) for block in last.split(list(sizes), dim=1)])
