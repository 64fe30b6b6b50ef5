"""How a convolution of a graph runs: fused, by kernels over edges.

In: the operation. Out: a function of the values that it reads. Plans are made once, before the
first call.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

from tvm_equi.graph.operations import Convolution, RadialLayer
from tvm_equi.graph.regions import Ranges, kernel_of, scaled_product
from tvm_equi.graph.types import IndexType, Type, irreps_dim
from tvm_equi.runtime.rules.call import Call, Rule
from tvm_equi.runtime.rules.library import Array, ArrayLibrary
from tvm_equi.runtime.stage_plans import run_stages, stage_plans


def convolution_rule(
    operation: Convolution, types: list[Type], inputs: tuple[str, ...], library: ArrayLibrary
) -> Rule:
    """The function that runs a convolution by kernels over edges.

    Args:
        operation: to run.
        types: of its inputs.
        inputs: their names; those of the indices tell which convolutions share edges.
        library: of arrays.
    """
    product, ranges = scaled_product(operation)
    nodes = [kind.into for kind in types[-2:] if isinstance(kind, IndexType)]
    names = (inputs[-2], inputs[-1])
    dim = irreps_dim(product.irreps_out)
    if not product.instructions or not dim:
        return lambda call: library.zeros(call.values[0], (call.num_rows[nodes[1]], dim))
    radial, harmonics = operation.radial, operation.harmonics
    plans = stage_plans(
        kernel_of(product).plan(),
        radial.num_hidden if radial is not None else 0,
        harmonics.normalization if harmonics is not None else "",
    )
    pairs = zip(product.instructions, product.weight_sizes(), strict=True)
    sizes = [size for instruction, size in pairs if instruction.has_weight]
    blocks = tuple(pairwise(accumulate(sizes, initial=0)))

    def convolve(call: Call) -> Array:
        values = dict(operation.by_name(call.values))
        indices = values.pop("senders"), values.pop("receivers")
        if names not in call.topologies:
            counts = (call.num_rows[nodes[0]], call.num_rows[nodes[1]])
            call.topologies[names] = library.topology(indices, counts, call.check_indices)
        topology = call.topologies[names]
        if harmonics is not None:
            vectors = values["vectors"]
            if harmonics.normalize:
                values["vectors"] = library.unit_vectors(vectors)
            values["one"] = library.ones(vectors, (vectors.shape[0], 1))
        if radial is not None and sizes:
            matrix = chosen(last_matrix(radial, values["last"], library), ranges, library)
            flat = [matrix[:, start:end].reshape(-1) for start, end in blocks]
            values |= {"radial": values["h"], "last": library.concat(flat)}
        elif "w" in values:
            values["w"] = chosen(values["w"], ranges, library)
        return run_stages(
            plans, values, library.run, lambda plan, given: library.convolve(plan, given, topology)
        )

    return convolve


def last_matrix(radial: RadialLayer, last: Array, library: ArrayLibrary) -> Array:
    """The normalised matrix of a perceptron's last layer: [num_hidden, num_columns].

    Args:
        radial: the layer.
        last: its weights, flat.
        library: of arrays.
    """
    matrix = last.reshape(radial.num_hidden, radial.num_weights) * radial.num_hidden**-0.5
    return chosen(matrix, radial.columns or ((0, radial.num_weights),), library)


def chosen(values: Array, ranges: Ranges, library: ArrayLibrary) -> Array:
    """The columns in some ranges, neighbours merged.

    Args:
        values: [..., columns].
        ranges: (start, end) of each.
        library: of arrays.
    """
    if len(ranges) == 1:
        (start, end), columns = ranges[0], values.shape[-1]
        return values if (start, end) == (0, columns) else values[..., start:end]
    if not ranges:
        return values[..., :0]
    return library.concat([values[..., start:end] for start, end in ranges])
