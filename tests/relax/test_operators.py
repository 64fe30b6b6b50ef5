import pytest
import torch
from tvm import relax, tirx

from tests.relax.test_lower import PLAN
from tvm_equi.relax import operators
from tvm_equi.runtime.topology import num_tasks

ROWS = tirx.Var("rows", "int64")


def variable(name: str, shape: list[object], dtype: str = "float64") -> relax.Var:
    return relax.Var(name, relax.TensorType(shape, dtype))


def typed(call: relax.Call) -> relax.Type:
    return relax.BlockBuilder().normalize(call).ty


def test_types_follow_from_plans() -> None:
    kind = typed(operators.run([variable("x", [ROWS, 10]), variable("w", [22])], PLAN))
    (field,) = kind.fields
    assert [str(field.shape.values[0]), int(field.shape.values[1])] == ["rows", 18]
    assert str(field.dtype) == "float64"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (variable("x", [ROWS, 9]), r"inputs\[0\]: expected float64 .*10.*, got R.Tensor"),
        (variable("x", [10]), r"inputs\[0\]: expected float64 .*10"),
        (variable("x", [ROWS, 10], "float32"), r"inputs\[1\]: expected float32"),
        (
            relax.Var("x", relax.TensorType(None, "float64")),
            "expected a tuple of 2 tensors of known",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: relax.Var, message: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=message):
        typed(operators.run([x, variable("w", [22])], PLAN))


def test_the_order_of_edges_has_one_pointer_more_than_nodes() -> None:
    edge_index = variable("edge_index", [2, tirx.IntImm("int64", 3000)], "int64")
    counts = [tirx.IntImm("int64", 7), tirx.IntImm("int64", 9)]
    for side, nodes in ((0, 7), (1, 9)):
        fields = typed(operators.sort_edges(edge_index, side, *counts)).fields
        shapes = [[int(size) for size in field.shape.values] for field in fields]
        assert shapes[3:] == [[nodes + 1], [2, num_tasks(3000) + 1]]
        assert shapes[:3] == [[3000]] * 3


def test_an_edge_index_of_other_numbers_is_refused() -> None:
    with pytest.raises((ValueError, RuntimeError), match="edge_index: expected int64"):
        typed(operators.sort_edges(variable("e", [2, ROWS], "float32"), 0, ROWS, ROWS))


def test_tasks_are_those_of_the_runtime() -> None:
    for edges in (0, 511, 512, 5000, 10**6):
        found = operators.num_tasks(tirx.IntImm("int64", edges))
        assert int(found) == int(torch.sym_min(num_tasks(edges), 10**9))
