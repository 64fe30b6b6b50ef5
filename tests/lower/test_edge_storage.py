"""Sums of a node stay in registers between `open` and `close`, and reach memory once."""

from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.algebra.contraction import Operand, Segment
from tvm_equi.lower.edge_storage import Edges, EdgeStorage
from tvm_equi.lower.storage import Place
from tvm_equi.lower.vector import Block, zeros

OPERAND = Operand((Segment(8, 1),), "ir_mul", "receiver")
ROW = Operand((Segment(8, 1),), "mul_ir", "row")
BLOCK = Block(0, 8, 8)


def emit(use: Any) -> str:
    """TensorIR of what `use` does with a storage of one sum and one row argument."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        sums = T.match_buffer(T.arg("sums", T.handle()), (8,), "float32")
        rows = T.match_buffer(T.arg("rows", T.handle()), (5, 8), "float32")
        index = [
            T.match_buffer(T.arg(name, T.handle()), (5,), "int64")
            for name in ("edges", "nodes", "others", "pointers", "tasks")
        ]
        places = {
            "z": Place(OPERAND, sums, is_local=True, is_sum=True),
            "w": Place(ROW, rows),
        }
        order = Edges("receiver", *index, num_edges=5)
        use(EdgeStorage(places, 0, 4, 0, "float32", order, 2))
    return str(builder.get().script())


def test_sums_in_registers() -> None:
    def use(storage: EdgeStorage) -> None:
        storage.open({("z", 0): 1}, [], 0, BLOCK)
        assert storage.running("z", 0) is not None
        storage.write("z", 0, 0, BLOCK, [zeros("float32", 8)], add=True)
        storage.write("z", 0, 0, BLOCK, [zeros("float32", 8)], add=True)
        storage.close(BLOCK)
        assert storage.running("z", 0) is None

    text = emit(use)
    assert text.count("sums[0:8] =") + text.count("buffer[0:8] =") == 1


def test_rows_go_through_the_order() -> None:
    def use(storage: EdgeStorage) -> None:
        storage.read("w", 0, 3, BLOCK)
        storage.enter(2)
        storage.fetch(["w"], 2, 0, 1)
        storage.read("w", 0, 2, BLOCK)
        storage.leave()

    text = emit(use)
    assert text.count("llvm.prefetch") == 1
    assert "T.min(" in text  # rows past the last edge of the tile are those of the last


def test_sums_are_only_added_to() -> None:
    def use(storage: EdgeStorage) -> None:
        assert storage.adds("z", 0)
        assert not storage.adds("w", 0)
        storage.mark("w", 0)
        assert storage.adds("w", 0)
        storage.write("z", 0, 0, BLOCK, [zeros("float32", 8)], add=True)

    assert emit(use)
