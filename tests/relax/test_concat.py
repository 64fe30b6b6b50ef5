import torch
import tvm
from tvm import relax, tirx

from tvm_equi.relax.concat import legalize_concat


def test_tensors_lie_side_by_side_and_empty_ones_count_for_nothing() -> None:
    rows, others = tirx.Var("rows", "int64"), tirx.Var("others", "int64")
    builder = relax.BlockBuilder()
    shapes = {"a": [rows, 2], "b": [others, 2], "c": [rows, 2]}
    given = [relax.Var(name, relax.TensorType(shape, "int64")) for name, shape in shapes.items()]
    with builder.function("main", given):
        both = builder.emit(relax.op.concat(given, 0))
        wide = builder.emit(relax.op.concat([given[0], given[2]], -1))
        builder.emit_func_output(relax.Tuple([both, wide]))
    module = relax.transform.LegalizeOps({"relax.concat": legalize_concat})(builder.get())
    assert "R.concat" not in module.script()
    machine = relax.VirtualMachine(relax.build(module, "llvm"), tvm.cpu())
    for num_rows, num_others in ((3, 2), (1, 0), (0, 4)):
        a, b, c = (torch.randint(0, 99, (n, 2)) for n in (num_rows, num_others, num_rows))
        found = [torch.from_dlpack(value) for value in machine["main"](a, b, c)]
        assert torch.equal(found[0], torch.cat([a, b, c]))
        assert torch.equal(found[1], torch.cat([a, c], dim=-1))
