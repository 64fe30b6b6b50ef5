"""The operator on graphs: derivatives, fake tensors, checks, large operands, locality of NaN."""

from collections.abc import Callable

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.algebra.evaluate import Nodes, evaluate
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.runtime.convolution import convolve, kernels, signature
from tvm_equi.runtime.plans import derivative_plan, resolve
from tvm_equi.runtime.topology import Topology

EDGES = torch.tensor([[0, 2, 2, 1, 0, 3, 2], [1, 1, 0, 0, 0, 3, 3]])
TOPOLOGY = Topology(EDGES, (4, 5))


@pytest.fixture
def conv(plan: str) -> str:
    """The convolution of the small kernel."""
    return convolution_kernel(resolve(plan)).plan()


def draw(plan: str, topology: Topology = TOPOLOGY) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    rows = {"row": (topology.num_edges,), "shared": ()}
    rows |= {"sender": (topology.num_senders,), "receiver": (topology.num_receivers,)}
    shapes = [(*rows[kind], columns) for columns, kind in signature(plan).inputs]
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)
        for shape in shapes
    ]


def test_equals_the_oracle(conv: str) -> None:
    inputs = draw(conv)
    nodes = {"sender": Nodes(EDGES[0].numpy(), 4), "receiver": Nodes(EDGES[1].numpy(), 5)}
    (wanted,) = evaluate(resolve(conv), [t.detach().numpy() for t in inputs], nodes)
    (found,) = convolve(conv, inputs, TOPOLOGY)
    assert torch.allclose(found, torch.from_numpy(wanted), rtol=0, atol=1e-13)
    assert torch.equal(found[[2, 4]], torch.zeros(2, found.shape[1], dtype=torch.float64))
    (direct,) = torch.ops.tvm_equi.convolve(inputs, TOPOLOGY.tensors(), conv)
    assert torch.equal(direct, found)


def test_derivatives_equal_differences(conv: str) -> None:
    inputs = draw(conv)

    def function(*some: torch.Tensor) -> torch.Tensor:
        return convolve(conv, some, TOPOLOGY)[0]

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_dispatched_derivatives_equal_eager_ones(conv: str) -> None:
    inputs = draw(conv)
    tensors = TOPOLOGY.tensors()

    def second(output: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = torch.autograd.grad(output.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    eager = second(convolve(conv, inputs, TOPOLOGY)[0])
    dispatched = second(torch.ops.tvm_equi.convolve(inputs, tensors, conv)[0])
    for one, other in zip(eager, dispatched, strict=True):
        assert torch.equal(one, other)


def test_functorch(conv: str) -> None:
    x, y, w = draw(conv)

    def energy(one: torch.Tensor) -> torch.Tensor:
        return convolve(conv, [one, y.detach(), w.detach()], TOPOLOGY)[0].square().sum()

    (wanted,) = torch.autograd.grad(energy(x), x)
    assert torch.equal(torch.func.grad(energy)(x.detach()), wanted)
    batch = torch.stack([x.detach(), 2 * x.detach()])
    stacked = torch.func.vmap(energy)(batch)
    assert torch.allclose(stacked, torch.stack([energy(one) for one in batch]), rtol=1e-14)


def test_fake_tensors(conv: str) -> None:
    with FakeTensorMode():
        topology = Topology(torch.zeros(2, 7, dtype=torch.int64), (4, 5))
        inputs = [torch.empty(tuple(t.shape), dtype=torch.float64) for t in draw(conv)]
        (out,) = convolve(conv, inputs, topology)
        assert tuple(out.shape) == (5, signature(conv).outputs[0][0])


def test_a_plan_is_split_by_nodes(conv: str) -> None:
    first = derivative_plan(conv, (0, 1, 2), (0,))
    assert len(kernels(conv)) == len(kernels(first)) == 1
    assert len(kernels(derivative_plan(first, (0, 1, 2, 3), (0, 1, 2)))) == 2


def test_no_edges(conv: str) -> None:
    empty = Topology(torch.empty(2, 0, dtype=torch.int64), (2, 3))
    inputs = draw(conv, empty)
    (out,) = convolve(conv, inputs, empty)
    assert torch.equal(out, torch.zeros_like(out))
    assert out.shape[0] == 3
    grads = torch.autograd.grad(out.sum(), inputs)
    assert [g.shape for g in grads] == [t.shape for t in inputs]
    assert not any(g.any() for g in grads)


def test_wrong_inputs_are_refused(conv: str) -> None:
    x, y, w = (t.detach() for t in draw(conv))
    with pytest.raises(ArgumentError, match="expected 3 tensors, got 2"):
        convolve(conv, [x, y], TOPOLOGY)
    with pytest.raises(ArgumentTypeError, match=r"inputs\[1\]: expected torch.float64 like"):
        convolve(conv, [x, y.float(), w], TOPOLOGY)
    with pytest.raises(ArgumentError, match=r"inputs\[0\]: expected shape \[4, 24\] \(\[senders"):
        convolve(conv, [x[:3], y, w], TOPOLOGY)
    with pytest.raises(ArgumentError, match=r"inputs\[2\]: expected shape \[7, "):
        convolve(conv, [x, y, w[:6]], TOPOLOGY)


def test_operands_beyond_32_bit_offsets() -> None:
    """Weights of more than 2^31 elements: zero pages of memory that only two rows of touch."""
    channels = 1 << 12
    kernel = convolution_kernel(
        tensor_product_kernel(
            ((channels, 0),),
            ((1, 0),),
            ((channels, 0),),
            (Instruction(0, 0, 0, "uvu", True, 1.0),),
            weight_rows="row",
        )
    )
    num_edges = (1 << 19) + 5
    weights = torch.zeros(1, dtype=torch.float32).expand(num_edges, channels)
    storage = torch.empty(num_edges * channels, dtype=torch.float32)  # never written as a whole
    weights = storage.view(num_edges, channels)
    assert weights.numel() > 1 << 31
    chosen = torch.tensor([0, 1 << 18, num_edges - 1])
    weights[chosen] = torch.tensor([[1.0], [2.0], [3.0]])
    # Edges that are not chosen have y = 0, and their weights are pages of zeros.
    y = torch.zeros(num_edges, 1)
    y[chosen] = 1.0
    receivers = torch.zeros(num_edges, dtype=torch.int64)
    receivers[chosen] = torch.tensor([1, 2, 3])
    edges = torch.stack([torch.zeros_like(receivers), receivers])
    x = torch.ones(1, channels)
    (out,) = convolve(kernel.plan(), [x, y, weights], Topology(edges, (1, 4)))
    assert torch.equal(out[:, 0], torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert torch.equal(out, out[:, :1].expand_as(out))


def test_nan_reaches_its_receiver_only(conv: str, inputs: Callable[..., object]) -> None:
    del inputs
    x, y, w = (t.detach() for t in draw(conv))
    clean = convolve(conv, [x, y, w], TOPOLOGY)[0]
    for bad in (float("nan"), float("inf")):
        weights = w.clone()
        weights[2] = bad  # an edge of receiver 0
        found = convolve(conv, [x, y, weights], TOPOLOGY)[0]
        assert not found[0].isfinite().all()
        assert torch.equal(found[1:], clean[1:])
