import tvm
from tvm import relax, tirx

from tvm_equi.relax.buckets import SMALLEST, RoundMemory, round_up


def rounded(size: int) -> int:
    n = tirx.Var("n", "int64")
    out = tirx.decl_buffer((1,), "int64", name="out")
    function = tirx.PrimFunc([n, out], tirx.BufferStore(out, round_up(n), [0]))
    compiled = tvm.compile(function.with_attr("global_symbol", "size"), target="llvm")["size"]
    result = tvm.runtime.empty((1,), "int64")
    compiled(size, result)
    return int(result.numpy()[0])


def test_sizes_are_rounded_up_by_a_quarter_at_most() -> None:
    assert [rounded(size) for size in (0, 1, SMALLEST)] == [SMALLEST] * 3
    for size in (SMALLEST + 1, 5000, 65536, 65537, 3 * 10**6, 10**10 + 1):
        assert size <= rounded(size) <= 1.25 * size
    assert len({rounded(size) for size in range(1 << 16, 1 << 17, 4111)}) <= 5


def test_requests_that_depend_on_inputs_are_rounded() -> None:
    n = tirx.Var("n", "int64")
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([n, 3], "float32"))
    with builder.function("main", [x]):
        for size in ([n * 12], [tirx.IntImm("int64", 100)]):
            builder.emit(
                relax.op.memory.alloc_storage(relax.ShapeExpr(size), 0, "global", "float32")
            )
        builder.emit_func_output(x)
    text = RoundMemory()(builder.get()).script()
    assert text.count("T.clz(") >= 1
    assert "R.shape([100])" in text
