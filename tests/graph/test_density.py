"""The density of species gives what the convolution gave, with gradients, where it is cheaper."""

import pytest
import torch

from tests.passes import checked
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder, Pipeline, TensorProductGraph
from tvm_equi.graph.density import Density
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.instructions import channelwise, fully_connected
from tvm_equi.graph.operations import Convolution, ScalarMLP
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.totals import Sizes, total_cost
from tvm_equi.nn.graph_module import GraphModule

MANY_EDGES = Sizes(nodes=100, edges=5000)


def first_layer(
    species: str = "2x0e",
    hidden: tuple[int, ...] = (8,),
    layout: str = "mul_ir",
    channels: int = 8,
    pattern: object = channelwise,
) -> TensorProductGraph:
    """An embedding, and the sum over neighbours of its product with harmonics."""
    build = GraphBuilder(dtype="float64", layout=layout)
    x = build.linear("embed", build.input("s", species, rows="node"), f"{channels}x0e")
    build.input("r", "3x0e", rows="edge")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), range(3))
    i, j = (build.index(name, rows="edge", into="node") for name in "ij")
    out, paths = pattern(f"{channels}x0e", "0e+1o+2e", f"{channels}x0e+{channels}x1o+{channels}x2e")
    count = channels * len(paths) * (channels if pattern is fully_connected else 1)
    w = build.mlp("fc", "r", [3, *hidden, count])
    product = build.tensor_product("t", build.gather("g", x, i), y, out, paths, weights=w)
    total = build.scatter_sum("z", product, j, factor=0.25)
    # The first layer's output has vectors; what is read of them differs from path to path.
    return build.graph(build.linear("out", total, "3x0e+2x1o"))


def kinds(graph: TensorProductGraph) -> list[str]:
    return [node.kind for node in graph.nodes if node.inputs]


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize("hidden", [(), (8,), (5, 8)])
@pytest.mark.parametrize("fuse", [Fuse(), Fuse(radial=True), Fuse(radial=True, harmonics=True)])
def test_same_function(layout: str, hidden: tuple[int, ...], fuse: Fuse) -> None:
    for species in ("2x0e", "1x0e+2x0e"):
        graph = Pipeline((Prune(), fuse))(first_layer(species, hidden, layout))
        after = checked(Density(always=True), graph)
        assert after.types["z"] == graph.types["z"]
        convolution = next(n.operation for n in after.nodes if isinstance(n.operation, Convolution))
        assert convolution.product.weights == "none"
        assert all(
            n.operation.sizes[-1] <= 8 for n in after.nodes if isinstance(n.operation, ScalarMLP)
        )
        assert Prune()(after) == after


def test_it_is_chosen_by_count() -> None:
    graph = DEFAULT_PIPELINE(first_layer(channels=64, hidden=(16,)))
    few = Density(MANY_EDGES)(graph)
    assert "ComposedWeights" in kinds(few)
    assert total_cost(few, MANY_EDGES) < total_cost(graph, MANY_EDGES)
    assert Density(Sizes(nodes=100, edges=100))(graph) == graph  # a node has one edge
    many_species = DEFAULT_PIPELINE(first_layer("80x0e", channels=64, hidden=(16,)))
    assert Density(MANY_EDGES)(many_species) == many_species


def test_published_count() -> None:
    """MACE's first layer, 64 hidden and 128 channels, harmonics of degrees 0 to 3."""
    build = GraphBuilder()
    x = build.linear("embed", build.input("s", "1x0e", rows="node"), "128x0e")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), range(4))
    i, j = (build.index(name, rows="edge", into="node") for name in "ij")
    out, paths = channelwise("128x0e", "0e+1o+2e+3o", "0e+1o+2e+3o")
    w = build.mlp("fc", build.input("h", "64x0e", rows="edge"), [64, 512])
    product = build.tensor_product("t", build.gather("g", x, i), y, out, paths, weights=w)
    graph = Fuse()(build.graph(build.scatter_sum("z", product, j)))
    after = Density()(graph)
    assert after.cost("z").multiply_adds == 64 * 16 * 128  # 131 thousand per node
    assert after.cost("z.spread").multiply_adds == 64 * 16 + 16  # and C y, once an edge
    assert after.cost("z.density").multiply_adds == pytest.approx(64 * 16, rel=0.05)
    assert graph.cost("fc").multiply_adds == 64 * 512  # 33 thousand per edge, gone
    assert "fc" not in after.types


@pytest.mark.parametrize(
    "change",
    ["fully_connected", "vectors", "bias"],
)
def test_what_it_is_not_for(change: str) -> None:
    graph = first_layer(pattern=fully_connected) if change == "fully_connected" else None
    if graph is None:
        build = GraphBuilder(dtype="float64")
        species = build.input("s", "2x0e+1o", rows="node")
        wanted = "4x0e+4x1o" if change == "vectors" else "4x0e"
        x = build.linear("embed", species, wanted, biases=change == "bias")
        y = build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), range(2))
        i, j = (build.index(name, rows="edge", into="node") for name in "ij")
        out, paths = channelwise(wanted, "0e+1o", "0e+1o")
        w = build.mlp("fc", build.input("h", "3x0e", rows="edge"), [3, 4 * len(paths)])
        product = build.tensor_product("t", build.gather("g", x, i), y, out, paths, weights=w)
        graph = build.graph(build.scatter_sum("z", product, j))
    fused = Fuse()(graph)
    assert Density(always=True)(fused) == fused


def test_gradients_of_every_order() -> None:
    graph = DEFAULT_PIPELINE(first_layer(hidden=(4,), channels=2))
    old, new = GraphModule(graph), GraphModule(Density(always=True)(graph))
    new.load_state_dict(old.state_dict())
    torch.manual_seed(0)
    data = {
        "s": torch.randn(5, 2, dtype=torch.float64),
        "r": torch.randn(9, 3, dtype=torch.float64),
        "v": torch.randn(9, 3, dtype=torch.float64),
        "i": torch.randint(0, 5, (9,)),
        "j": torch.randint(0, 5, (9,)),
    }
    found = []
    for module in (old, new):
        inputs = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in data.items()}
        leaves = [v for v in inputs.values() if v.requires_grad] + list(module.parameters())
        value = module(**inputs)
        first = torch.autograd.grad(value.pow(2).sum(), leaves, create_graph=True)
        force_loss = torch.stack([g.square().sum() for g in first]).sum()
        second = torch.autograd.grad(force_loss, leaves)
        found.append([value, *first, *second])
    for before, after in zip(*found, strict=True):
        scale = before.abs().max()
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-10 * scale.item())
