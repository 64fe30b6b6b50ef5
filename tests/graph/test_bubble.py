"""Products that undo each other are a number; anything short of that stays."""

import pytest

from tests.passes import checked
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.bubble import Bubble, bubble_factor
from tvm_equi.graph.operations import Instruction, TensorProduct
from tvm_equi.graph.types import Irrep, format_irreps, parse_irreps

bubble = Bubble()


def there_and_back(
    irreps: str = "3x1o",
    degree: int = 2,
    *,
    left_out: int | None = None,
    spoilt: float = 1.0,
    normalize: bool = True,
    layout: str = "mul_ir",
) -> TensorProductGraph:
    """x times y to every degree, each with a factor of its own, and back to x."""
    build = GraphBuilder(dtype="float64", layout=layout)
    x = build.input("x", irreps, rows="node")
    v = build.input("v", "1o", rows="node")
    y = build.spherical_harmonics("y", v, [degree], normalize=normalize, normalization="norm")
    first, second, middle = [], [], []
    for i, left in enumerate(parse_irreps(irreps)):
        for l3 in range(abs(left.degree - degree), left.degree + degree + 1):
            if l3 == left_out:
                continue
            a = 0.5 + l3
            sign = (-1) ** (left.degree + degree + l3)
            b = sign * 3.0 * (2 * l3 + 1) / a * (spoilt if l3 == 1 else 1.0)
            first.append(Instruction(i, 0, len(middle), "uvu", False, a))
            second.append(Instruction(len(middle), 0, i, "uvu", False, b))
            middle.append(Irrep(left.mul, l3, left.parity * (-1) ** degree))
    right = build.value(y).irreps
    text = format_irreps(tuple(middle))
    build.add("t", TensorProduct(irreps, right, text, tuple(first), layout=layout), x, y)
    build.add("z", TensorProduct(text, right, irreps, tuple(second), layout=layout), "t", y)
    return build.graph("z")


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize(("irreps", "degree"), [("3x1o", 2), ("2x0e+2x1o+1x2e", 1), ("2x2o", 2)])
def test_collapses(irreps: str, degree: int, layout: str) -> None:
    after = checked(bubble, there_and_back(irreps, degree, layout=layout))
    (node,) = (node for node in after.nodes if node.name not in ("x", "v"))
    assert node.inputs == ("x",)
    assert node.operation.factors == pytest.approx((3.0,))


def test_stays() -> None:
    for graph in (
        there_and_back(left_out=2),
        there_and_back(spoilt=1.01),
        there_and_back(normalize=False),
    ):
        assert bubble(graph) == graph


def test_a_middle_that_is_read_elsewhere_stays() -> None:
    graph = there_and_back()
    both = TensorProductGraph(graph.nodes, ("z", "t"))
    after = checked(bubble, both)
    assert "t" in after.types
    assert after.node("z").kind == "Add"


def test_factor_needs_the_same_ends() -> None:
    graph = there_and_back()
    first, second = graph.node("t").operation, graph.node("z").operation
    assert bubble_factor(first, second, (1.0,)) == pytest.approx(3.0)
    assert bubble_factor(first, first, (1.0,)) == 0.0
