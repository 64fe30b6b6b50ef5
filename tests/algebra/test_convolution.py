"""Convolutions in the algebra equal gather, product and sum; splits and substitutions keep them."""

import numpy as np
import pytest

from tvm_equi.algebra.contraction import Operand, Segment
from tvm_equi.algebra.convolution import (
    convolution_kernel,
    indexed_kernel,
    is_convolution,
    pass_order,
    passes,
    stages,
    substitute,
)
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.evaluate import Nodes, evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import Instruction, WeightRows, linear_kernel, tensor_product_kernel
from tvm_equi.errors import ArgumentError

RNG = np.random.default_rng(0)
NODES = {
    "sender": Nodes(RNG.integers(0, 4, 9), 4),
    "receiver": Nodes(RNG.integers(0, 5, 9), 6),
}
COUNTS = {"row": 9, "sender": 4, "receiver": 6}


def product(mode: str, weight_rows: WeightRows = "row") -> Kernel:
    """Two paths: one of the mode, one of uvu."""
    w = {"uvw": 5, "u<vw": 5}.get(mode, 3)
    v = 3 if mode == "u<vw" else 1
    paths = [Instruction(0, 0, 0, mode, True, 0.7)]
    if v == 1:
        paths.append(Instruction(1, 0, 1, "uvu", True, -0.3))
    return tensor_product_kernel(
        ((3, 1), (3, 0)), ((v, 1),), ((w, 0), (3, 1)), tuple(paths), weight_rows=weight_rows
    )


def arrays(kernel: Kernel, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    operands = [kernel.operand(name) for name in kernel.inputs]
    return [
        rng.standard_normal((*([COUNTS[o.rows]] if o.rows != "shared" else []), o.dim))
        for o in operands
    ]


def summed(kernel: Kernel, values: list[np.ndarray]) -> np.ndarray:
    """Gather, a product per edge, and the sum."""
    x, *rest = values
    (z,) = evaluate(kernel, [x[NODES["sender"].index], *rest])
    total = np.zeros((COUNTS["receiver"], z.shape[1]))
    np.add.at(total, NODES["receiver"].index, z)
    return total


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize("mode", ["uvu", "uvw", "u<vw"])
def test_convolution_is_gather_product_and_sum(mode: str, weight_rows: WeightRows) -> None:
    kernel = product(mode, weight_rows)
    conv = convolution_kernel(kernel)
    assert is_convolution(conv)
    assert not is_convolution(kernel)
    values = arrays(conv)
    (found,) = evaluate(conv, values, NODES)
    assert np.allclose(found, summed(kernel, values), rtol=0, atol=1e-13)
    assert Kernel.from_plan(conv.plan()) == conv


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize("mode", ["uvu", "uvw", "u<vw"])
def test_stages_keep_the_function(mode: str, weight_rows: WeightRows) -> None:
    kernel = product(mode, weight_rows)
    values = arrays(convolution_kernel(kernel))
    named = dict(zip("xyw", values, strict=True))
    found = stages(kernel)
    is_split = weight_rows == "shared" and mode != "uvu"
    assert (found.before is not None or found.after is not None) == is_split
    if found.before is not None:
        (named["h"],) = evaluate(found.before, [named["x"], named["w"]])
    outputs = evaluate(found.edges, [named[name] for name in found.edges.inputs], NODES)
    sums = dict(zip(found.edges.outputs, outputs, strict=True))
    total = sums.pop("z", np.zeros(()))
    if found.after is not None:
        assert found.after.inputs == (*sums, "w")
        total = total + evaluate(found.after, [*sums.values(), named["w"]])[0]
    assert np.allclose(total, summed(kernel, values), rtol=0, atol=1e-13)


def test_both_stages_on_nodes() -> None:
    paths = (Instruction(0, 0, 0, "uvw", True, 1.0), Instruction(1, 1, 0, "uvw", True, 1.0))
    kernel = tensor_product_kernel(
        ((64, 1), (2, 0)),
        ((1, 1), (3, 0)),
        ((4, 0),),
        paths,
        weight_rows="shared",
        over_edges=True,
    )
    found = stages(kernel)
    assert found.before is not None
    assert found.before.outputs == ("h",)
    assert found.after is not None
    assert found.after.inputs == ("t", "w")
    assert set(found.edges.outputs) == {"z", "t"}


def test_passes_split_derivatives_by_nodes() -> None:
    conv = convolution_kernel(product("uvu"))
    first = vjp(conv, (0, 1, 2), (0,))
    second = vjp(first, (0, 1, 2, 3), (0, 1, 2))
    assert [pass_order(conv), pass_order(first)] == ["receiver", "sender"]
    assert [part.outputs for part in passes(first)] == [(0, 1, 2)]
    parts = passes(second)
    assert [part.outputs for part in parts] == [(0, 1, 2), (3,)]
    assert [pass_order(part.kernel) for part in parts] == ["sender", "receiver"]
    values = arrays(second)
    whole = evaluate(second, values, NODES)
    for part in parts:
        for number, found in zip(part.outputs, evaluate(part.kernel, values, NODES), strict=True):
            assert np.allclose(found, whole[number], rtol=0, atol=1e-12)


def test_gradient_equals_differences() -> None:
    conv = convolution_kernel(product("uvw"))
    values = arrays(conv)
    cotangent = RNG.standard_normal(evaluate(conv, values, NODES)[0].shape)
    found = evaluate(vjp(conv, (0, 1, 2), (0,)), [*values, cotangent], NODES)
    for number, gradient in enumerate(found):
        direction = RNG.standard_normal(gradient.shape)
        moved = [a + direction if n == number else a for n, a in enumerate(values)]
        change = evaluate(conv, moved, NODES)[0] - evaluate(conv, values, NODES)[0]
        assert np.sum(gradient * direction) == pytest.approx(np.sum(cotangent * change), rel=1e-9)


def test_substitute_computes_an_input_inside() -> None:
    conv = convolution_kernel(product("uvu"))
    inner = linear_kernel(
        ((2, 0),), ((3, 0), (3, 0)), ((0, 0, 0.5), (0, 1, 2.0)), weight_rows="shared"
    )
    both = substitute(conv, 2, inner)
    assert both.inputs == ("x", "y", "w_0", "w_1")
    values = arrays(both)
    (weights,) = evaluate(inner, values[2:])
    (wanted,) = evaluate(conv, [*values[:2], weights], NODES)
    assert np.allclose(evaluate(both, values, NODES)[0], wanted, rtol=0, atol=1e-13)


def test_wrong_substitutions_are_refused() -> None:
    conv = convolution_kernel(product("uvu"))
    inner = linear_kernel(((2, 0),), ((4, 0),), ((0, 0, 1.0),), weight_rows="shared")
    with pytest.raises(ArgumentError, match="substitute: number: expected one below 3, got 3"):
        substitute(conv, 3, inner)
    with pytest.raises(ArgumentError, match="substitute: inner: expected an output of type"):
        substitute(conv, 2, inner)
    assert conv.operand("w") == Operand((Segment(3, 1), Segment(3, 1)))


def test_an_input_by_index_is_that_of_its_rows() -> None:
    layers = ((0, 0, 0.5), (1, 1, 2.0))
    kernel = linear_kernel(((3, 0), (2, 1)), ((4, 0), (2, 1)), layers, weight_rows="row")
    indexed = indexed_kernel(kernel, "w")
    assert is_convolution(indexed)
    assert [indexed.operand(name).rows for name in ("x", "w", "z")] == ["row", "sender", "row"]
    x, w = arrays(indexed)
    (found,) = evaluate(indexed, [x, w], NODES)
    (wanted,) = evaluate(kernel, [x, w[NODES["sender"].index]])
    assert np.allclose(found, wanted, rtol=0, atol=1e-13)
