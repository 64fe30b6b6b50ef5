import torch
from tvm import relax, tirx

from tvm_equi.relax.sizes import Sizes
from tvm_equi.relax.steps import Steps, dtype_name


def test_operands_are_tensors_of_a_dtype() -> None:
    steps = Steps(Sizes({}))
    x = relax.Var("x", relax.TensorType([3], "float32"))
    size = tirx.Var("n", "int64")
    shape = relax.Var("s", relax.ShapeType([size]))
    with steps.builder.function("main", [x, shape]):
        assert steps.operand(x, "float32").same_as(x)
        found = [steps.operand(value, "float64") for value in (x, 2, True, size)]
        assert {str(value.ty.dtype) for value in found} == {"float64"}
        steps.builder.emit_func_output(relax.Tuple(found))


def test_dtypes_by_name() -> None:
    assert [dtype_name(d) for d in (torch.float32, torch.int64, torch.bool)] == [
        "float32",
        "int64",
        "bool",
    ]
