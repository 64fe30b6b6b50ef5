"""The tensor network of a convolution: what the search for an order of contraction works on.

In: a convolution, how many edges its receiver has, what makes its weights, and, where senders'
features are a linear function of a few numbers (species), that layer. Out: a network for one
receiver. Refused: paths of several modes or multiplicities, which no single channel index covers.
"""

from __future__ import annotations

import numpy as np

from tvm_equi.algebra.contraction import coupling_tensor
from tvm_equi.algebra.products import WEIGHT_CHANNELS
from tvm_equi.errors import UnsupportedError
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.network import ContractionOrder, Network, Tensor, contraction_order
from tvm_equi.graph.operations import Convolution, ScalarMLP, TensorProduct
from tvm_equi.graph.regions import scaled_product
from tvm_equi.graph.types import parse_irreps

_CHANNELS = {
    "uvw": ("u", "v", "w"),
    "uvu": ("u", "v", "u"),
    "uvv": ("u", "v", "v"),
    "uuu": ("u", "u", "u"),
    "uvuv": ("u", "v", "uv"),
}
"""Channel letters of x, y and the output; the other modes go over pairs."""


def convolution_network(
    convolution: Convolution,
    *,
    num_edges: int,
    num_hidden: int | None = None,
    num_species: int | None = None,
) -> Network:
    """The network of one receiver of a convolution.

    Args:
        convolution: to look at.
        num_edges: of the receiver.
        num_hidden: where the weights are a layer H[e,h] W[h,p,u], its inputs; by default those of
            the convolution's radial layer, or none.
        num_species: where the senders' features are E[s,u] of a one-hot S[e,s], its length.

    Returns:
        Tensors H, W, X (or S and E), Y and C, with letters e (edges), h, p (paths), u, v, w
        (channels), i, j, k (components), s.

    Raises:
        UnsupportedError: paths of several modes or multiplicities, or over pairs of channels.
    """
    product = scaled_product(convolution)[0]
    mode, (u, v, w) = _only_mode(product)
    channels = {"u": u, "v": v, "w": w}
    x_letters, y_letters, out_letters = _CHANNELS[mode]
    if num_hidden is None and convolution.radial is not None:
        num_hidden = convolution.radial.num_hidden
    num_paths, points, own_segments = _pattern(product)
    sizes = [max(point[axis] for point in points) + 1 for axis in (1, 2, 3)]
    extents = {"e": num_edges, "h": num_hidden or 1, "p": num_paths}
    extents |= {letter: extent for letter, extent in channels.items() if extent > 1}
    extents |= dict(zip("ijk", sizes, strict=True)) | {"s": num_species or 1}
    tensors = [Tensor("Y", f"e{y_letters}j"), Tensor("C", "pijk")]
    if num_species is None:
        tensors.append(Tensor("X", f"e{x_letters}i"))
    else:
        tensors += [Tensor("S", "es"), Tensor("E", f"s{x_letters}i")]
    weight = f"p{WEIGHT_CHANNELS[mode]}"
    if product.weights == "shared":
        tensors.append(Tensor("W", weight))
    elif product.weights == "row" and num_hidden is None:
        tensors.append(Tensor("W", f"e{weight}"))
    elif product.weights == "row":
        tensors += [Tensor("H", "eh"), Tensor("W", f"h{weight}")]
    kept = [
        Tensor(t.name, "".join(letter for letter in t.indices if letter in extents))
        for t in tensors
    ]
    output = "".join(letter for letter in out_letters if letter in extents)
    return Network(
        tuple(sorted(kept, key=lambda tensor: tensor.name)),
        f"p{output}k" if own_segments else f"{output}k",
        tuple(extents.items()),
        ("C", "pijk", points),
        ("S", "s", "e") if num_species is not None else ("", "", ""),
    )


def best_orders(graph: TensorProductGraph, *, num_edges: int = 28) -> dict[str, ContractionOrder]:
    """The best order of contraction of every convolution of a graph, radial layer included.

    Args:
        graph: to look at; its convolutions are fused.
        num_edges: of a receiver.

    Returns:
        Orders by the name of the convolution, without those that no single channel index covers.
    """
    found = {}
    for node in graph.nodes:
        if not isinstance(node.operation, Convolution):
            continue
        given = node.operation.by_name(node.inputs)
        source = graph.node(given["w"]).operation if "w" in given else None
        hidden = source.sizes[-2] if isinstance(source, ScalarMLP) else None
        try:
            network = convolution_network(node.operation, num_edges=num_edges, num_hidden=hidden)
        except UnsupportedError:
            continue
        found[node.name] = contraction_order(network)
    return found


def is_density_first(
    convolution: Convolution, *, num_edges: int, num_hidden: int, num_species: int
) -> bool:
    """Whether the best order sums over edges before the last radial layer's weights come in.

    Args:
        convolution: of features that are a linear function of species.
        num_edges: of the receiver.
        num_hidden: inputs of the last radial layer.
        num_species: numbers that the features are a function of.

    Raises:
        UnsupportedError: paths of several modes or multiplicities.
    """
    network = convolution_network(
        convolution, num_edges=num_edges, num_hidden=num_hidden, num_species=num_species
    )
    letters = {frozenset([tensor.name]): tensor.indices for tensor in network.tensors}
    for step in contraction_order(network).steps:
        sides = [frozenset(step.left), frozenset(step.right)]
        if any("W" in side for side in sides) and any("e" in letters[side] for side in sides):
            return False
        letters[sides[0] | sides[1]] = step.indices
    return True


def _only_mode(product: TensorProduct) -> tuple[str, tuple[int, int, int]]:
    """The one mode and the multiplicities of all paths.

    Raises:
        UnsupportedError: there are several.
    """
    found = {
        (ins.mode, tuple(irrep.mul for irrep in product.irreps_of(ins)))
        for ins in product.instructions
    }
    if len(found) != 1 or next(iter(found))[0] not in _CHANNELS:
        raise UnsupportedError(
            "network: convolution: expected paths of one mode and of one multiplicity each, got "
            f"{sorted(found)}"
        )
    ((mode, muls),) = found
    return mode, (muls[0], muls[1], muls[2])


def _pattern(
    product: TensorProduct,
) -> tuple[int, tuple[tuple[int, int, int, int], ...], bool]:
    """The number of paths, the nonzeros (p, i, j, k), and whether each path has its own output.

    Components i and j count over all segments. So does k, unless each path has its own output: then
    p tells the segment, and k is the component in it.
    """
    targets = [ins.i_out for ins in product.instructions]
    own_segments = len(set(targets)) == len(targets)
    starts = []
    for irreps in (product.irreps_in1, product.irreps_in2, product.irreps_out):
        dims = [2 * irrep.degree + 1 for irrep in parse_irreps(irreps)]
        starts.append(np.cumsum([0, *dims]))
    points = []
    for number, ins in enumerate(product.instructions):
        dims3 = tuple(2 * irrep.degree + 1 for irrep in product.irreps_of(ins))
        k_start = 0 if own_segments else int(starts[2][ins.i_out])
        for i, j, k in np.argwhere(coupling_tensor(dims3) != 0):
            points.append(
                (
                    number,
                    int(starts[0][ins.i_in1] + i),
                    int(starts[1][ins.i_in2] + j),
                    int(k_start + k),
                )
            )
    return len(product.instructions), tuple(points), own_segments
