import pytest
import torch

from tests.programs import capture_function, check_function, load, make_inputs
from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.program import build_program
from tvm_equi.relax.translate import translate

SIZES = {
    "x": ("rows", 3),
    "which": ("edges",),
    "kind": ("rows",),
    "values": ("edges", 3),
    "wide": ("edges", 70),
}
INTO: dict[str, str | int] = {"which": "rows", "kind": 3}


def read(**inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    x, index, kind = inputs["x"], inputs["which"], inputs["kind"]
    table = torch.arange(12.0, dtype=x.dtype).reshape(4, 3)
    rows = torch.arange(x.shape[0])
    return {
        "index_select": x.index_select(0, index),
        "columns": x.index_select(1, torch.tensor([2, 0, 2])),
        "index": x[index],
        "int32": x[index.int()],
        "pairs": x[rows, kind],
        "matrix": x[index.reshape(-1, 1).expand(-1, 2)],
        "gather": x.gather(1, kind.reshape(-1, 1)),
        "embedding": torch.nn.functional.embedding(kind, table),
    }


def add(**inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    x, index, kind, values = (inputs[name] for name in ("x", "which", "kind", "values"))
    zeros = torch.zeros_like(x)
    wide = x.new_zeros((x.shape[0], 70))
    rows = torch.arange(x.shape[0])
    columns = index.unsqueeze(-1).expand_as(values)
    return {
        "index_add": zeros.index_add(0, index, values),
        "onto": x.index_add(0, index, values, alpha=2.0),
        "wide": wide.index_add(0, index, inputs["wide"]),
        "scatter": zeros.scatter_add(0, columns, values),
        "flat": x.new_zeros(3).scatter_add(0, kind, x[:, 0]),
        "pairs": zeros.index_put((rows, kind), x[:, 1], accumulate=True),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("function", [read, add])
def test_values_are_those_of_torch(function: object, dtype: torch.dtype) -> None:
    check_function(function, SIZES, INTO, dtype)  # type: ignore[arg-type]


def test_an_index_out_of_range_is_an_error_before_anything_is_read() -> None:
    sizes = {"x": ("rows", 3), "edge_index": (2, "edges")}
    into: dict[str, str | int] = {"edge_index": "rows"}

    def function(x: torch.Tensor, edge_index: torch.Tensor) -> dict[str, torch.Tensor]:
        total = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])
        return {"total": total}

    run = load(build_program(capture_function(function, sizes, into)))
    empty = run(torch.ones((4, 3), dtype=torch.float64), torch.zeros((2, 0), dtype=torch.int64))
    assert not empty[0].any()
    counts = {"rows": 4, "edges": 6}
    for row, bad in ((0, 4), (1, 2**40), (0, -1), (1, -(2**62))):
        inputs = make_inputs(sizes, counts, into, torch.float64)
        inputs["edge_index"][row, 3] = bad
        message = f"edge_index: expected indices from 0 to 3, got {bad}$"
        with pytest.raises(IndexError, match=message):
            run(*inputs.values())


def test_rows_that_are_replaced_are_refused() -> None:
    def function(x: torch.Tensor, which: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": x.index_put((which,), x[:1, 0].sum())}

    sizes = {"x": ("rows", 3), "which": ("edges",)}
    with pytest.raises(UnsupportedError, match="accumulate=True"):
        translate(capture_function(function, sizes, {"which": "rows"}))
