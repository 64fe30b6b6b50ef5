"""Remove what no output reads: paths, segments, weights, operations.

    t = TensorProduct(x, y, w): 4x0e+4x1o     t = TensorProduct(x, y, w[:8]): 4x0e
    z = Linear(t): 4x0e                  ->   z = Linear(t): 4x0e

Dead is a path into a segment that no output depends on, and one that is zero by parity, triangle
rule, coefficient, multiplicity, or because what it couples is always zero (`liveness`); then every
segment that only dead paths read, every term of a sum that is zero, and every operation that no
output depends on. Only whole paths and irreps go, so the function and its equivariance stay. Inputs
stay, so that calls look the same; parameters keep their size, and products read a slice of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import networkx

from tvm_equi.algebra.products import Instruction
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.liveness import (
    Liveness,
    Segments,
    convolved,
    live_instructions,
    live_terms,
    liveness,
    num_segments,
    reads_path,
)
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Activation,
    Add,
    Concat,
    Convolution,
    Gather,
    Input,
    Linear,
    LinearPath,
    Norm,
    RadialLayer,
    ScalarMLP,
    ScatterSum,
    Slice,
    SphericalHarmonics,
    Sum,
    SymmetricContraction,
    TensorProduct,
)
from tvm_equi.graph.regions import Ranges, keep_instructions, kept_ranges
from tvm_equi.graph.types import IrrepsText, ValueType, format_irreps, parse_irreps


@dataclass(slots=True)
class _Rewriter:
    """Rewrites nodes in order; `kept` holds which segments of the old value the new one has."""

    graph: TensorProductGraph
    alive: Liveness
    nodes: dict[str, Node] = field(default_factory=dict)
    kept: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def all_segments(self, name: str) -> tuple[int, ...]:
        """Every segment of an old value."""
        return tuple(range(num_segments(self.graph, name)))

    def supports(self, node: Node) -> list[Segments]:
        """The segments of each input of an old node that can be nonzero."""
        return [self.alive.support[source] for source in node.inputs]

    def put(self, node: Node, kept: Sequence[int]) -> None:
        """Adds a node and says which segments it has."""
        self.nodes[node.name] = node
        self.kept[node.name] = tuple(kept)

    def fresh(self, name: str) -> str:
        """A name that no node has."""
        taken = {node.name for node in self.graph.nodes} | self.nodes.keys()
        number = 0
        while (found := f"{name}.{number}" if number else name) in taken:
            number += 1
        return found

    def weights(self, reader: Node, slot: int, ranges: Ranges) -> str:
        """The name of a value that holds some of the weights: computed so, or sliced."""
        source = reader.inputs[slot]
        old = self.graph.types[source]
        size = old.dim if isinstance(old, ValueType) else 0
        if sum(end - start for start, end in ranges) == size:
            return source
        producer = self.nodes[source]
        readers = list(self.graph.network.successors(source))
        if (
            isinstance(producer.operation, ScalarMLP)
            and readers == [reader.name]
            and reader.inputs.count(source) == 1
            and source not in self.graph.outputs
        ):
            columns = _compose(producer.operation, producer.operation.sizes[-1], ranges)
            self.nodes[source] = replace(
                producer, operation=replace(producer.operation, columns=columns)
            )
            return source
        name = self.fresh(
            f"{source}.kept" if source.startswith(reader.name) else f"{reader.name}.weight"
        )
        parts = _weight_parts([irrep.mul for irrep in old.segments], ranges)  # type: ignore[union-attr]
        self.put(Node(name, Slice(parts), (source,)), range(len(parts)))
        return name

    def aligned(self, reader: Node, source: str, wanted: Sequence[int]) -> str:
        """The name of a value that has exactly the wanted segments of an old one."""
        if self.kept[source] == tuple(wanted):
            return source
        old = self.graph.types[source]
        segments = old.segments if isinstance(old, ValueType) else ()
        name = self.fresh(f"{reader.name}.{source}")
        parts = tuple((self.kept[source].index(k), 0, segments[k].mul) for k in wanted)
        self.put(Node(name, Slice(parts), (source,)), wanted)
        return name


def _compose(layer: ScalarMLP | RadialLayer, size: int, ranges: Ranges) -> Ranges:
    """The columns, of so many, that some ranges of a last layer's computed outputs are."""
    columns = layer.columns or ((0, size),)
    flat = [column for start, end in columns for column in range(start, end)]
    chosen = {flat[column] for start, end in ranges for column in range(start, end)}
    return kept_ranges((1,) * size, [column in chosen for column in range(size)])


def _weight_parts(muls: list[int], ranges: Ranges) -> tuple[tuple[int, int, int], ...]:
    """Ranges of the flat weights as parts of their segments."""
    parts, offset = [], 0
    for segment, mul in enumerate(muls):
        for start, end in ranges:
            low, high = max(start, offset), min(end, offset + mul)
            if low < high:
                parts.append((segment, low - offset, high - offset))
        offset += mul
    return tuple(parts)


def _rewrite(state: _Rewriter, node: Node) -> None:
    """Adds the smaller form of one node."""
    wanted = sorted(state.alive.demand[node.name])
    operation, inputs = node.operation, node.inputs
    match operation:
        case TensorProduct():
            _rewrite_product(state, node, operation, wanted)
        case Convolution():
            _rewrite_convolution(state, node, operation, wanted)
        case Linear():
            _rewrite_linear(state, node, operation, wanted)
        case SymmetricContraction() if wanted:
            _rewrite_symmetric(state, node, operation, wanted)
        case SphericalHarmonics(degrees=degrees):
            chosen = tuple(degrees[k] for k in wanted)
            state.put(replace(node, operation=replace(operation, degrees=chosen)), wanted)
        case Gather() | ScatterSum() | Sum() | Norm():
            state.put(node, state.kept[inputs[0]])
        case Activation(functions=functions, factors=factors):
            kept = state.kept[inputs[0]]
            smaller = Activation(tuple(functions[k] for k in kept), tuple(factors[k] for k in kept))
            state.put(replace(node, operation=smaller), kept)
        case Add():
            terms = live_terms(operation, frozenset(wanted), state.supports(node))
            factors = tuple(operation.factors[term] for term in terms)
            sources = tuple(state.aligned(node, inputs[term], wanted) for term in terms)
            state.put(Node(node.name, Add(factors), sources), wanted)
        case Slice(parts=parts):
            kept = state.kept[inputs[0]]
            chosen_parts = tuple((kept.index(parts[k][0]), *parts[k][1:]) for k in wanted)
            state.put(replace(node, operation=Slice(chosen_parts)), wanted)
        case Concat():
            kept_all: list[int] = []
            start = 0
            for source in inputs:
                kept_all += [start + k for k in state.kept[source]]
                start += num_segments(state.graph, source)
            full = tuple(source for source in inputs if state.kept[source]) or inputs[:1]
            node = Node(node.name, Concat(len(full)), full)
            state.put(node, kept_all)
        case _:
            state.put(node, state.all_segments(node.name))


def _rewrite_product(
    state: _Rewriter, node: Node, product: TensorProduct, wanted: list[int]
) -> None:
    """A tensor product with its live instructions, on the segments that remain."""
    x, y = node.inputs[:2]
    given = state.supports(node)
    live = live_instructions(product, wanted, given[0], given[1])
    smaller, ranges = _smaller_product(product, live, (state.kept[x], state.kept[y]), wanted)
    inputs = (x, y)
    if smaller.weights != "none":
        inputs = (x, y, state.weights(node, 2, ranges))  # type: ignore[assignment]
    state.put(Node(node.name, smaller, inputs), wanted)


def _smaller_product(
    product: TensorProduct,
    live: Collection[Instruction],
    kept: tuple[Sequence[int], Sequence[int]],
    wanted: Sequence[int],
) -> tuple[TensorProduct, Ranges]:
    """The live part of a product of values that keep some segments, and the weights it reads."""
    smaller, ranges = keep_instructions(product, lambda ins: ins in live)
    renumbered = tuple(
        replace(
            ins,
            i_in1=kept[0].index(ins.i_in1),
            i_in2=kept[1].index(ins.i_in2),
            i_out=wanted.index(ins.i_out),
        )
        for ins in smaller.instructions
    )
    smaller = replace(
        smaller,
        irreps_in1=_select(product.irreps_in1, kept[0]),
        irreps_in2=_select(product.irreps_in2, kept[1]),
        irreps_out=_select(product.irreps_out, wanted),
        instructions=renumbered,
    )
    return smaller, ranges


def _rewrite_convolution(
    state: _Rewriter, node: Node, convolution: Convolution, wanted: list[int]
) -> None:
    """A convolution with its product's live instructions, harmonics and weights."""
    given = dict(convolution.by_name(node.inputs))
    radial, harmonics = convolution.radial, convolution.harmonics
    supports = convolved(convolution, state.supports(node))
    live = live_instructions(convolution.product, wanted, *supports)
    if harmonics is None:
        kept2: Sequence[int] = state.kept[given["y"]]
    else:
        kept2 = sorted({ins.i_in2 for ins in live})
        harmonics = replace(harmonics, degrees=tuple(harmonics.degrees[k] for k in kept2))
    smaller, ranges = _smaller_product(
        convolution.product, live, (state.kept[given["x"]], kept2), wanted
    )
    if smaller.weights == "none":
        radial = None
    elif radial is not None:
        columns = _compose(radial, radial.num_weights, ranges)
        is_whole = columns == ((0, radial.num_weights),)
        radial = replace(radial, columns=() if is_whole else columns)
    else:
        given["w"] = state.weights(node, convolution.names.index("w"), ranges)
    pruned = Convolution(smaller, convolution.factor, radial, harmonics)
    state.put(Node(node.name, pruned, tuple(given[name] for name in pruned.names)), wanted)


def _rewrite_linear(state: _Rewriter, node: Node, linear: Linear, wanted: list[int]) -> None:
    """A linear layer with its live paths and biases, on the segments that remain."""
    given = state.alive.support[node.inputs[0]]
    alive = [path.i_out in wanted and reads_path(linear, path, given) for path in linear.paths]
    has_bias = [segment in wanted for segment in linear.biases]
    kept = state.kept[node.inputs[0]]
    paths = tuple(
        LinearPath(kept.index(path.i_in), wanted.index(path.i_out), path.coefficient)
        for path, keep in zip(linear.paths, alive, strict=True)
        if keep
    )
    biases = tuple(wanted.index(s) for s, keep in zip(linear.biases, has_bias, strict=True) if keep)
    smaller = replace(
        linear,
        irreps_in=_select(linear.irreps_in, kept),
        irreps_out=_select(linear.irreps_out, wanted),
        paths=paths,
        biases=biases,
    )
    inputs = [node.inputs[0], state.weights(node, 1, kept_ranges(linear.weight_sizes(), alive))]
    if biases:
        inputs.append(state.weights(node, 2, kept_ranges(linear.bias_sizes(), has_bias)))
    state.put(Node(node.name, smaller, tuple(inputs)), wanted)


def _rewrite_symmetric(
    state: _Rewriter, node: Node, contraction: SymmetricContraction, wanted: list[int]
) -> None:
    """A symmetric contraction with the outputs that remain; it reads all of x."""
    outputs = [output for output, _ in contraction.polynomials()]
    sizes = (contraction.mul,) * len(outputs)
    ranges = kept_ranges(sizes, [output in wanted for output in outputs])
    smaller = replace(contraction, irreps_out=_select(contraction.irreps_out, wanted))
    weights = state.weights(node, 1, ranges)
    state.put(Node(node.name, smaller, (node.inputs[0], weights)), wanted)


def _select(irreps: str, kept: Iterable[int]) -> IrrepsText:
    segments = parse_irreps(irreps)
    return format_irreps(tuple(segments[k] for k in kept))


@dataclass(frozen=True, slots=True)
class Prune:
    """The pass."""

    name: str = "prune"

    def __call__(self, graph: TensorProductGraph) -> TensorProductGraph:
        """The graph without what no output reads.

        Args:
            graph: to prune.
        """
        state = _Rewriter(graph, liveness(graph))
        for node in graph.nodes:
            _rewrite(state, node)
        read = set(graph.outputs)
        network = networkx.DiGraph()
        network.add_nodes_from(state.nodes)
        network.add_edges_from(
            (source, node.name) for node in state.nodes.values() for source in node.inputs
        )
        for name in graph.outputs:
            read |= networkx.ancestors(network, name)
        nodes = tuple(
            node
            for node in state.nodes.values()
            if node.name in read or isinstance(node.operation, Input)
        )
        return TensorProductGraph(nodes, graph.outputs)
