"""Build a graph by hand, one operation at a time.

In: calls, each of which names a value and gives back that name. Out: a graph. Each call types its
node, so that an error comes from the line that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

from tvm_equi.algebra.contraction import Layout
from tvm_equi.algebra.normalization import linear_coefficients, tensor_product_coefficients
from tvm_equi.algebra.products import Instruction, WeightRows
from tvm_equi.errors import GraphError, TvmEquiError
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.infer import infer_type
from tvm_equi.graph.instructions import RawInstruction
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    SECOND_MOMENT_SCALES,
    Activation,
    Add,
    Concat,
    Convolution,
    Cutoff,
    Gather,
    Input,
    Linear,
    LinearPath,
    Norm,
    Operation,
    Parameter,
    RadialBasis,
    ScalarFunction,
    ScalarMLP,
    ScatterSum,
    Slice,
    SphericalHarmonics,
    Sum,
    SymmetricContraction,
    TensorProduct,
)
from tvm_equi.graph.types import (
    DType,
    IndexType,
    Rows,
    Type,
    ValueType,
    canonical_irreps,
    parse_irreps,
)


class GraphBuilder:
    """Collects nodes; each method adds one and gives back its name.

    Args:
        dtype: of inputs and parameters.
        layout: of values with channels and components.

    Example:
        >>> build = GraphBuilder()
        >>> x = build.input("x", "4x0e+4x1o", rows="node")
        >>> print(build.graph(build.norm("lengths", x)).types["lengths"])
        4x0e+4x0e [node]
    """

    def __init__(self, *, dtype: DType = "float32", layout: Layout = "mul_ir") -> None:
        self.dtype: DType = dtype
        self.layout: Layout = layout
        self._nodes: list[Node] = []
        self._types: dict[str, Type] = {}

    @property
    def types(self) -> Mapping[str, Type]:
        """The type of every value so far."""
        return self._types

    def add(self, name: str, operation: Operation, *inputs: str) -> str:
        """Adds any operation.

        Args:
            name: of the value.
            operation: that makes it.
            inputs: names of the values that it reads.

        Raises:
            GraphError: the name is taken or empty, or the inputs do not fit.
        """
        if not name or name in self._types:
            raise GraphError(f"node {name!r}: name: expected a new name that is not empty")
        node = Node(name, operation, inputs)
        self._types[name] = infer_type(node, self._types)
        self._nodes.append(node)
        return name

    def graph(self, *outputs: str) -> TensorProductGraph:
        """The graph of the nodes so far.

        Args:
            outputs: names of the values that a call returns.
        """
        return TensorProductGraph(tuple(self._nodes), outputs)

    def value(self, name: str) -> ValueType:
        """The type of a value.

        Args:
            name: of the value.

        Raises:
            GraphError: there is none, or it is an index.
        """
        found = self._types.get(name)
        if not isinstance(found, ValueType):
            raise GraphError(f"builder: expected the name of a value, got {name!r}")
        return found

    def input(self, name: str, irreps: object, *, rows: Rows) -> str:
        """A value that the caller gives, [rows, dim] or, if shared, [dim]."""
        kind = ValueType(canonical_irreps(irreps), rows, self.layout, self.dtype)
        return self.add(name, Input(kind))

    def index(self, name: str, *, rows: Rows, into: Rows) -> str:
        """An index that the caller gives: int64 [rows]."""
        return self.add(name, Input(IndexType(rows, into)))

    def parameter(self, name: str, size: int) -> str:
        """Numbers of the model."""
        return self.add(name, Parameter(size, self.dtype))

    def tensor_product(
        self,
        name: str,
        x: str,
        y: str,
        irreps_out: object,
        instructions: Iterable[RawInstruction],
        *,
        weights: str | None = None,
        in1_var: Sequence[float] | None = None,
        in2_var: Sequence[float] | None = None,
        out_var: Sequence[float] | None = None,
        irrep_normalization: str = "component",
        path_normalization: str = "element",
    ) -> str:
        """A tensor product, normalised like e3nn.o3.TensorProduct.

        Args:
            name: of the value.
            x: first factor.
            y: second factor.
            irreps_out: of the product.
            instructions: e3nn's, with path weights.
            weights: a value; by default the parameter "<name>.weight" is made where one is needed.
            in1_var: variances of x; 1 by default.
            in2_var: variances of y.
            out_var: variances of the output.
            irrep_normalization: "component", "norm" or "none".
            path_normalization: "element", "path" or "none".

        Raises:
            GraphError: something does not fit; names the node.
        """
        raw = tuple(instructions)
        out = canonical_irreps(irreps_out)
        in1, in2 = self.value(x).irreps, self.value(y).irreps
        with naming(name, "TensorProduct"):
            coefficients = tensor_product_coefficients(
                _pairs(in1),
                _pairs(in2),
                _pairs(out),
                raw,
                in1_var=in1_var,
                in2_var=in2_var,
                out_var=out_var,
                irrep_normalization=irrep_normalization,  # type: ignore[arg-type]
                path_normalization=path_normalization,  # type: ignore[arg-type]
            )
        paths = tuple(
            Instruction(i, j, k, mode, has_weight, coefficient)
            for (i, j, k, mode, has_weight, _), coefficient in zip(raw, coefficients, strict=True)
        )
        return self.add_product(
            name, x, y, TensorProduct(in1, in2, out, paths, layout=self.layout), weights
        )

    def add_product(
        self, name: str, x: str, y: str, product: TensorProduct, weights: str | None = None
    ) -> str:
        """Adds a product whose coefficients are final; `weights` tells the rows of its weights."""
        inputs = (x, y)
        rows: WeightRows = "none"
        if weights is not None:
            rows = "shared" if self.value(weights).rows == "shared" else "row"
        elif any(instruction.has_weight for instruction in product.instructions):
            rows = "shared"
        typed = TensorProduct(
            product.irreps_in1,
            product.irreps_in2,
            product.irreps_out,
            product.instructions,
            rows,
            product.layout,
        )
        if rows == "none":
            return self.add(name, typed, *inputs)
        if weights is None:
            with naming(name, "TensorProduct"):
                typed.check()
            weights = self.parameter(f"{name}.weight", sum(typed.weight_sizes()))
        return self.add(name, typed, *inputs, weights)

    def linear(
        self,
        name: str,
        x: str,
        irreps_out: object,
        *,
        instructions: Sequence[tuple[int, int]] | None = None,
        biases: bool = False,
        path_normalization: str = "element",
    ) -> str:
        """A linear layer, normalised like e3nn.o3.Linear; makes "<name>.weight" and "<name>.bias".

        Args:
            name: of the value.
            x: the value.
            irreps_out: of the output.
            instructions: (i_in, i_out); all that fit by default.
            biases: whether scalars of the output have one.
            path_normalization: "element" or "path".
        """
        in1, out = self.value(x).irreps, canonical_irreps(irreps_out)
        left, right = parse_irreps(in1), parse_irreps(out)
        if instructions is None:
            instructions = [
                (i, k) for i, a in enumerate(left) for k, b in enumerate(right) if a.ir == b.ir
            ]
        with naming(name, "Linear"):
            coefficients = linear_coefficients(
                _pairs(in1),
                _pairs(out),
                instructions,
                path_normalization=path_normalization,  # type: ignore[arg-type]
            )
        paths = tuple(
            LinearPath(i, k, coefficient)
            for (i, k), coefficient in zip(instructions, coefficients, strict=True)
        )
        segments = tuple(k for k, irrep in enumerate(right) if biases and irrep.ir == (0, 1))
        operation = Linear(in1, out, paths, segments, layout=self.layout)
        given = [x, self.parameter(f"{name}.weight", sum(operation.weight_sizes()))]
        if segments:
            given.append(self.parameter(f"{name}.bias", sum(operation.bias_sizes())))
        return self.add(name, operation, *given)

    def symmetric_contraction(
        self,
        name: str,
        x: str,
        irreps_out: object,
        correlation: int,
        *,
        weights: str | None = None,
    ) -> str:
        """All symmetric polynomials of x up to a degree, channel by channel, as in ACE and MACE.

        Args:
            name: of the value.
            x: a value whose irreps have one multiplicity.
            irreps_out: of the output, of the same multiplicity.
            correlation: the highest degree, 1 to 4.
            weights: a value, per row (of an element, say) or shared; by default the parameter
                "<name>.weight" is made.

        Raises:
            GraphError: something does not fit; names the node.
        """
        is_shared = weights is None or self.value(weights).rows == "shared"
        operation = SymmetricContraction(
            self.value(x).irreps,
            canonical_irreps(irreps_out),
            correlation,
            "shared" if is_shared else "row",
            self.layout,
        )
        if weights is None:
            with naming(name, "SymmetricContraction"):
                size = operation.num_weights()
            weights = self.parameter(f"{name}.weight", size)
        return self.add(name, operation, x, weights)

    def spherical_harmonics(
        self,
        name: str,
        vectors: str,
        degrees: Iterable[int],
        *,
        normalize: bool = True,
        normalization: str = "component",
    ) -> str:
        """Spherical harmonics of one vector per row."""
        with naming(name, "SphericalHarmonics"):
            operation = SphericalHarmonics(tuple(degrees), normalize, normalization)  # type: ignore[arg-type]
        return self.add(name, operation, vectors)

    def gather(self, name: str, x: str, index: str) -> str:
        """x[index]."""
        return self.add(name, Gather(), x, index)

    def scatter_sum(self, name: str, x: str, index: str, *, factor: float = 1.0) -> str:
        """The sum of x, times a factor, over the rows with one index."""
        return self.add(name, ScatterSum(float(factor)), x, index)

    def convolution(
        self,
        name: str,
        x: str,
        y: str,
        senders: str,
        receivers: str,
        product: TensorProduct,
        *,
        weights: str | None = None,
        factor: float = 1.0,
    ) -> str:
        """The sum over each receiver's edges of a product whose coefficients are final.

        Args:
            name: of the value.
            x: of the senders.
            y: of the edges.
            senders: index of each edge's sender.
            receivers: index of each edge's receiver.
            product: of x, y and, where it says so, weights.
            weights: a value, per edge or shared.
            factor: of the sum.
        """
        given = () if weights is None else (weights,)
        operation = Convolution(product, float(factor))
        return self.add(name, operation, x, y, *given, senders, receivers)

    def sum(self, name: str, x: str, *, factor: float = 1.0) -> str:
        """The sum of x, times a factor, over all rows."""
        return self.add(name, Sum(float(factor)), x)

    def norm(self, name: str, x: str) -> str:
        """The length of every irrep."""
        return self.add(name, Norm(), x)

    def radial_basis(
        self, name: str, length: str, num: int, *, cutoff: float, power: int = 6
    ) -> str:
        """Bessel functions of lengths, with a polynomial cutoff."""
        with naming(name, "RadialBasis"):
            operation = RadialBasis(num, float(cutoff), power)
        return self.add(name, operation, length)

    def cutoff(self, name: str, length: str, *, cutoff: float, power: int = 6) -> str:
        """A polynomial of lengths from 1 at zero to 0 at the cutoff and beyond."""
        with naming(name, "Cutoff"):
            operation = Cutoff(float(cutoff), power)
        return self.add(name, operation, length)

    def activation(self, name: str, x: str, functions: Sequence[ScalarFunction]) -> str:
        """One function per segment of scalars, with second moment 1 like e3nn.nn.Activation."""
        factors = tuple(SECOND_MOMENT_SCALES.get(function, 1.0) for function in functions)
        return self.add(name, Activation(tuple(functions), factors), x)

    def mlp(
        self, name: str, x: str, sizes: Sequence[int], *, function: ScalarFunction = "silu"
    ) -> str:
        """A perceptron like e3nn.nn.FullyConnectedNet; makes "<name>.layer0.weight" and so on."""
        with naming(name, "ScalarMLP"):
            operation = ScalarMLP(tuple(sizes), function, SECOND_MOMENT_SCALES.get(function, 1.0))
        weights = [
            self.parameter(f"{name}.layer{number}.weight", rows * columns)
            for number, (rows, columns) in enumerate(pairwise(sizes))
        ]
        return self.add(name, operation, x, *weights)

    def combine(self, name: str, *terms: tuple[float, str]) -> str:
        """The sum of factor * value over the terms."""
        factors = tuple(float(factor) for factor, _ in terms)
        return self.add(name, Add(factors), *(value for _, value in terms))

    def slice(self, name: str, x: str, parts: Iterable[tuple[int, int, int]]) -> str:
        """Channels of x: (segment, first channel, end channel) per segment of the output."""
        return self.add(name, Slice(tuple(parts)), x)

    def concat(self, name: str, *values: str) -> str:
        """Values side by side."""
        return self.add(name, Concat(len(values)), *values)


@contextmanager
def naming(name: str, kind: str) -> Iterator[None]:
    """Adds a node's name to errors about its arguments.

    Args:
        name: of the node.
        kind: of its operation.

    Raises:
        GraphError: in place of any error of the package.
    """
    try:
        yield
    except TvmEquiError as error:
        where, _, message = str(error).partition(": ")
        if where not in ("tensor_product_coefficients", "linear_coefficients"):
            message = str(error)
        raise GraphError(f"node {name!r} ({kind}): {message}") from error


def _pairs(irreps: str) -> tuple[tuple[int, int], ...]:
    return tuple((irrep.mul, irrep.degree) for irrep in parse_irreps(irreps))
