"""TensorIR of steps by index: checks of ranges, and sums of rows with the same index.

In: shapes and dtypes. Out: PrimFuncs. An index is checked before any other step reads it: each
step that gathers or adds by index takes the checked copy. A number out of range is an error of the
function `INDEX_ERROR` in tvm_ffi's registry, which whoever loads a program registers
(`deploy/` does, and `import tvm_equi.relax`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_equi.deploy.index_error import INDEX_ERROR

OPAQUE = 8
"""TVM's pattern of functions that are fused with nothing."""

ACCUMULATOR = "float64"
"""In which many rows are added up: a sum of a million float32 loses 3 digits otherwise."""

PARALLEL_COLUMNS = 32
"""Sums of rows of at least so many columns run in parallel, each task over some columns."""


SCHEDULED = "tvm_equi.is_scheduled"
"""Attribute of functions whose loops are as they should be."""


@contextmanager
def function(name: str) -> Iterator[Any]:
    """Builds a function that is fused with nothing; gives the builder.

    Args:
        name: of the function.
    """
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name(name)
        T.func_attr({"tirx.noalias": True, "op_pattern": OPAQUE, SCHEDULED: True})
        yield builder


@contextmanager
def body() -> Iterator[None]:
    """The outermost block, in which TVM looks for what a function does."""
    with T.sblock("root"):
        T.reads()
        T.writes()
        yield


def match(handle: Any, shape: tuple[Any, ...], dtype: str) -> Any:
    """The buffer of an argument, which may lie anywhere.

    Args:
        handle: the argument.
        shape: of the tensor.
        dtype: of its numbers.
    """
    return T.match_buffer(handle, shape, dtype, align=1)


def finished(builder: Any) -> Any:
    """The function that has been built, of no name of its own.

    Args:
        builder: of the function.
    """
    return builder.get().without_attr("global_symbol")


def refuse(what: str, count: Any, index: Any) -> None:
    """Raises the error of an index.

    Args:
        what: name of the index.
        count: numbers from 0 to below this are good.
        index: the number that is not.
    """
    T.evaluate(tirx.call_packed(INDEX_ERROR, what, count, index))


def check_range(what: str, dtype: str) -> Any:
    """A function of (index [n], count, result int64 [n]): the index, checked.

    Args:
        what: name of the index.
        dtype: of the index.
    """
    with function("check_range") as builder:
        given, count = T.arg("index", T.handle()), T.arg("count", T.int64())
        result = T.arg("result", T.handle())
        num = tirx.Var("num", "int64")
        index = match(given, (num,), dtype)
        out = match(result, (num,), "int64")
        with body(), T.serial(0, num) as i:
            value = index[i].astype("int64")
            with T.If(tirx.any(value < 0, value >= count)), T.Then():
                refuse(what, count, value)
            T.buffer_store(out, value, [i])
    return finished(builder)


def _sizes(shape: Sequence[int | None]) -> list[Any]:
    """The sizes of a shape, those that may change as variables."""
    return [
        tirx.Var(f"size_{axis}", "int64") if size is None else size
        for axis, size in enumerate(shape)
    ]


def compact(dtype: str, shape: Sequence[int | None]) -> Any:
    """A function of (tensor, result): a copy without strides.

    TVM's functions refuse a tensor [2, 0] with the strides that torch and numpy give it.

    Args:
        dtype: of the numbers.
        shape: None where a size may change.
    """
    with function("compact") as builder:
        handles = [T.arg(name, T.handle()) for name in ("tensor", "result")]
        sizes = _sizes(shape)
        strides = [tirx.Var(f"stride_{axis}", "int64") for axis in range(len(sizes))]
        source = T.match_buffer(handles[0], sizes, dtype, strides=strides, align=1)
        target = match(handles[1], tuple(sizes), dtype)
        with body(), T.grid(*sizes) as place:
            T.buffer_store(target, source[tuple(place)], list(place))
    return finished(builder)


def copy(dtype: str, shape: Sequence[int | None], texts: Sequence[str] = ()) -> Any:
    """A function of (tensor, one truth value for each text, result): a copy, if all of them hold.

    Args:
        dtype: of the tensor.
        shape: of it; None where a size may change.
        texts: of the errors where they do not.
    """
    with function("copy") as builder:
        given = T.arg("tensor", T.handle())
        conditions = [T.arg(f"condition_{n}", T.handle()) for n in range(len(texts))]
        result = T.arg("result", T.handle())
        sizes = _sizes(shape)
        source, target = (match(handle, tuple(sizes), dtype) for handle in (given, result))
        truths = [match(handle, (), "bool") for handle in conditions]
        with body():
            for truth, text in zip(truths, texts, strict=True):
                with T.Assert(truth[()], text):
                    pass
            with T.grid(1, *sizes) as (_, *place):  # of one size alone it gives no list
                T.buffer_store(target, source[tuple(place)], place)
    return finished(builder)


def accumulator(dtype: str) -> str:
    """The dtype in which rows are added up: float64 has not every integer.

    Args:
        dtype: of the rows.
    """
    return ACCUMULATOR if "float" in dtype else "int64"


def sum_rows(dtype: str, columns: int) -> Any:
    """A function of (index [n], values [n, columns], sums and exact [m, columns]), index checked.

    Args:
        dtype: of the values and sums; `exact`, in which they are added up, is of
            `accumulator(dtype)`.
        columns: of a row.
    """
    wide = accumulator(dtype)
    with function("sum_rows") as builder:
        handles = [T.arg(name, T.handle()) for name in ("index", "values", "sums", "exact")]
        num, rows = tirx.Var("num", "int64"), tirx.Var("rows", "int64")
        index = match(handles[0], (num,), "int64")
        values = match(handles[1], (num, columns), dtype)
        sums = match(handles[2], (rows, columns), dtype)
        exact = match(handles[3], (rows, columns), wide)
        tasks = -(-columns // PARALLEL_COLUMNS) if columns >= 2 * PARALLEL_COLUMNS else 1
        width = -(-columns // tasks)
        loop = T.parallel if tasks > 1 else T.serial
        with body(), loop(0, tasks) as task:
            size = tirx.min(columns - task * width, width) if tasks > 1 else width
            with T.serial(0, rows) as row, T.serial(0, size) as column:
                T.buffer_store(exact, tirx.const(0, wide), [row, task * width + column])
            with T.serial(0, num) as i, T.serial(0, size) as column:
                place = task * width + column
                found = exact[index[i], place] + values[i, place].astype(wide)
                T.buffer_store(exact, found, [index[i], place])
            with T.serial(0, rows) as row, T.serial(0, size) as column:
                place = task * width + column
                T.buffer_store(sums, exact[row, place].astype(dtype), [row, place])
    return finished(builder)
