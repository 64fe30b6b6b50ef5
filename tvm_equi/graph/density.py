"""Sum over neighbours before radial weights, where senders differ by their species alone.

    x = Linear(s, a)                            d = sum over edges of s[j] (h[e] y[e])   per species
    w = ScalarMLP(..., last)               ->   z = Linear(d, a last)                    per node
    z = Convolution(x, y, w, senders, ...)

In a first layer x tells no more than the species. So z = sum_e C x[j] y[e] (h[e] last) is linear in
d[n, s, h] = sum_e s[j] h[e] y[e], the density of the neighbours of each species (the "density
trick" of the atomic cluster expansion). The last radial layer, most of the work, is then
done per node and not per edge, and weights per edge never exist. Exact for any s, one-hot or not,
and for every gradient: nothing but the order of contraction changes (the search in `network` finds
it by itself). It is done where that search says so and the counted total of the graph falls, which
few species and many edges make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from math import sqrt

from tvm_equi.errors import UnsupportedError
from tvm_equi.graph.convolution_network import is_density_first
from tvm_equi.graph.fuse import is_movable
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Activation,
    ComposedWeights,
    Convolution,
    Instruction,
    Linear,
    LinearPath,
    ScalarMLP,
    TensorProduct,
    WeightPart,
    WeightTerm,
)
from tvm_equi.graph.regions import Ranges, coupling_part
from tvm_equi.graph.rewriting import View, replaced
from tvm_equi.graph.totals import Sizes, total_cost
from tvm_equi.graph.types import Irrep, ValueType, format_irreps, irreps_dim, parse_irreps


@dataclass(frozen=True, slots=True)
class _Match:
    """What the rewrite needs of a convolution whose senders are a layer of few scalars.

    Args:
        node: the convolution.
        convolution: its operation.
        embedding: the layer that makes x.
        mlp: makes the weights, or None where the last layer is inside already.
        num_hidden: inputs of the last radial layer.
        num_weights: its outputs, computed or not.
        columns: the outputs that are each instruction's weights.
    """

    node: Node
    convolution: Convolution
    embedding: Node
    mlp: Node | None
    num_hidden: int
    num_weights: int
    columns: tuple[range, ...]


def _match(graph: TensorProductGraph, view: View, node: Node) -> _Match | None:
    """The parts of a convolution that the rewrite is for, or None."""
    convolution = node.operation
    if not isinstance(convolution, Convolution) or convolution.product.weights != "row":
        return None
    given = convolution.by_name(node.inputs)
    embedding = view.nodes[given["x"]]
    layer = embedding.operation
    if not isinstance(layer, Linear) or not is_movable(layer):
        return None
    if not _is_even(layer.irreps_in) or not _is_even(layer.irreps_out):
        return None
    right = parse_irreps(convolution.product.irreps_in2)
    product = coupling_part(convolution.product)[0]
    if not product.instructions or any(
        ins.mode != "uvu" or not ins.has_weight or right[ins.i_in2].mul != 1
        for ins in product.instructions
    ):
        return None
    if convolution.radial is not None:
        radial = convolution.radial
        sizes, ranges, mlp = (radial.num_hidden, radial.num_weights), radial.columns, None
    else:
        mlp = view.nodes[given["w"]]
        if not isinstance(mlp.operation, ScalarMLP):
            return None
        ranges = mlp.operation.columns
        sizes = (mlp.operation.sizes[-2], mlp.operation.sizes[-1])
    columns = _columns(convolution.product, ranges or ((0, sizes[1]),))
    return None if columns is None else _Match(node, convolution, embedding, mlp, *sizes, columns)


def _columns(product: TensorProduct, ranges: Ranges) -> tuple[range, ...] | None:
    """The columns of each instruction's weights; None if some are no neighbours."""
    chosen = [column for start, end in ranges for column in range(start, end)]
    found, first = [], 0
    for size in product.weight_sizes():
        part = chosen[first : first + size]
        first += size
        whole = range(part[0], part[0] + size) if part else range(0)
        if part != list(whole):
            return None
        found.append(whole)
    return tuple(found)


def _is_even(irreps: str) -> bool:
    """Whether all irreps are even scalars."""
    return all(irrep.ir == (0, 1) for irrep in parse_irreps(irreps))


def _hidden(view: View, found: _Match, given: Mapping[str, str]) -> tuple[list[Node], str, str]:
    """New nodes, the last radial layer's input, and its weights."""
    if found.mlp is None:
        return [], given["h"], given["last"]
    mlp, operation = found.mlp, found.mlp.operation
    if not isinstance(operation, ScalarMLP) or len(operation.sizes) == 2:
        return [], mlp.inputs[0], mlp.inputs[-1]
    inner = Node(
        view.fresh(f"{found.node.name}.hidden"),
        replace(operation, sizes=operation.sizes[:-1], columns=()),
        mlp.inputs[:-1],
    )
    activated = Node(
        view.fresh(f"{found.node.name}.activated"),
        Activation((operation.function,), (operation.factor,)),
        (inner.name,),
    )
    return [inner, activated], activated.name, mlp.inputs[-1]


def _rewritten(graph: TensorProductGraph, view: View, found: _Match) -> TensorProductGraph:
    """The graph with a density in place of a convolution."""
    node, product = found.node, found.convolution.product
    given = dict(found.convolution.by_name(node.inputs))
    new, h, last = _hidden(view, found, given)
    kind = graph.types.get(h)
    if isinstance(kind, ValueType) and kind.irreps != f"{found.num_hidden}x0e":
        return graph
    species = found.embedding.inputs[0]
    in2, y = product.irreps_in2, given.get("y", "")
    if found.convolution.harmonics is not None:
        y = view.fresh(f"{node.name}.harmonics")
        new.append(Node(y, found.convolution.harmonics, (given["vectors"],)))
    layer = found.embedding.operation
    if not isinstance(layer, Linear):
        return graph
    spread = _spread(in2, found.num_hidden, product)
    density = _density(layer.irreps_in, spread.irreps_out, product)
    weights, paths = _weights(found, layer, density)
    names = {key: view.fresh(f"{node.name}.{key}") for key in ("spread", "density", "weights")}
    linear = Linear(density.irreps_out, product.irreps_out, paths, layout=product.layout)
    new += [
        Node(names["spread"], spread, (h, y)),
        Node(
            names["density"],
            Convolution(density, found.convolution.factor),
            (species, names["spread"], given["senders"], given["receivers"]),
        ),
        Node(names["weights"], weights, (found.embedding.inputs[1], last)),
        Node(node.name, linear, (names["density"], names["weights"])),
    ]
    return replaced(graph, {node.name: new})


def _spread(in2: str, num_hidden: int, product: TensorProduct) -> TensorProduct:
    """h[h] y[j], one channel for each h."""
    right = parse_irreps(in2)
    out = format_irreps(tuple(replace(irrep, mul=num_hidden) for irrep in right))
    instructions = tuple(
        Instruction(0, j, j, "uvu", False, sqrt(2 * irrep.degree + 1))
        for j, irrep in enumerate(right)
    )
    scalars = format_irreps((Irrep(num_hidden, 0, 1),))
    return TensorProduct(scalars, product.irreps_in2, out, instructions, layout=product.layout)


def _density(species: str, spread: str, product: TensorProduct) -> TensorProduct:
    """s[s] (h y)[h, j], a segment for each pair of segments; channels are pairs (s, h)."""
    left, right = parse_irreps(species), parse_irreps(spread)
    segments: list[Irrep] = []
    instructions = []
    for a, one in enumerate(left):
        for j, other in enumerate(right):
            instructions.append(
                Instruction(a, j, len(segments), "uvuv", False, sqrt(2 * other.degree + 1))
            )
            segments.append(replace(other, mul=one.mul * other.mul))
    return TensorProduct(
        format_irreps(left),
        format_irreps(right),
        format_irreps(tuple(segments)),
        tuple(instructions),
        layout=product.layout,
    )


def _weights(
    found: _Match, layer: Linear, density: TensorProduct
) -> tuple[ComposedWeights, tuple[LinearPath, ...]]:
    """The matrix (s, h) -> u of each path, of those of the embedding and the radial layer."""
    product = found.convolution.product
    left, features = parse_irreps(layer.irreps_in), parse_irreps(layer.irreps_out)
    num_right = len(parse_irreps(product.irreps_in2))
    starts = [0, *accumulate(layer.weight_sizes())]
    kept = set(coupling_part(product)[0].instructions)
    blocks: dict[tuple[int, int], list[WeightTerm]] = {}
    for columns, ins in zip(found.columns, product.instructions, strict=True):
        if ins not in kept:
            continue
        u = features[ins.i_in1].mul
        degree = product.irreps_of(ins).right.degree
        scale = ins.coefficient / sqrt(2 * degree + 1) / sqrt(found.num_hidden)
        for start, path in zip(starts, layer.paths, strict=False):
            if path.i_out != ins.i_in1:
                continue
            s = left[path.i_in].mul
            matrix = WeightPart.whole(0, start, (s, u))
            key = (path.i_in * num_right + ins.i_in2, ins.i_out)
            term = _term(found, columns, matrix, scale * path.coefficient)
            blocks.setdefault(key, []).append(term)
    composed = ComposedWeights(tuple(map(tuple, blocks.values())), 2)
    return composed, tuple(LinearPath(i, k, 1.0) for i, k in blocks)


def _term(found: _Match, columns: range, matrix: WeightPart, scale: float) -> WeightTerm:
    """The matrix embedding[s, u] last[h, u] of neighbouring columns of the last radial layer."""
    rows, length = found.num_hidden, found.num_weights
    shape = (rows, len(columns))
    last = WeightPart(1, 0, rows * length, length, columns.start, columns.stop, shape)
    return WeightTerm(scale, "su,hu->shu", (matrix, last))


@dataclass(frozen=True, slots=True)
class Density:
    """The pass.

    Args:
        sizes: rows that the work is counted for.
        always: whether to rewrite where the count is not lower, too.
    """

    sizes: Sizes = Sizes()  # noqa: RUF009 (frozen)
    always: bool = False
    name: str = "density"

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The graph with a density in each first layer where that costs less.

        Args:
            graph: to rewrite; its convolutions are fused.
        """
        for node in graph.nodes:
            view = View.of(graph.nodes, graph.outputs)
            found = _match(graph, view, node)
            if found is None:
                continue
            if not self.always and not self.is_found(found):
                continue
            candidate = _rewritten(graph, view, found)
            is_cheaper = total_cost(candidate, self.sizes) < total_cost(graph, self.sizes)
            if is_cheaper or self.always:
                graph = candidate
        return graph

    def is_found(self, found: _Match) -> bool:
        """Whether the search for an order of contraction sums over edges first, too.

        It counts less for it than the rewritten graph does, since it knows that species are
        one-hot; paths that it has no network for are left to the count.
        """
        layer = found.embedding.operation
        num_species = irreps_dim(layer.irreps_in) if isinstance(layer, Linear) else 1
        try:
            return is_density_first(
                found.convolution,
                num_edges=max(1, self.sizes.edges // self.sizes.nodes),
                num_hidden=found.num_hidden,
                num_species=num_species,
            )
        except UnsupportedError:
            return True
