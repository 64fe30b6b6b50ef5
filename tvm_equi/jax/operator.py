"""Any kernel as a function of JAX arrays.

In: plans and arrays. Out: arrays, with every derivative (`primitives.py`). Refused: arrays that do
not fit the plan; names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.jax.calls import row_counts
from tvm_equi.jax.primitives import kernel_p
from tvm_equi.jax.signature import check, count_rows, signature
from tvm_equi.jax.topology import Topology


def run(plan: str, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a kernel over rows.

    Args:
        plan: names the kernel.
        inputs: float32 or float64: [rows, columns] or, for a shared operand, [columns].

    Raises:
        ArgumentError: a wrong number of inputs or shape, or a plan of a convolution.
        ArgumentTypeError: a wrong dtype.
    """
    facts = signature(plan)
    if facts.is_convolution:
        raise ArgumentError(
            "tvm_equi.jax.run: plan: expected a kernel over rows, got a convolution; call convolve"
        )
    where = "tvm_equi.jax.run: inputs"
    arrays = [jnp.asarray(array) if _is_numpy(array) else array for array in inputs]
    check(where, facts.inputs, arrays, count_rows(facts.inputs, arrays))
    outputs: list[Any] = kernel_p.bind(*arrays, plan=plan, num_topology=0)
    return outputs


def convolve(plan: str, inputs: Sequence[Any], topology: Topology) -> list[Any]:
    """The outputs of a kernel over the edges of a graph.

    Args:
        plan: names the kernel.
        inputs: float32 or float64: [edges, columns], [senders, columns], [receivers, columns] or,
            for a shared operand, [columns].
        topology: the edges.

    Raises:
        ArgumentError: a wrong number of inputs or shape.
        ArgumentTypeError: a wrong dtype, or another topology than JAX's.
    """
    if not isinstance(topology, Topology):
        raise ArgumentTypeError(
            "tvm_equi.jax.convolve: topology: expected a tvm_equi.jax.Topology, "
            f"got {type(topology).__module__}.{type(topology).__name__}"
        )
    facts, order = signature(plan), topology.arrays()
    arrays = [jnp.asarray(array) if _is_numpy(array) else array for array in inputs]
    check("tvm_equi.jax.convolve: inputs", facts.inputs, arrays, row_counts(plan, arrays, order))
    outputs: list[Any] = kernel_p.bind(*arrays, *order, plan=plan, num_topology=len(order))
    return outputs


def _is_numpy(array: Any) -> bool:
    return type(array).__module__ == "numpy"
