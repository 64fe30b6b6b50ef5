import tvm
from tvm import tirx

from tvm_equi.relax.shape_functions import SortShapeFunctions


def stores(order: list[int], name: str) -> tvm.IRModule:
    sizes = tirx.decl_buffer((9,), "int64", name="H")
    parts = [tirx.BufferStore(sizes, sizes[0] * place, [place]) for place in order]
    function = tirx.PrimFunc([sizes], tirx.SeqStmt(parts)).with_attr("global_symbol", name)
    return tvm.IRModule({name: function})


def places(module: tvm.IRModule) -> list[int]:
    (function,) = module.functions.values()
    return [int(store.indices[0]) for store in function.body.seq]


def test_stores_are_sorted_by_place() -> None:
    module = SortShapeFunctions()(stores([7, 2, 5], "shape_func"))
    assert places(module) == [2, 5, 7]
    assert places(SortShapeFunctions()(module)) == [2, 5, 7]


def test_other_functions_stay_as_they_are() -> None:
    assert places(SortShapeFunctions()(stores([7, 2, 5], "main"))) == [7, 2, 5]
