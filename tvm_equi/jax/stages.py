"""A tensor product over the edges of a graph in JAX, as calls of kernels on nodes and on edges.

In: plans of stages and values. Out: the sum over each receiver's edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import jax.numpy as jnp

from tvm_equi.jax.operator import convolve, run
from tvm_equi.jax.topology import Topology
from tvm_equi.runtime import stage_plans
from tvm_equi.runtime.stage_plans import StagePlans


def run_stages(plans: StagePlans, values: Mapping[str, Any], topology: Topology) -> Any:
    """The product, summed over each receiver's edges.

    Args:
        plans: of the stages.
        values: by name: what `plans.inputs` lists but h, and w where there are stages on nodes.
        topology: the edges.

    Returns:
        [receivers, columns].
    """
    return stage_plans.run_stages(
        plans, values, run, lambda plan, inputs: convolve(plan, inputs, topology)
    )


def radial_blocks(last: Any, sizes: Sequence[int]) -> Any:
    """The last matrix of a radial perceptron as `radial_kernel` wants it.

    Args:
        last: [hidden, sum of sizes].
        sizes: the number of weights of each weighted instruction.

    Returns:
        Flat: for each instruction its columns, a row after another.
    """
    bounds = pairwise(accumulate(sizes, initial=0))
    return jnp.concatenate([last[:, start:end].reshape(-1) for start, end in bounds])
