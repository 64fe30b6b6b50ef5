"""What users of the operator rely on, a test for each promise."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.runtime.torch_op import run

Inputs = Callable[..., list[torch.Tensor]]


class Product(torch.nn.Module):
    def __init__(self, plan: str) -> None:
        super().__init__()
        self.plan = plan

    def forward(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return run(self.plan, [x, y, w])[0]


class Rows(torch.utils.data.Dataset):
    """A dataset whose items are made by the operator."""

    def __init__(self, plan: str, inputs: list[torch.Tensor]) -> None:
        self.plan, self.inputs = plan, inputs

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return run(self.plan, [tensor[index : index + 1] for tensor in self.inputs])[0]


def test_gradcheck_and_gradgradcheck(plan: str, shared_plan: str, inputs: Inputs) -> None:
    for one in (plan, shared_plan):
        some = inputs(one, 3, requires_grad=True)
        assert torch.autograd.gradcheck(Product(one), some)
        assert torch.autograd.gradgradcheck(Product(one), some)


def test_third_derivative(plan: str, inputs: Inputs) -> None:
    some = inputs(plan, 2, requires_grad=True)

    def second(*tensors: torch.Tensor) -> torch.Tensor:
        energy = Product(plan)(*tensors).square().sum()
        first = torch.autograd.grad(energy, tensors, create_graph=True)
        return torch.cat([t.square().reshape(-1) for t in first]).sum()

    assert torch.autograd.gradgradcheck(second, some, atol=1e-3, rtol=1e-5)


def test_requires_grad_on_any_subset(plan: str, inputs: Inputs) -> None:
    every = inputs(plan, requires_grad=True)
    wanted = torch.autograd.grad(Product(plan)(*every).square().sum(), every)
    for chosen in itertools.product([False, True], repeat=3):
        some = [t.detach().requires_grad_(c) for t, c in zip(every, chosen, strict=True)]
        result = Product(plan)(*some)
        assert result.requires_grad == any(chosen)
        if any(chosen):
            result.square().sum().backward()
        for tensor, gradient, flag in zip(some, wanted, chosen, strict=True):
            assert (tensor.grad is not None) == flag
            if flag:
                assert torch.allclose(tensor.grad, gradient, rtol=1e-12, atol=1e-13)


def test_opcheck(plan: str, inputs: Inputs) -> None:
    some = inputs(plan, requires_grad=True)
    torch.library.opcheck(torch.ops.tvm_equi.run.default, (some, plan))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_torch_compile(backend: str, plan: str, inputs: Inputs) -> None:
    compiled = torch.compile(Product(plan), fullgraph=True, dynamic=True, backend=backend)
    for rows in (4, 7):
        some = inputs(plan, rows, requires_grad=True)
        got, wanted = compiled(*some), Product(plan)(*some)
        assert torch.equal(got, wanted)
        for a, b in zip(
            torch.autograd.grad(got.square().sum(), some),
            torch.autograd.grad(wanted.square().sum(), some),
            strict=True,
        ):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-13)


def test_export_runs_in_a_new_process(plan: str, inputs: Inputs, tmp_path: Path) -> None:
    rows = torch.export.Dim("rows")
    some = tuple(inputs(plan, 4))
    program = torch.export.export(Product(plan), some, dynamic_shapes=({0: rows},) * 3)
    assert torch.equal(program.module()(*inputs(plan, 9)), Product(plan)(*inputs(plan, 9)))
    torch.export.save(program, tmp_path / "product.pt2")
    torch.save([*inputs(plan, 5), Product(plan)(*inputs(plan, 5))], tmp_path / "values.pt")
    code = (
        "import torch, tvm_equi.runtime.torch_op\n"
        f"*some, wanted = torch.load({str(tmp_path / 'values.pt')!r})\n"
        f"program = torch.export.load({str(tmp_path / 'product.pt2')!r})\n"
        "assert torch.equal(program.module()(*some), wanted)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_grad_and_inference_mode(plan: str, inputs: Inputs) -> None:
    some = inputs(plan, requires_grad=True)
    with torch.no_grad():
        assert not Product(plan)(*some).requires_grad
    with torch.inference_mode():
        assert Product(plan)(*some).is_inference()


def test_no_rows(plan: str, shared_plan: str, inputs: Inputs) -> None:
    for one in (plan, shared_plan):
        some = inputs(one, 0, requires_grad=True)
        result = Product(one)(*some)
        assert result.shape == (0, 34)
        for tensor, gradient in zip(some, torch.autograd.grad(result.sum(), some), strict=True):
            assert gradient.shape == tensor.shape
            assert not gradient.any()


def test_strided_and_expanded_inputs(plan: str, inputs: Inputs) -> None:
    x, y, w = inputs(plan, 6)
    wanted = Product(plan)(x, y[:1].expand(6, -1).contiguous(), w)
    wide = torch.randn(6, 3 * x.shape[1], dtype=x.dtype)
    wide[:, ::3] = x
    got = Product(plan)(wide[:, ::3], y[:1].expand(6, -1), w.t().contiguous().t())
    assert torch.equal(got, wanted)


def test_same_bits_for_any_number_of_threads(shared_plan: str, inputs: Inputs) -> None:
    some = inputs(shared_plan, 3000, torch.float32, requires_grad=True)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            value = Product(shared_plan)(*some)
            results.append([value, *torch.autograd.grad(value.square().sum(), some)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_four_threads_at_once(plan: str, inputs: Inputs) -> None:
    some = inputs(plan, 500)
    wanted, wrong = Product(plan)(*some), []

    def work() -> None:
        for _ in range(20):
            if not torch.equal(Product(plan)(*some), wanted):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_workers(context: str, plan: str, inputs: Inputs) -> None:
    some = inputs(plan, 4)
    loader = torch.utils.data.DataLoader(
        Rows(plan, some), batch_size=1, num_workers=2, multiprocessing_context=context
    )
    got = torch.cat([batch[0] for batch in loader])
    assert torch.equal(got, Product(plan)(*some))


def test_nan_stays_in_its_row(plan: str, inputs: Inputs) -> None:
    x, y, w = inputs(plan, 40)
    wanted = Product(plan)(x, y, w)
    x[17] = float("nan")
    got = Product(plan)(x, y, w)
    others = torch.arange(40) != 17
    assert torch.equal(got[others], wanted[others])
    assert got[17].isnan().all()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda x, y, w: [x, y], ArgumentError, "inputs: expected 3 tensors, got 2"),
        (
            lambda x, y, w: [x[:, 1:], y, w],
            ArgumentError,
            r"inputs\[0\]: expected shape \[rows, 24\], got \[4, 23\]",
        ),
        (
            lambda x, y, w: [x, y[1:], w],
            ArgumentError,
            r"inputs\[1\]: expected 4 rows like the others, got 3",
        ),
        (
            lambda x, y, w: [x, y.float(), w],
            ArgumentTypeError,
            r"inputs\[1\]: expected torch.float64 like inputs\[0\], got torch.float32",
        ),
        (
            lambda x, y, w: [x.int(), y.int(), w.int()],
            ArgumentTypeError,
            "expected float32 or float64, got torch.int32",
        ),
    ],
)
def test_wrong_inputs(
    change: Callable[..., list[torch.Tensor]],
    error: type[Exception],
    text: str,
    plan: str,
    inputs: Inputs,
) -> None:
    with pytest.raises(error, match=text):
        run(plan, change(*inputs(plan)))


def test_wrong_plan(inputs: Inputs, plan: str) -> None:
    with pytest.raises(ArgumentError, match="expected a plan's text"):
        run("nonsense", inputs(plan))
