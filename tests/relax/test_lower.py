from typing import Any

import pytest
import torch
import tvm
from tvm import relax, tirx

from tvm_equi.algebra.products import linear_kernel
from tvm_equi.errors import ArgumentError
from tvm_equi.relax import LowerTensorProducts, operators, pass_context, register_kernels
from tvm_equi.relax.kernels import FORMS, Form
from tvm_equi.relax.lower import compile_kernels, kernels_in, num_chunks
from tvm_equi.runtime import torch_op
from tvm_equi.runtime.plans import derivative_plan

PLAN = linear_kernel(
    ((4, 0), (2, 1)),
    ((3, 0), (5, 1)),
    ((0, 0, 0.5), (1, 1, 1.0)),
    weight_rows="shared",
    layout="mul_ir",
).plan()
BACKWARD = derivative_plan(PLAN, (0, 1), (0,))


def training() -> Any:
    """Values, and gradients to x and to the weights, which all rows share."""
    builder = relax.BlockBuilder()
    rows = tirx.Var("rows", "int64")
    x, grad = (
        relax.Var(name, relax.TensorType([rows, dim], "float64"))
        for name, dim in (("x", 10), ("grad", 18))
    )
    w = relax.Var("w", relax.TensorType([22], "float64"))
    with builder.function("main", [x, w, grad]):
        with builder.dataflow():
            value = builder.emit(operators.run([x, w], PLAN))
            gradients = builder.emit(operators.run([x, w, grad], BACKWARD))
            fields = [(value, 0), (gradients, 0), (gradients, 1)]
            parts = [builder.emit(relax.TupleGetItem(each, n)) for each, n in fields]
            result = builder.emit_output(relax.Tuple(parts))
        builder.emit_func_output(result)
    return builder.get()


@pytest.mark.parametrize("form", FORMS)
def test_lowered_modules_compute_what_the_operator_does(form: Form) -> None:
    module = training()
    lowered = tvm.ir.transform.Sequential([LowerTensorProducts(kernels=form)])(module)
    assert "tvm_equi.run" not in lowered.script()
    if form == "packed":
        register_kernels(entry.library for entry in compile_kernels(module, "host"))
    with pass_context():
        executable = relax.build(lowered, tvm.target.Target("llvm"))
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    for rows in (0, 1, 5, 1000):
        x, w, grad = (
            torch.randn(shape, dtype=torch.float64) for shape in ((rows, 10), (22,), (rows, 18))
        )
        wanted = [*torch_op.run(PLAN, [x, w]), *torch_op.run(BACKWARD, [x, w, grad])]
        for found, value in zip(main(x, w, grad), wanted, strict=True):
            torch.testing.assert_close(torch.from_dlpack(found), value)


def test_kernels_are_found_once() -> None:
    assert len(kernels_in(training())) == 2


def test_chunks_are_those_of_the_runtime() -> None:
    rows = tirx.Var("rows", "int64")
    analyzer = tvm.sym.Analyzer()
    for count in (0, 1, 127, 128, 255, 256, 1000, 4096, 10**6):
        chunks = num_chunks(tirx.IntImm("int64", count))
        assert int(analyzer.simplify(chunks)) == torch_op._num_chunks(count)
    assert "rows" in str(num_chunks(rows))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": "inline"}, "kernels: expected one of 'call_tir', 'packed', got 'inline'"),
        ({"target": "x86-64-v9"}, "target: expected one of .*x86-64-v4.*, got 'x86-64-v9'"),
    ],
)
def test_unknown_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        LowerTensorProducts(**options)
