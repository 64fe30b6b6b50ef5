"""The legs of a diagram: values that know their name and type, and indices.

In: method calls on values of one `Graph`, each an operation. Out: the value that it makes. Refused:
what the operations refuse, patterns of paths that are none, and scalars that do not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from tvm_equi.errors import GraphError, unknown_choice
from tvm_equi.graph.builder import GraphBuilder, naming
from tvm_equi.graph.gate import add_gate, gate_parts
from tvm_equi.graph.instructions import RawInstruction, aligned, channelwise, fully_connected
from tvm_equi.graph.operations import (
    Instruction,
    ScalarFunction,
    SymmetricContraction,
    TensorProduct,
)
from tvm_equi.graph.scale import add_norm_activation, add_scale
from tvm_equi.graph.types import Type, ValueType, canonical_irreps, parse_irreps

if TYPE_CHECKING:
    from tvm_equi.graph.fluent import Graph

PATTERNS = {
    "fully_connected": fully_connected,
    "channelwise": channelwise,
    "aligned": aligned,
}
"""Sets of paths by name: all channels with all (uvw), the channels of x with all of y (uvu), and
channel u of x with channel u of y (uuu)."""

Paths: TypeAlias = Literal["fully_connected", "channelwise", "aligned"] | Sequence[RawInstruction]
Weights: TypeAlias = "Value | Callable[[int], Value] | Literal['shared', 'none']"
"""A value; a function that makes one with so many scalars; a parameter; or no weights."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Leg:
    """A named leg of a graph.

    Args:
        graph: that it belongs to.
        name: of its node.
    """

    graph: Graph
    name: str

    @property
    def type(self) -> Type:
        """What is known of it."""
        return self.graph.builder.types[self.name]

    def __repr__(self) -> str:
        """Name and type."""
        return f"{self.name}: {self.type}"


class Index(Leg):
    """The index of a gather or scatter."""

    __slots__ = ()


class Value(Leg):
    """A value; every method but the properties adds an operation and gives back its value.

    All methods take `name`, the name of what they make; by default it is the method's, numbered.
    """

    __slots__ = ()

    @property
    def irreps(self) -> str:
        """The irreps of a row."""
        return self._type.irreps

    @property
    def _type(self) -> ValueType:
        return self.graph.builder.value(self.name)

    @property
    def _build(self) -> GraphBuilder:
        return self.graph.builder

    def _made(self, name: str) -> Value:
        return Value(self.graph, name)

    def tensor_product(
        self,
        y: Value,
        irreps_out: object,
        *,
        paths: Paths = "fully_connected",
        weights: Weights = "shared",
        name: str | None = None,
    ) -> Value:
        """The tensor product with another value of the same rows, normalised like e3nn's.

        Args:
            y: second factor; the value itself for a self-product.
            irreps_out: of the output; where each path has a segment of its own ("channelwise",
                "aligned"), the irreps to keep, whose multiplicities play no part.
            paths: by the name of their pattern, or e3nn's instructions with path weights.
            weights: a value; a function that is given the number of weights and makes one;
                "shared" for a parameter; "none" for a plain product.
            name: of the value.

        Raises:
            GraphError: something does not fit.
        """
        made = self.graph.new_name(name, "tensor_product")
        other = self.graph.name_of(made, "y", y)
        in1, in2 = self.irreps, self._build.value(other).irreps
        if not isinstance(paths, str):
            out, instructions = canonical_irreps(irreps_out), tuple(paths)
        elif paths in PATTERNS:
            out, instructions = PATTERNS[paths](in1, in2, canonical_irreps(irreps_out))
        else:
            raise GraphError(unknown_choice(made, "paths", PATTERNS, paths))
        given = None
        if weights == "none":
            instructions = tuple((*ins[:4], False, ins[5]) for ins in instructions)
        elif callable(weights):
            weights = weights(_num_weights(made, (in1, in2, out), instructions))
            made = self.graph.new_name(name, "tensor_product")  # it may have taken the first one
        if weights not in ("shared", "none"):
            given = self.graph.name_of(made, "weights", weights)
        return self._made(
            self._build.tensor_product(made, self.name, other, out, instructions, weights=given)
        )

    def linear(self, irreps_out: object, *, biases: bool = False, name: str | None = None) -> Value:
        """A linear layer, normalised like e3nn.o3.Linear.

        Args:
            irreps_out: of the output.
            biases: whether scalars of the output have one.
            name: of the value.
        """
        made = self.graph.new_name(name, "linear")
        return self._made(self._build.linear(made, self.name, irreps_out, biases=biases))

    def symmetric_contraction(
        self,
        irreps_out: object,
        correlation: int,
        *,
        weights: Weights = "shared",
        name: str | None = None,
    ) -> Value:
        """All symmetric polynomials of the value up to a degree, channel by channel.

        Args:
            irreps_out: of the output, of the one multiplicity that the value has.
            correlation: the highest degree, 1 to 4.
            weights: a value; a function that is given the number of weights and makes one; or
                "shared" for a parameter.
            name: of the value.

        Raises:
            GraphError: something does not fit.
        """
        made = self.graph.new_name(name, "symmetric_contraction")
        given = None
        if callable(weights):
            irreps = (canonical_irreps(self.irreps), canonical_irreps(irreps_out))
            with naming(made, "SymmetricContraction"):
                size = SymmetricContraction(*irreps, correlation).num_weights()
            weights = weights(size)
            made = self.graph.new_name(name, "symmetric_contraction")
        if weights != "shared":
            given = self.graph.name_of(made, "weights", weights)
        return self._made(
            self._build.symmetric_contraction(
                made, self.name, irreps_out, correlation, weights=given
            )
        )

    def spherical_harmonics(
        self,
        degrees: Iterable[int],
        *,
        normalize: bool = True,
        normalization: str = "component",
        name: str | None = None,
    ) -> Value:
        """Spherical harmonics of one vector per row."""
        made = self.graph.new_name(name, "spherical_harmonics")
        options = {"normalize": normalize, "normalization": normalization}
        return self._made(self._build.spherical_harmonics(made, self.name, degrees, **options))  # type: ignore[arg-type]

    def gather(self, index: Index, *, name: str | None = None) -> Value:
        """The rows that an index names."""
        made = self.graph.new_name(name, "gather")
        where = self.graph.name_of(made, "index", index)
        return self._made(self._build.gather(made, self.name, where))

    def scatter(self, index: Index, *, factor: float = 1.0, name: str | None = None) -> Value:
        """The sum, times a factor, of the rows whose index names a row."""
        made = self.graph.new_name(name, "scatter")
        where = self.graph.name_of(made, "index", index)
        return self._made(self._build.scatter_sum(made, self.name, where, factor=factor))

    def sum(self, *, factor: float = 1.0, name: str | None = None) -> Value:
        """The sum over all rows, times a factor."""
        made = self.graph.new_name(name, "sum")
        return self._made(self._build.sum(made, self.name, factor=factor))

    def norm(self, *, name: str | None = None) -> Value:
        """The length of every irrep of every channel."""
        return self._made(self._build.norm(self.graph.new_name(name, "norm"), self.name))

    def radial_basis(
        self, num: int, *, cutoff: float, power: int = 6, name: str | None = None
    ) -> Value:
        """Bessel functions of a length times a polynomial cutoff."""
        made = self.graph.new_name(name, "radial_basis")
        return self._made(
            self._build.radial_basis(made, self.name, num, cutoff=cutoff, power=power)
        )

    def cutoff(self, cutoff: float, *, power: int = 6, name: str | None = None) -> Value:
        """A polynomial of a length, from 1 at zero to 0 at the cutoff and beyond."""
        made = self.graph.new_name(name, "cutoff")
        return self._made(self._build.cutoff(made, self.name, cutoff=cutoff, power=power))

    def mlp(self, *sizes: int, function: ScalarFunction = "silu", name: str | None = None) -> Value:
        """A perceptron on even scalars, like e3nn.nn.FullyConnectedNet.

        Args:
            sizes: of the hidden layers and the output.
            function: between layers.
            name: of the value.
        """
        made = self.graph.new_name(name, "mlp")
        all_sizes = [self._type.dim, *sizes]
        return self._made(self._build.mlp(made, self.name, all_sizes, function=function))

    def activation(self, function: ScalarFunction, *, name: str | None = None) -> Value:
        """A function of every scalar, with second moment 1 like e3nn.nn.Activation."""
        made = self.graph.new_name(name, "activation")
        functions = [function] * len(self._type.segments)
        return self._made(self._build.activation(made, self.name, functions))

    def gate(
        self,
        *,
        function: ScalarFunction = "silu",
        gate_function: ScalarFunction = "sigmoid",
        name: str | None = None,
    ) -> Value:
        """e3nn.nn.Gate of scalars, gates and what they multiply, in this order.

        Args:
            function: of the scalars.
            gate_function: of the gates: the last segment of scalars, with one for each channel of
                the irreps behind it.
            name: of the value.

        Raises:
            GraphError: the value has other irreps.
        """
        made = self.graph.new_name(name, "gate")
        scalars, gated = gate_parts(made, self.irreps)
        return self._made(
            add_gate(
                self._build,
                made,
                self.name,
                scalars,
                gated,
                function=function,
                gate_function=gate_function,
            )
        )

    def norm_activation(self, function: ScalarFunction, *, name: str | None = None) -> Value:
        """Every irrep of every channel times a function of its length.

        Args:
            function: as it is, without a factor: the nonlinearity of tensor field networks.
            name: of the value.
        """
        made = self.graph.new_name(name, "norm_activation")
        return self._made(add_norm_activation(self._build, made, self.name, function))

    def scale(self, factors: Value, *, name: str | None = None) -> Value:
        """The value times even scalars: one per row, or one per channel.

        Args:
            factors: of the same rows.
            name: of the value.

        Raises:
            GraphError: neither one scalar nor one per channel.
        """
        made = self.graph.new_name(name, "scale")
        by = self.graph.name_of(made, "factors", factors)
        return self._made(add_scale(self._build, made, self.name, by))

    def only(self, irreps: object, *, name: str | None = None) -> Value:
        """The segments with some irreps.

        Args:
            irreps: to keep; multiplicities play no part.
            name: of the value.
        """
        made = self.graph.new_name(name, "only")
        wanted = {irrep.ir for irrep in parse_irreps(canonical_irreps(irreps))}
        found = enumerate(self._type.segments)
        parts = [(k, 0, irrep.mul) for k, irrep in found if irrep.ir in wanted]
        return self._made(self._build.slice(made, self.name, parts))

    def concat(self, *others: Value, name: str | None = None) -> Value:
        """This value and others side by side."""
        made = self.graph.new_name(name, "concat")
        names = [self.graph.name_of(made, "others", value) for value in others]
        return self._made(self._build.concat(made, self.name, *names))

    def __add__(self, other: Value) -> Value:
        """The sum of two values of one type."""
        return self._combined("add", (1.0, self), (1.0, other))

    def __sub__(self, other: Value) -> Value:
        """The difference of two values of one type."""
        return self._combined("subtract", (1.0, self), (-1.0, other))

    def __mul__(self, factor: float) -> Value:
        """The value times a number; `scale` multiplies by another value."""
        return self._combined("multiply", (float(factor), self))

    __rmul__ = __mul__

    def _combined(self, kind: str, *terms: tuple[float, Value]) -> Value:
        made = self.graph.new_name(None, kind)
        named = [(factor, self.graph.name_of(made, "terms", value)) for factor, value in terms]
        return self._made(self._build.combine(made, *named))


def _num_weights(name: str, irreps: Sequence[str], instructions: Iterable[RawInstruction]) -> int:
    """The number of weights of a product.

    Raises:
        GraphError: an instruction does not fit; names the node.
    """
    paths = tuple(Instruction(*ins[:5], 1.0) for ins in instructions)
    in1, in2, out = (canonical_irreps(text) for text in irreps)
    product = TensorProduct(in1, in2, out, paths, "row")
    with naming(name, "TensorProduct"):
        product.check()
    return sum(product.weight_sizes())
