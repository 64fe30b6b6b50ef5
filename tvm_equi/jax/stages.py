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
