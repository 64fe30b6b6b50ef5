"""`TensorProductConv` equals e3nn's product and a scatter sum, with derivatives of every order."""

from typing import Any

import pytest
import torch
from e3nn import o3

from bench.workloads import Workload, load
from tests.nn.conv_reference import derivatives, draw, graph, largest_error, summed
from tvm_equi import TensorProductConv, Topology
from tvm_equi.testing import turn

TOLERANCE = 1e-12


def channelwise(in1: str, in2: str, mode: str = "uvu") -> tuple[o3.Irreps, list[Any]]:
    """One output for each path up to degree 2."""
    out, instructions = [], []
    for i, (u, ir1) in enumerate(o3.Irreps(in1)):
        for j, (v, ir2) in enumerate(o3.Irreps(in2)):
            for ir in ir1 * ir2:
                if ir.l <= 2:
                    instructions.append((i, j, len(out), mode, True))
                    out.append((v if mode == "uvv" else u, ir))
    return o3.Irreps(out), instructions


def e3nn_product(in1: str, in2: str, mode: str, *, shared: bool) -> o3.TensorProduct:
    """e3nn's module in float64, weights passed."""
    torch.set_default_dtype(torch.float64)
    try:
        if mode == "uvw":
            return o3.FullyConnectedTensorProduct(
                in1, in2, "5x0e+3x1o", internal_weights=False, shared_weights=shared
            )
        out, instructions = channelwise(in1, in2, mode)
        return o3.TensorProduct(
            in1, in2, out, instructions, internal_weights=False, shared_weights=shared
        )
    finally:
        torch.set_default_dtype(torch.float32)


def operands(product: Any, edges: torch.Tensor, senders: int, seed: int = 0) -> list[torch.Tensor]:
    """x, edge attributes and weights."""
    generator = torch.Generator().manual_seed(seed)
    num_edges = edges.shape[1]
    rows = () if product.shared_weights else (num_edges,)
    return [
        draw(generator, senders, product.irreps_in1.dim),
        draw(generator, num_edges, product.irreps_in2.dim),
        draw(generator, *rows, product.weight_numel),
    ]


CASES = [
    ("uvu", "17x0e+3x1o", "1x0e+1x1o+1x2e"),
    ("uvu", "32x1e", "2x0e+1x1e"),
    ("uvu", "1x0e+1x1o", "1x1o"),
    ("uvw", "4x0e+3x1o", "1x0e+1x1o"),
    ("uvw", "3x0e+2x1o", "3x1o"),
    ("uvv", "3x0e+1x1o", "5x0e+5x1o"),
    ("uuu", "4x0e+4x1o", "4x0e+4x1o"),
]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("mode", "in1", "in2"), CASES)
def test_equals_e3nn_to_second_derivatives(mode: str, in1: str, in2: str, shared: bool) -> None:
    product = e3nn_product(in1, in2, mode, shared=shared)
    conv = TensorProductConv.from_e3nn(product)
    edges = graph("hub", 60, 9, 7)
    topology = Topology(edges, (9, 7))
    inputs = operands(product, edges, 9)
    wanted = derivatives(lambda *some: summed(product, edges, 7, *some), inputs, 2)
    found = derivatives(lambda *some: conv(*some, edge_index=topology), inputs, 2)
    assert largest_error(found, wanted) < TOLERANCE


@pytest.mark.parametrize("workload", load(), ids=lambda workload: workload.name)
def test_workloads_on_graphs(workload: Workload) -> None:
    product = workload.build(torch.float64)
    conv = TensorProductConv.from_e3nn(product)
    order = 1 if workload.name in ("nequip-benzene", "mace-large", "sevennet-l3i5-main") else 2
    for kind, num_edges, nodes in (("any", 40, 12), ("hub", 50, 5)):
        edges = graph(kind, num_edges, nodes, nodes)
        inputs = operands(product, edges, nodes)
        wanted = derivatives(
            lambda *some, e=edges, n=nodes: summed(product, e, n, *some), inputs, order
        )
        found = derivatives(lambda *some, e=edges: conv(*some, edge_index=e), inputs, order)
        assert largest_error(found, wanted) < TOLERANCE


@pytest.mark.parametrize("fuse_radial", [False, True])
@pytest.mark.parametrize("fuse_harmonics", [False, True])
def test_third_derivatives_with_everything_inside(fuse_radial: bool, fuse_harmonics: bool) -> None:
    in2 = "1x0e+1x1o+1x2e"
    product = e3nn_product("3x0e+3x1o", in2, "uvu", shared=False)
    conv = TensorProductConv.from_e3nn(
        product, fuse_radial=fuse_radial, fuse_harmonics=fuse_harmonics
    )
    edges = graph("any", 40, 6, 6)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        draw(generator, 6, 12),
        draw(generator, 40, 3),
        draw(generator, 40, 5),
        draw(generator, 5, product.weight_numel),
    ]

    def reference(x: Any, vectors: Any, hidden: Any, last: Any) -> torch.Tensor:
        y = o3.spherical_harmonics(in2, vectors, True, "component")
        return summed(product, edges, 6, x, y, hidden @ last)

    def ours(x: Any, vectors: Any, hidden: Any, last: Any) -> torch.Tensor:
        return conv(x, edge_vectors=vectors, radial=hidden, last=last, edge_index=edges)

    found, wanted = derivatives(ours, inputs, 3), derivatives(reference, inputs, 3)
    assert largest_error(found, wanted) < TOLERANCE


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("normalization", ["component", "integral", "norm"])
def test_harmonics_of_any_normalisation(normalization: str, normalize: bool) -> None:
    in2 = "1x1o+1x0e+1x3o"
    product = e3nn_product("2x0e+2x1o", in2, "uvu", shared=False)
    edges = graph("any", 20, 5, 5)
    x, _, w = operands(product, edges, 5)
    vectors = torch.randn(20, 3, dtype=torch.float64)
    vectors[3] = 0.0
    harmonics = o3.SphericalHarmonics(in2, normalize, normalization)
    wanted = summed(product, edges, 5, x, harmonics(vectors), w)
    for fuse in (False, True):
        conv = TensorProductConv.from_e3nn(
            product,
            fuse_harmonics=fuse,
            harmonics_normalization=normalization,
            normalize=normalize,
        )
        found = conv(x, None, w, edges, edge_vectors=vectors)
        assert largest_error([found.detach()], [wanted.detach()]) < TOLERANCE


def test_ir_mul() -> None:
    product = e3nn_product("4x0e+3x1o", "1x0e+1x1o", "uvu", shared=False)
    conv = TensorProductConv.from_e3nn(product, layout="ir_mul")
    edges = graph("any", 30, 6, 6)
    x, y, w = operands(product, edges, 6)

    def to_ir_mul(value: torch.Tensor, irreps: o3.Irreps) -> torch.Tensor:
        parts = [
            value[:, s].reshape(-1, mul, ir.dim).transpose(1, 2).reshape(len(value), -1)
            for (mul, ir), s in zip(irreps, irreps.slices(), strict=True)
        ]
        return torch.cat(parts, 1)

    wanted = derivatives(
        lambda *some: to_ir_mul(summed(product, edges, 6, *some), product.irreps_out), [x, y, w], 2
    )
    found = derivatives(
        lambda a, b, c: conv(to_ir_mul(a, product.irreps_in1), b, c, edges), [x, y, w], 2
    )
    assert largest_error(found, wanted) < TOLERANCE


@pytest.mark.parametrize("inverted", [False, True])
def test_equivariance(inverted: bool) -> None:
    product = e3nn_product("4x0e+3x1o+2x1e", "1x0e+1x1o+1x2e", "uvu", shared=False)
    conv = TensorProductConv.from_e3nn(product)
    edges = graph("hub", 40, 6, 6)
    x, _, w = (value.detach() for value in operands(product, edges, 6))
    vectors = torch.randn(40, 3, dtype=torch.float64)
    quaternion = o3.rand_quaternion(dtype=torch.float64)

    def turned(value: torch.Tensor, irreps: Any) -> torch.Tensor:
        return turn(value, o3.Irreps(irreps), quaternion, inverted=inverted)

    moved = turned(vectors, "1x1o")
    before = conv(turned(x, conv.irreps_in1), None, w, edges, edge_vectors=moved)
    after = turned(conv(x, None, w, edges, edge_vectors=vectors), conv.irreps_out)
    assert largest_error([before], [after]) < TOLERANCE


def test_own_weights_and_state() -> None:
    out, instructions = channelwise("4x0e+4x1o", "1x0e+1x1o")
    theirs = o3.TensorProduct("4x0e+4x1o", "1x0e+1x1o", out, instructions).double()
    conv = TensorProductConv("4x0e+4x1o", "1x0e+1x1o", out, instructions).double()
    conv.load_state_dict(theirs.state_dict())
    edges = graph("any", 30, 6, 6)
    x, y, _ = operands(theirs, edges, 6)
    wanted, found = summed(theirs, edges, 6, x, y), conv(x, y, edge_index=edges)
    assert largest_error([found.detach()], [wanted.detach()]) < 1e-6  # e3nn's float32 constants
    (one,) = torch.autograd.grad(found.sum(), conv.weight)
    (other,) = torch.autograd.grad(wanted.sum(), theirs.weight)
    assert largest_error([one], [other]) < 1e-6


def test_other_classes_of_e3nn() -> None:
    edges = graph("any", 30, 6, 6)
    full = o3.FullTensorProduct("3x0e+2x1o", "1x0e+1x1o")
    conv = TensorProductConv.from_e3nn(full)
    x, y = torch.randn(6, 9), torch.randn(30, 4)
    found, wanted = conv(x, y, edge_index=edges), summed(full, edges, 6, x, y)
    assert largest_error([found], [wanted]) < 1e-5


def float32_case() -> tuple[TensorProductConv, Topology, list[torch.Tensor]]:
    out, instructions = channelwise("8x0e+8x1o", "1x0e+1x1o")
    conv = TensorProductConv(
        "8x0e+8x1o", "1x0e+1x1o", out, instructions, shared_weights=False, internal_weights=False
    )
    edges = graph("hub", 6000, 90, 80)
    generator = torch.Generator().manual_seed(3)
    inputs = [
        torch.randn(*shape, generator=generator, requires_grad=True)
        for shape in ((90, 32), (6000, 4), (6000, 7), (7, conv.weight_numel))
    ]
    return conv, Topology(edges, (90, 80)), inputs


def test_bitwise_the_same_in_every_run_and_for_any_number_of_threads() -> None:
    conv, topology, inputs = float32_case()

    def run() -> list[torch.Tensor]:
        x, y, hidden, last = inputs
        z = conv(x, y, edge_index=topology, radial=hidden, last=last)
        return [z.detach(), *torch.autograd.grad(z.square().sum(), inputs)]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = run()
        for threads in (1, 2) * 5:
            torch.set_num_threads(threads)
            assert all(map(torch.equal, run(), first))
    finally:
        torch.set_num_threads(before)


def test_topologies_serve_layers_and_indices_of_any_type() -> None:
    conv, topology, (x, y, hidden, last) = float32_case()
    edges = topology.edge_index

    def run(edge_index: Any, **options: Any) -> torch.Tensor:
        return conv(x, y, edge_index=edge_index, radial=hidden, last=last, **options)

    assert torch.equal(run(topology), run(edges, num_nodes=80))
    assert torch.equal(run(edges.int(), num_nodes=80), run(topology, num_nodes=80))
    assert torch.equal(run(topology), run(topology))


def test_no_edges_and_lonely_nodes() -> None:
    product = e3nn_product("3x0e+2x1o", "1x1o", "uvu", shared=False)
    conv = TensorProductConv.from_e3nn(product)
    none = torch.empty(2, 0, dtype=torch.int64)
    inputs = operands(product, none, 4)
    z = conv(*inputs, edge_index=none)
    assert torch.equal(z, torch.zeros(4, conv.irreps_out.dim, dtype=torch.float64))
    grads = torch.autograd.grad(z.sum(), inputs)
    assert [g.shape for g in grads] == [t.shape for t in inputs]
    lonely = torch.tensor([[0, 0], [2, 2]])
    inputs = operands(product, lonely, 5)
    z = conv(*inputs, edge_index=lonely)
    assert z[2].any()
    assert not z[[0, 1, 3, 4]].any()
    assert not torch.autograd.grad(z.sum(), inputs)[0][1:].any()
    assert conv(*operands(product, none, 0), edge_index=none).shape == (0, conv.irreps_out.dim)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_numbers_stay_with_their_edge(bad: float) -> None:
    product = e3nn_product("17x0e+3x1o", "1x0e+1x1o", "uvu", shared=False)
    conv = TensorProductConv.from_e3nn(product)
    edges = graph("any", 60, 8, 8)
    inputs = operands(product, edges, 8)
    sender, receiver = edges[:, 11].tolist()
    clean = [v for v in derivatives(lambda *some: conv(*some, edge_index=edges), inputs, 1)]
    for which in (1, 2):
        spoilt = [value.detach().clone() for value in inputs]
        spoilt[which][11] = bad
        spoilt = [value.requires_grad_() for value in spoilt]
        found = derivatives(lambda *some: conv(*some, edge_index=edges), spoilt, 1)
        for one, other, own in zip(found, clean, (receiver, sender, 11, 11), strict=True):
            rest = [row for row in range(len(one)) if row != own]
            assert torch.equal(one[rest], other[rest])
        assert not found[0][receiver].isfinite().all()


def test_compiles_as_one_graph() -> None:
    product = e3nn_product("3x0e+2x1o", "1x0e+1x1o", "uvu", shared=False)
    conv = TensorProductConv.from_e3nn(product)
    edges = graph("any", 30, 6, 6)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        draw(generator, 6, 9),
        draw(generator, 30, 3),
        draw(generator, 30, 4),
        draw(generator, 4, product.weight_numel),
    ]

    def model(x: Any, vectors: Any, hidden: Any, last: Any, index: Any) -> torch.Tensor:
        return conv(x, edge_vectors=vectors, radial=hidden, last=last, edge_index=index)

    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    wanted = derivatives(lambda *some: model(*some, edges), inputs, 1)
    found = derivatives(lambda *some: compiled(*some, edges), inputs, 1)
    assert largest_error(found, wanted) < TOLERANCE
