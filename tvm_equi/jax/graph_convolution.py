"""How a convolution of a graph runs in JAX: fused, by kernels over edges.

In: the operation. Out: a function of the values that it reads. Plans are made once, before the
first call.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from tvm_equi.graph.operations import Convolution, RadialLayer
from tvm_equi.graph.regions import Ranges, kernel_of, scaled_product
from tvm_equi.graph.types import IndexType, Type, irreps_dim
from tvm_equi.jax.graph_call import Call, Rule, topology_of
from tvm_equi.jax.lengths import unit_vectors
from tvm_equi.jax.stages import radial_blocks, run_stages
from tvm_equi.runtime.stage_plans import stage_plans


def convolution_rule(operation: Convolution, types: list[Type], inputs: tuple[str, ...]) -> Rule:
    """The function that runs a convolution by kernels over edges.

    Args:
        operation: to run.
        types: of its inputs.
        inputs: their names; those of the indices tell which convolutions share edges.
    """
    product, ranges = scaled_product(operation)
    nodes = [kind.into for kind in types[-2:] if isinstance(kind, IndexType)]
    names = (inputs[-2], inputs[-1])
    dim = irreps_dim(product.irreps_out)
    if not product.instructions or not dim:
        return lambda call: jnp.zeros((call.num_rows[nodes[1]], dim), call.values[0].dtype)
    radial, harmonics = operation.radial, operation.harmonics
    plans = stage_plans(
        kernel_of(product).plan(),
        radial.num_hidden if radial is not None else 0,
        harmonics.normalization if harmonics is not None else "",
    )
    pairs = zip(product.instructions, product.weight_sizes(), strict=True)
    sizes = [size for instruction, size in pairs if instruction.has_weight]
    is_whole = len(product.instructions) == len(operation.product.instructions)

    def convolve(call: Call) -> Any:
        values = dict(operation.by_name(call.values))
        indices = values.pop("senders"), values.pop("receivers")
        topology = topology_of(call, names, indices, nodes)
        if harmonics is not None:
            vectors = values["vectors"]
            if harmonics.normalize:
                values["vectors"] = unit_vectors(vectors)
            values["one"] = jnp.ones((vectors.shape[0], 1), vectors.dtype)
        if radial is not None and sizes:
            matrix = chosen(_last_matrix(radial, values["last"]), ranges)
            values |= {"radial": values["h"], "last": radial_blocks(matrix, sizes)}
        elif "w" in values and not is_whole:
            values["w"] = chosen(values["w"], ranges)
        return run_stages(plans, values, topology)

    return convolve


def _last_matrix(radial: RadialLayer, last: Any) -> Any:
    """The normalised matrix of a perceptron's last layer: [num_hidden, num_columns]."""
    matrix = last.reshape(radial.num_hidden, radial.num_weights) * radial.num_hidden**-0.5
    return chosen(matrix, radial.columns) if radial.columns else matrix


def chosen(values: Any, ranges: Ranges) -> Any:
    """The columns in some ranges.

    Args:
        values: [..., columns].
        ranges: (start, end) of each.
    """
    if len(ranges) == 1 and ranges[0] == (0, values.shape[-1]):
        return values
    if not ranges:
        return values[..., :0]
    return jnp.concatenate([values[..., start:end] for start, end in ranges], -1)
