"""How a convolution of a graph runs in torch: fused, or step by step as a reference.

In: the operation. Out: a function of the values that it reads. Plans are made once, before the
first call.
"""

from __future__ import annotations

import torch

from tvm_equi.graph.operations import Convolution, RadialLayer
from tvm_equi.graph.regions import Ranges, kernel_of, scaled_product
from tvm_equi.graph.types import IndexType, Type, irreps_dim
from tvm_equi.nn.graph_call import Call, Rule, topology_of
from tvm_equi.nn.stages import radial_blocks, run_stages, stage_plans


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
        return lambda call: call.values[0].new_zeros((call.num_rows[nodes[1]], dim))
    radial, harmonics = operation.radial, operation.harmonics
    plans = stage_plans(
        kernel_of(product).plan(),
        radial.num_hidden if radial is not None else 0,
        harmonics.normalization if harmonics is not None else "",
    )
    pairs = zip(product.instructions, product.weight_sizes(), strict=True)
    sizes = [size for instruction, size in pairs if instruction.has_weight]
    is_whole = len(product.instructions) == len(operation.product.instructions)

    def convolve(call: Call) -> torch.Tensor:
        values = dict(operation.by_name(call.values))
        indices = values.pop("senders"), values.pop("receivers")
        topology = topology_of(call, names, indices, nodes)
        if harmonics is not None:
            vectors = values["vectors"]
            if harmonics.normalize:
                values["vectors"] = torch.nn.functional.normalize(vectors, dim=-1)
            values["one"] = vectors.new_ones((vectors.shape[0], 1))
        if radial is not None and sizes:
            matrix = _chosen(last_matrix(radial, values["last"]), ranges)
            values |= {"radial": values["h"], "last": radial_blocks(matrix, sizes)}
        elif "w" in values and not is_whole:
            values["w"] = _chosen(values["w"], ranges)
        return run_stages(plans, values, topology)

    return convolve


def unfused_rule(
    operation: Convolution, types: list[Type], product: Rule, harmonics: Rule | None
) -> Rule:
    """The function that runs a convolution by its parts, with a value for every edge.

    Args:
        operation: to run.
        types: of its inputs.
        product: runs its product.
        harmonics: runs its spherical harmonics, where they are inside.
    """
    into = types[-1].into if isinstance(types[-1], IndexType) else ""

    def convolve(call: Call) -> torch.Tensor:
        values = operation.by_name(call.values)
        operands = [values["x"].index_select(0, values["senders"])]
        if harmonics is None:
            operands.append(values["y"])
        else:
            operands.append(harmonics(Call([values["vectors"]], call.num_rows)))
        if operation.radial is not None:
            operands.append(values["h"] @ last_matrix(operation.radial, values["last"]))
        elif "w" in values:
            operands.append(values["w"])
        messages = product(Call(operands, call.num_rows))
        total = messages.new_zeros((call.num_rows[into], messages.shape[1]))
        return total.index_add(0, values["receivers"], messages) * operation.factor

    return convolve


def last_matrix(radial: RadialLayer, last: torch.Tensor) -> torch.Tensor:
    """The normalised matrix of a perceptron's last layer: [num_hidden, num_columns].

    Args:
        radial: the layer.
        last: its weights, flat.
    """
    matrix = last.reshape(radial.num_hidden, radial.num_weights) * radial.num_hidden**-0.5
    return _chosen(matrix, radial.columns) if radial.columns else matrix


def _chosen(values: torch.Tensor, ranges: Ranges) -> torch.Tensor:
    """The columns in some ranges."""
    if len(ranges) == 1 and ranges[0] == (0, values.shape[-1]):
        return values
    if not ranges:
        return values.narrow(-1, 0, 0)
    return torch.cat([values[..., start:end] for start, end in ranges], -1)
