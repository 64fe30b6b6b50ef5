import pytest
import sympy
import tvm_ffi
from torch.utils._sympy.functions import FloorDiv, Max, Min, Mod
from tvm import tirx

from tvm_equi.errors import UnsupportedError
from tvm_equi.relax.sizes import Sizes, constant

N, E = sympy.symbols("s1 s2", integer=True)
SIZES = Sizes({N: "nodes", E: "edges"})
NODES, EDGES = SIZES.variable("nodes"), SIZES.variable("edges")


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        (sympy.Integer(3), constant(3)),
        (N, NODES),
        (N + 1, constant(1) + NODES),
        (2 * E, constant(2) * EDGES),
        (FloorDiv(E, 512), tirx.floordiv(EDGES, constant(512))),
        (Mod(N, 3), tirx.floormod(NODES, constant(3))),
        (N**2, NODES * NODES),
    ],
)
def test_expressions(expression: object, wanted: object) -> None:
    found = SIZES._expression(expression)
    assert tvm_ffi.structural_equal(found, wanted), (found, wanted)


def test_minimum_and_maximum() -> None:
    for function, name in ((Min, "min"), (Max, "max")):
        assert str(SIZES._expression(function(N, E))).startswith(f"T.{name}(")


def test_one_name_is_one_variable() -> None:
    sizes = Sizes({N: "nodes", E: "nodes"})
    assert sizes._expression(N).same_as(sizes._expression(E))


def test_other_functions_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"products, quotients.* of nodes, edges, got sin"):
        SIZES._expression(sympy.sin(N))
