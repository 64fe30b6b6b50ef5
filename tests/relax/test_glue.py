import tvm
from tvm import relax, tirx

from tvm_equi.relax.concat import legalize_concat
from tvm_equi.relax.functions import LEGALIZATIONS
from tvm_equi.relax.glue import ScheduleGlue
from tvm_equi.relax.indices import SCHEDULED


def fused() -> tvm.IRModule:
    """y = silu(x) side by side with x, fused to one function by TVM."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([tirx.Var("n", "int64"), 8], "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            value = builder.emit(relax.op.multiply(x, builder.emit(relax.op.sigmoid(x))))
            both = builder.emit(relax.op.concat([value, x], 1))
            result = builder.emit_output(relax.Tuple([both]))
        builder.emit_func_output(result)
    passes = [
        relax.transform.LegalizeOps({"relax.concat": legalize_concat, **LEGALIZATIONS}),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
    ]
    with tvm.target.Target("llvm"):
        return tvm.transform.Sequential(passes)(builder.get())


def functions(module: tvm.IRModule) -> list[tirx.PrimFunc]:
    return [each for each in module.functions.values() if isinstance(each, tirx.PrimFunc)]


def test_a_fused_function_is_one_pass_in_parallel_if_it_is_long() -> None:
    (function,) = functions(ScheduleGlue()(fused()))
    text = function.script()
    assert text.count("with T.sblock(") == 2 + text.count('# with T.sblock("root")')
    assert "sblock_alloc_buffer" not in text  # nothing between is stored
    assert text.count("T.parallel(") == 1
    assert "< T.int64(16384)" in text
    assert function.attrs[SCHEDULED]


def test_tensors_may_lie_anywhere() -> None:
    (function,) = functions(ScheduleGlue()(fused()))
    assert {param.data_alignment for param in function.params} == {1}


def test_scheduled_twice_is_scheduled_once() -> None:
    once = ScheduleGlue()(fused())
    tvm.ir.assert_structural_equal(ScheduleGlue()(once), once)
