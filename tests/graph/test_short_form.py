"""The short form of one tensor product, and every way to get it wrong."""

import json
from typing import Any

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph import GraphBuilder, from_json, to_json
from tvm_equi.graph.fuse import regions
from tvm_equi.graph.operations import TensorProduct
from tvm_equi.graph.short_form import read_spec

FIELDS = {"irreps_in1": "4x0e+4x1o", "irreps_in2": "0e+1o", "irreps_out": "0e+1o"}


def spec(**changes: Any) -> str:
    fields = {key: value for key, value in (FIELDS | changes).items() if value is not ...}
    return json.dumps({"tensor_product": fields})


def test_channelwise_has_weights_per_row() -> None:
    graph = read_spec(spec(instructions="channelwise", dtype="float64", layout="ir_mul"))
    assert graph.inputs == ("x", "y", "w")
    assert str(graph.types["w"]) == "16x0e [node]"
    assert graph.types["out"].irreps == "4x0e+4x0e+4x1o+4x1o"
    assert (graph.types["out"].dtype, graph.types["out"].layout) == ("float64", "ir_mul")


def test_fully_connected_is_the_default_and_has_shared_weights() -> None:
    graph = read_spec(spec())
    assert graph.parameters == ("out.weight",)
    assert graph == read_spec(spec(instructions="fully_connected", weights="shared"))


def test_instructions_may_leave_out_the_path_weight() -> None:
    graph = read_spec(
        spec(
            irreps_out="4x0e",
            instructions=[[0, 0, 0, "uvu", False], [1, 1, 0, "uvu", False, 2.0]],
            irrep_normalization="norm",
            path_normalization="path",
            in2_var=[1.0, 0.5],
        )
    )
    product = graph.node("out").operation
    assert isinstance(product, TensorProduct)
    assert product.weights == "none"
    assert len(product.instructions) == 2


def test_whole_graphs_are_read_too() -> None:
    build = GraphBuilder()
    graph = build.graph(build.norm("n", build.input("x", "1o", rows="node")))
    assert read_spec(to_json(graph)) == graph


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "graph: text: expected JSON, got: Expecting value"),
        ('{"tensor_products": {}}', "graph: key: expected one of 'nodes'"),
        (
            json.dumps({"tensor_product": FIELDS, "dtype": "float32"}),
            "spec: key: expected one of 'tensor_product', got 'dtype'",
        ),
        ('{"tensor_product": []}', "spec: tensor_product: expected an object, got []"),
        (spec(irreps_in1=...), "spec: tensor_product: irreps_in1: expected a value, got none"),
        (
            spec(instruction="uvw"),
            "spec: tensor_product: key: expected one of 'dtype', 'in1_var', 'in2_var', "
            "'instructions', 'irrep_normalization', 'irreps_in1', 'irreps_in2', 'irreps_out', "
            "'layout', 'out_var', 'path_normalization', 'weights', got 'instruction'; did you mean "
            "'instructions'?",
        ),
        (spec(irreps_in1=3), "spec: tensor_product.irreps_in1: expected a text, got 3"),
        (spec(irreps_in1="4q"), "spec: tensor_product.irreps_in1: expected e3nn's notation"),
        (
            spec(instructions="channelwize"),
            "spec: tensor_product.instructions: expected one of 'channelwise', 'fully_connected', "
            "got 'channelwize'; did you mean 'channelwise'?",
        ),
        (spec(instructions=3), "spec: tensor_product.instructions: expected a list, or one of"),
        (
            spec(instructions=[[0, 0, 0, "uvw"]]),
            "spec: tensor_product.instructions[0]: expected 6 items, got",
        ),
        (
            spec(instructions=[[0, 0, 0, "uvw", "yes"]]),
            'spec: tensor_product.instructions[0][4]: expected true or false, got "yes"',
        ),
        (
            spec(instructions=[[0, 0, 7, "uvw", True]], weights="row"),
            "node 'out' (TensorProduct): instructions[0].i_out: expected 0 <= index < 2, got 7",
        ),
        (
            spec(instructions=[[0, 0, 0, "uvx", True]], weights="row"),
            "node 'out' (TensorProduct): instructions[0].mode: expected one of",
        ),
        (
            spec(instructions=[[0, 0, 0, "uuu", True]]),
            "node 'out' (TensorProduct): instructions[0].mode: expected mul_in1 = mul_in2 = "
            "mul_out for 'uuu', got 4, 1 and 1",
        ),
        (spec(weights="rows"), "spec: tensor_product.weights: expected one of 'none', 'row'"),
        (
            spec(weights="none"),
            "spec: tensor_product.weights: expected 'row' or 'shared' for these instructions, "
            "got 'none'",
        ),
        (spec(layout="mul"), "spec: tensor_product.layout: expected one of 'ir_mul', 'mul_ir'"),
        (spec(dtype="float16"), "spec: tensor_product.dtype: expected one of 'float32'"),
        (spec(in1_var=[1.0]), "node 'out' (TensorProduct): in1_var: expected 2 variances"),
        (
            spec(path_normalization="paths"),
            "node 'out' (TensorProduct): path_normalization: expected one of 'element'",
        ),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(GraphError) as error:
        read_spec(text)
    assert str(error.value).startswith(message)


def test_convolution() -> None:
    fields = {"irreps_in1": "2x0e+2x1o", "irreps_in2": "0e+1o", "irreps_out": "0e+1o"}
    graph = read_spec(json.dumps({"convolution": fields | {"instructions": "channelwise"}}))
    assert graph.inputs == ("x", "y", "w", "senders", "receivers")
    assert graph.node("out").kind == "Convolution"
    assert graph.types["w"].rows == "edge"
    assert str(graph.types["out"]) == "2x0e+2x0e+2x1o+2x1o [node]"
    assert regions(graph)[0].convolution == "out"
    assert from_json(to_json(graph)) == graph


def test_convolution_with_shared_weights() -> None:
    fields = {"irreps_in1": "2x0e+2x1o", "irreps_in2": "0e+1o", "irreps_out": "3x1o"}
    graph = read_spec(json.dumps({"convolution": fields}))
    assert graph.parameters == ("out.product.weight",)
    with pytest.raises(GraphError, match=r"spec: convolution: key: expected one of .*'weights'"):
        read_spec(json.dumps({"convolution": fields | {"weight": "row"}}))
