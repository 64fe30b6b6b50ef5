"""Modules of e3nn, and ours of the same names, as graphs.

In: a tensor product, linear layer, spherical harmonics, symmetric contraction, or a Sequential of
such. Out: a graph with
their instructions and final path weights, and the values of its parameters. Modules are known by
their attributes, which are the same in e3nn and here. Refused: any other module, and what a graph
does not hold (linear layers with f_in).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from tvm_equi.algebra.products import Instruction
from tvm_equi.errors import UnsupportedError
from tvm_equi.frontend.signs import signed_weight
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.operations import Linear, LinearPath, TensorProduct
from tvm_equi.graph.types import DType, canonical_irreps, parse_irreps

BIAS = -1
"""e3nn's `i_in` of the instruction that adds a bias."""

DTYPES: dict[torch.dtype, DType] = {torch.float32: "float32", torch.float64: "float64"}


@dataclass(frozen=True, slots=True)
class Imported:
    """A module as a graph.

    Args:
        graph: its operations.
        parameters: values of the graph's parameters.
    """

    graph: TensorProductGraph
    parameters: dict[str, torch.Tensor] = field(hash=False)


def import_module(module: torch.nn.Module, *, dtype: DType | None = None) -> Imported:
    """The graph of a module.

    Args:
        module: of e3nn's `o3` or of `tvm_equi.nn`, or a Sequential of modules with one input.
        dtype: of the graph; by default that of the module's weights, or float32.

    Returns:
        A graph whose inputs have the names of the module's arguments, and whose output is "out".

    Raises:
        UnsupportedError: a module that is none of these.
    """
    weights = [*module.parameters(), *module.buffers()]
    found = next((DTYPES[w.dtype] for w in weights if w.dtype in DTYPES), "float32")
    build = GraphBuilder(dtype=dtype or found)  # type: ignore[arg-type]
    parameters: dict[str, torch.Tensor] = {}
    parts = list(module.named_children()) if isinstance(module, torch.nn.Sequential) else []
    if not parts:
        _add(build, module, "out", "", None, parameters)
        return Imported(build.graph("out"), parameters)
    value = None
    for number, (name, part) in enumerate(parts):
        last = number == len(parts) - 1
        value = _add(build, part, "out" if last else name, f"{name}.", value, parameters)
    return Imported(build.graph("out"), parameters)


def _add(
    build: GraphBuilder,
    module: torch.nn.Module,
    name: str,
    prefix: str,
    value: str | None,
    parameters: dict[str, torch.Tensor],
) -> str:
    """Adds one module; `value` is its input, None for an input of the graph.

    Raises:
        UnsupportedError: the module is none that a graph holds.
    """
    for is_kind, add in _KINDS:
        if is_kind(module):
            return add(build, module, name, prefix, value, parameters)
    raise UnsupportedError(
        "compile: module: expected a graph, or a TensorProduct, Linear, SphericalHarmonics or "
        "SymmetricContraction of e3nn or tvm_equi, "
        f"got {type(module).__name__}"
    )


def _is_product(module: Any) -> bool:
    return all(hasattr(module, name) for name in ("irreps_in1", "irreps_in2", "instructions"))


def _is_linear(module: Any) -> bool:
    return all(hasattr(module, name) for name in ("irreps_in", "instructions", "bias_numel"))


def _is_harmonics(module: Any) -> bool:
    return all(hasattr(module, name) for name in ("normalize", "normalization", "irreps_out"))


def _is_square(module: Any) -> bool:
    return any(kind.__name__ == "TensorSquare" for kind in type(module).__mro__)


def _add_product(
    build: GraphBuilder,
    module: Any,
    name: str,
    prefix: str,
    value: str | None,
    parameters: dict[str, torch.Tensor],
) -> str:
    """A tensor product; its coefficients are the module's final path weights.

    Raises:
        UnsupportedError: a product of two values in a chain.
    """
    if value is not None and not _is_square(module):
        raise UnsupportedError(
            f"compile: module: {prefix[:-1]}: expected a module with one input in a Sequential, "
            f"got {type(module).__name__}"
        )
    build.layout = getattr(module, "layout", "mul_ir")
    x = value or build.input("x", module.irreps_in1, rows="node")
    y = x if _is_square(module) else build.input("y", module.irreps_in2, rows="node")
    product = TensorProduct(
        canonical_irreps(module.irreps_in1),
        canonical_irreps(module.irreps_in2),
        canonical_irreps(module.irreps_out),
        tuple(
            Instruction(
                ins.i_in1,
                ins.i_in2,
                ins.i_out,
                ins.connection_mode,
                bool(ins.has_weight),
                signed_weight(ins, module.irreps_in1, module.irreps_in2, module.irreps_out),
            )
            for ins in module.instructions
        ),
        layout=build.layout,
    )
    weights = None
    if module.weight_numel:
        weights = _weights(build, module, f"{prefix}weight", module.weight_numel, parameters)
    return build.add_product(name, x, y, product, weights)


def _weights(
    build: GraphBuilder,
    module: Any,
    name: str,
    size: int,
    parameters: dict[str, torch.Tensor],
) -> str:
    """The weights: a parameter where the module owns them, an input where not."""
    if not module.internal_weights:
        return build.input(name, f"{size}x0e", rows="shared" if module.shared_weights else "node")
    parameters[name] = getattr(module, name.rpartition(".")[2])
    return build.parameter(name, size)


def _add_linear(
    build: GraphBuilder,
    module: Any,
    name: str,
    prefix: str,
    value: str | None,
    parameters: dict[str, torch.Tensor],
) -> str:
    """A linear layer.

    Raises:
        UnsupportedError: it has f_in and f_out.
    """
    paths = [ins for ins in module.instructions if ins.i_in != BIAS]
    size = sum(ins.path_shape[0] * ins.path_shape[1] for ins in paths)
    if module.weight.dim() > 1 or getattr(module, "feature_dims", ()):
        raise UnsupportedError("compile: module: expected a Linear without f_in, got one with it")
    build.layout = getattr(module, "layout", "mul_ir")
    x = value or build.input("x", module.irreps_in, rows="node")
    given = [x, _weights(build, module, f"{prefix}weight", size, parameters)]
    biases = tuple(ins.i_out for ins in module.instructions if ins.i_in == BIAS)
    if biases:
        given.append(_weights(build, module, f"{prefix}bias", module.bias_numel, parameters))
    linear = Linear(
        canonical_irreps(module.irreps_in),
        canonical_irreps(module.irreps_out),
        tuple(LinearPath(ins.i_in, ins.i_out, float(ins.path_weight)) for ins in paths),
        biases,
        "shared" if module.shared_weights else "row",
        build.layout,
    )
    return build.add(name, linear, *given)


def _add_harmonics(
    build: GraphBuilder,
    module: Any,
    name: str,
    prefix: str,
    value: str | None,
    parameters: dict[str, torch.Tensor],
) -> str:
    """Spherical harmonics; repeated degrees are written out.

    Raises:
        UnsupportedError: several channels of a degree in the layout ir_mul.
    """
    irreps = parse_irreps(canonical_irreps(module.irreps_out))
    layout = getattr(module, "layout", "mul_ir")
    if layout != "mul_ir" and any(irrep.mul > 1 and irrep.degree for irrep in irreps):
        raise UnsupportedError(
            "compile: module: expected SphericalHarmonics with layout 'mul_ir', got 'ir_mul'"
        )
    x = value or build.input("x", module.irreps_in, rows="node")
    degrees = [irrep.degree for irrep in irreps for _ in range(irrep.mul)]
    return build.spherical_harmonics(
        name, x, degrees, normalize=module.normalize, normalization=module.normalization
    )


def _is_symmetric(module: Any) -> bool:
    return all(hasattr(module, name) for name in ("correlation", "num_elements", "polynomials"))


def _add_symmetric(
    build: GraphBuilder,
    module: Any,
    name: str,
    prefix: str,
    value: str | None,
    parameters: dict[str, torch.Tensor],
) -> str:
    """A symmetric contraction of one element.

    Raises:
        UnsupportedError: it has several elements, or no weights of its own.
    """
    if module.num_elements != 1 or not module.internal_weights:
        raise UnsupportedError(
            "compile: module: expected a SymmetricContraction of one element with its own weights, "
            f"got {module}"
        )
    build.layout = module.layout
    x = value or build.input("x", module.irreps_in, rows="node")
    weights = build.parameter(f"{prefix}weight", module.weight.numel())
    parameters[weights] = module.weight
    irreps_out = canonical_irreps(module.irreps_out)
    return build.symmetric_contraction(name, x, irreps_out, module.correlation, weights=weights)


_Add = Callable[
    [GraphBuilder, Any, str, str, str | None, dict[str, torch.Tensor]],
    str,
]
_KINDS: tuple[tuple[Callable[[Any], bool], _Add], ...] = (
    (_is_product, _add_product),
    (_is_linear, _add_linear),
    (_is_harmonics, _add_harmonics),
    (_is_symmetric, _add_symmetric),
)
