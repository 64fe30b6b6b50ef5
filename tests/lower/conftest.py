"""Fixtures that compare compiled kernels with the numpy oracle."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tvm_equi.algebra.convolution import pass_order, passes
from tvm_equi.algebra.evaluate import Nodes, evaluate
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.codegen import build
from tvm_equi.deploy.runtime import use_threads
from tvm_equi.lower.arguments import copied_inputs, summed_outputs
from tvm_equi.runtime.library import load_function
from tvm_equi.runtime.topology import Topology
from tvm_equi.schedule import cpu

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture
def decide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """decide(name=value): the rule decides otherwise; nothing is taken from the cache."""
    rule = cpu.decide

    def change(**decisions: object) -> None:
        monkeypatch.setattr(cpu, "decide", lambda *facts: replace(rule(*facts), **decisions))
        monkeypatch.setenv("TVM_EQUI_CACHE_DIR", str(tmp_path / str(decisions)))

    return change


@pytest.fixture
def check_kernel() -> Callable[..., None]:
    """check_kernel(kernel, dtype, rows, target): outputs equal `evaluate`, from NaN memory."""

    def check(kernel: Kernel, dtype: str = "float64", rows: int = 37, target: str = "host") -> None:
        assert Kernel.from_plan(kernel.plan()) == kernel
        rng = np.random.default_rng(7)

        def shape(name: str) -> tuple[int, ...]:
            operand = kernel.operand(name)
            return (rows, operand.dim) if operand.rows == "row" else (operand.dim,)

        arrays = [rng.standard_normal(shape(name)) for name in kernel.inputs]
        torch_dtype = getattr(torch, dtype)
        outputs = []
        for name in kernel.outputs:
            is_row = kernel.operand(name).rows == "row"
            extent = shape(name) if is_row else (3, *shape(name))
            outputs.append(torch.full(extent, float("nan"), dtype=torch_dtype))
        use_threads(1)
        function = load_function(build(kernel, dtype, target).library)
        function(*[torch.tensor(array, dtype=torch_dtype) for array in arrays], *outputs)
        for name, got, wanted in zip(
            kernel.outputs, outputs, evaluate(kernel, arrays), strict=True
        ):
            found = got if kernel.operand(name).rows == "row" else got.sum(0)
            scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
            error = float(np.abs(found.numpy() - wanted).max(initial=0.0)) / scale
            assert error < TOLERANCE[dtype], f"{name} of {kernel!r}: relative error {error}"

    return check


def _full(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


@pytest.fixture
def check_convolution() -> Callable[..., None]:
    """check_convolution(kernel, edge_index, counts, dtype): as `check_kernel`, pass by pass."""

    def check(
        kernel: Kernel,
        edge_index: torch.Tensor,
        counts: tuple[int, int],
        dtype: str = "float64",
        target: str = "host",
    ) -> None:
        rng = np.random.default_rng(5)
        topology = Topology(edge_index, counts)
        rows = {"row": edge_index.shape[1], "sender": counts[0], "receiver": counts[1]}
        nodes = {
            name: Nodes(edge_index[side].numpy(), counts[side])
            for side, name in enumerate(("sender", "receiver"))
        }

        def shape(name: str) -> tuple[int, ...]:
            operand = kernel.operand(name)
            return (*((rows[operand.rows],) if operand.rows in rows else ()), operand.dim)

        arrays = [rng.standard_normal(shape(name)) for name in kernel.inputs]
        torch_dtype = getattr(torch, dtype)
        inputs = [torch.tensor(array, dtype=torch_dtype) for array in arrays]
        wanted = evaluate(kernel, arrays, nodes)
        use_threads(1)
        for part in passes(kernel):
            function = load_function(build(part.kernel, dtype, target).library)
            order = topology.order(pass_order(part.kernel))
            num_tasks = order.tasks.shape[1] - 1
            outputs, is_shared = [], []
            for number in part.outputs:
                name = kernel.outputs[number]
                is_shared.append(kernel.operand(name).rows == "shared")
                lead = (num_tasks,) if is_shared[-1] else ()
                outputs.append(_full((*lead, *shape(name)), torch_dtype))
            copies = [_full(shape(name), torch_dtype) for name in copied_inputs(part.kernel)]
            sums = [
                _full((num_tasks, part.kernel.operand(name).dim), torch_dtype)
                for name in summed_outputs(part.kernel)
            ]
            function(*inputs, *outputs, *copies, *sums, *order)
            for number, got, shared in zip(part.outputs, outputs, is_shared, strict=True):
                found = (got.sum(0) if shared else got).numpy()
                scale = max(float(np.abs(wanted[number]).max(initial=0.0)), 1e-30)
                error = float(np.abs(found - wanted[number]).max(initial=0.0)) / scale
                assert error < TOLERANCE[dtype], f"output {number} of {kernel!r}: error {error}"

    return check
