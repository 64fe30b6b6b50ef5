"""Torch's operators in C++, in processes that never import this package: values, gradients, errors.

Cases are made here, with Python's operators, and checked there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.deploy_runtimes.aoti import page, run_python
from tests.kernels import product
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.algebra.products import linear_kernel
from tvm_equi.export.kernels import UsedPlan, save_kernels
from tvm_equi.runtime.convolution import convolve, signature
from tvm_equi.runtime.plans import derivative_plan, derivative_plans
from tvm_equi.runtime.topology import Topology
from tvm_equi.runtime.torch_op import run

pytestmark = pytest.mark.deploy

SHARED = linear_kernel(
    ((3, 0), (2, 1)), ((2, 0), (4, 1)), ((0, 0, 0.5), (1, 1, 2.0)), weight_rows="shared"
).plan()

EDGES = convolution_kernel(product(u=4)).plan()
SHARED_EDGES = convolution_kernel(product(u=4, weight_rows="shared")).plan()

CHECK = """
import sys, threading, torch
library, cases = sys.argv[1:]
torch.ops.load_library(library)
ops = torch.ops.tvm_equi

def call(case, inputs):
    if case["operator"] == "run":
        return ops.run(inputs, case["plan"])
    return ops.convolve(inputs, case["topology"], case["plan"])

def check(case):
    for found, wanted in zip(call(case, case["inputs"]), case["outputs"], strict=True):
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, rtol=0, atol=case["tolerance"])
    assert len(call(case, case["inputs"])) == len(case["outputs"])

cases = torch.load(cases, weights_only=True)
for case in cases["operators"]:
    check(case)
for edges, nodes, side, wanted in cases["orders"]:
    for found, one in zip(ops.sort_edges(edges, side, *nodes), wanted, strict=True):
        assert torch.equal(found, one), (edges.shape, nodes, side, found, one)

# The memory of large results serves again, and never while it is in use.
large = max(cases["operators"], key=lambda case: case["outputs"][0].nbytes)
assert large["outputs"][0].nbytes > 1 << 20
first = call(large, large["inputs"])[0]
place, kept = first.data_ptr(), first.clone()
second = call(large, large["inputs"])[0]
assert second.data_ptr() != place and torch.equal(first, kept)
del first
third = call(large, large["inputs"])[0]
assert third.data_ptr() == place and torch.equal(third, kept) and torch.equal(second, kept)

# Several threads at once, each with loops of several threads.
failed = []
def worker(number):
    try:
        for _ in range(20):
            for case in cases["operators"]:
                check(case)
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=worker, args=(n,)) for n in range(3)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert not failed, failed

for case in cases["gradients"]:
    inputs = [value.clone().requires_grad_() for value in case["inputs"]]
    function = lambda *given: tuple(call(case, list(given)))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)
    # A part of the inputs: the derivative with respect to everything serves.
    some = [inputs[0], *[value.detach() for value in inputs[1:]]]
    (first,) = torch.autograd.grad(call(case, some)[0].sum(), some[:1])
    (wanted,) = torch.autograd.grad(call(case, inputs)[0].sum(), inputs[:1])
    torch.testing.assert_close(first, wanted)
assert not [name for name in sys.modules if name.split(".")[0] in ("tvm", "tvm_ffi", "tvm_equi")]
print(len(cases["operators"]), "checked")
"""


def rows_case(plan: str, rows: int, dtype: torch.dtype, *, strided: bool = False) -> dict[str, Any]:
    inputs = [torch.randn(rows, 9, dtype=dtype), torch.randn(14, dtype=dtype)]
    if strided:
        inputs = [value.repeat_interleave(2, -1)[..., ::2] for value in inputs]
    return {"operator": "run", "plan": plan, "inputs": inputs, "outputs": run(plan, inputs)}


def edges_case(plan: str, edges: int, nodes: tuple[int, int], dtype: torch.dtype) -> dict[str, Any]:
    index = torch.stack([torch.randint(0, max(count, 1), (edges,)) for count in nodes])
    topology = Topology(index, nodes)
    sizes = {"row": [edges], "sender": [nodes[0]], "receiver": [nodes[1]], "shared": []}
    facts = signature(plan).inputs
    inputs = [torch.randn([*sizes[rows], columns], dtype=dtype) for columns, rows in facts]
    outputs = convolve(plan, inputs, topology)
    case = {"operator": "convolve", "plan": plan, "inputs": inputs, "outputs": outputs}
    return case | {"topology": topology.tensors()}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The cases, and the kernels that they need."""
    torch.manual_seed(0)
    exact = derivative_plan(SHARED, (0,), (0,))
    tolerances = {torch.float64: 1e-12, torch.float32: 1e-5}
    operators = [
        rows_case(plan, rows, dtype, strided=strided) | {"tolerance": tolerances[dtype]}
        for plan, rows, dtype, strided in [
            (SHARED, 5, torch.float64, False),
            (SHARED, 5, torch.float64, True),
            (SHARED, 0, torch.float64, False),
            (SHARED, 5, torch.float32, False),
            (SHARED, 9000, torch.float32, False),
        ]
    ]
    for rows in (5, 0, 20000):  # sums over rows, in chunks
        plan = derivative_plan(SHARED, (0, 1), (0,))
        inputs = [*rows_case(SHARED, rows, torch.float64)["inputs"], torch.randn(rows, 14).double()]
        case = {"operator": "run", "plan": plan, "inputs": inputs, "outputs": run(plan, inputs)}
        operators.append(case | {"tolerance": 1e-9})
    for edges, nodes, dtype in [
        (40, (7, 9), torch.float64),
        (0, (3, 2), torch.float64),
        (0, (0, 0), torch.float64),
        (5000, (60, 70), torch.float64),
        (5000, (60, 70), torch.float32),
    ]:
        tolerance = 1e-10 if dtype == torch.float64 else 2e-3
        for plan in (*derivative_plans(EDGES, 1), *derivative_plans(SHARED_EDGES, 1)):
            operators.append(edges_case(plan, edges, nodes, dtype) | {"tolerance": tolerance})
    orders = []
    for edges, nodes in [(0, (0, 0)), (0, (3, 2)), (1, (1, 1)), (40, (7, 9)), (30000, (50, 4000))]:
        index = torch.stack([torch.randint(0, max(count, 1), (edges,)) for count in nodes])
        for side in (0, 1):
            orders.append((index, nodes, side, torch.ops.tvm_equi.sort_edges(index, side, *nodes)))
    hub = torch.stack([torch.zeros(20000, dtype=torch.int64), torch.arange(20000)])
    orders += [
        (hub, (1, 20000), n, torch.ops.tvm_equi.sort_edges(hub, n, 1, 20000)) for n in (0, 1)
    ]
    gradients = [
        rows_case(SHARED, 3, torch.float64),
        edges_case(EDGES, 12, (5, 4), torch.float64),
        edges_case(SHARED_EDGES, 12, (5, 4), torch.float64),
    ]
    folder = tmp_path_factory.mktemp("cases")
    torch.save(
        {"operators": operators, "orders": orders, "gradients": gradients}, folder / "cases.pt"
    )
    plans = [exact, *derivative_plans(SHARED, 2)]
    plans += [*derivative_plans(EDGES, 2), *derivative_plans(SHARED_EDGES, 2)]
    used = [UsedPlan(plan, dtype) for plan in plans for dtype in ("float64", "float32")]
    return folder / "cases.pt", save_kernels(folder / "kernels.tvmeq", used)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(page(tmp_path_factory) / "ops" / "lib" / "libtvm_equi_torch.so")


def test_values_gradients_and_threads(library: str, cases: tuple[Path, Path]) -> None:
    data, kernels = cases
    printed = run_python(CHECK, library, str(data), TVM_EQUI_ARTIFACTS=str(kernels))
    assert printed == "28 checked\n"


REFUSE = """
import ctypes, sys, torch
library, plan, edge_plan, kernels, broken = sys.argv[1:]
torch.ops.load_library(library)
ops = torch.ops.tvm_equi

def refused(kind, parts, function, *arguments):
    try:
        function(*arguments)
    except kind as error:
        assert all(part in str(error) for part in parts), error
    else:
        raise AssertionError(parts)

x, w = torch.randn(4, 9), torch.randn(14)
wanted = ("tvm_equi::run: plan ", "float32, got none; ", "TVM_EQUI_ARTIFACTS")
refused(RuntimeError, wanted, ops.run, [x, w], plan)
load = ctypes.CDLL(library).tvm_equi_load_kernels
load.restype = ctypes.c_char_p
assert b"load: path: expected a text, got NULL" in load(None)
assert b"/nowhere.tvmeq" in load(b"/nowhere.tvmeq")
assert b"sha256" in load(broken.encode())
assert load(kernels.encode()) is None
assert ops.run([x, w], plan)[0].shape == (4, 14)

def run(kind, part, *inputs, plan=plan):
    refused(kind, [part], ops.run, list(inputs), plan)

run(RuntimeError, "(derivative 1:0): expected a file", x, w, plan=plan + " 1:0")
run(RuntimeError, "none in " + kernels, x, w, plan=plan + " 1:0")
run(RuntimeError, "got none", x, w, plan=edge_plan)
run(ValueError, "expected 2 tensors, got 1", x)
run(TypeError, "inputs[1]: expected Float like inputs[0], got Double", x, w.double())
run(TypeError, "expected Float or Double, got Half", x.half(), w.half())
run(ValueError, "inputs[0]: expected shape [rows, 9], got [4, 8]", x[:, 1:], w)
run(ValueError, "inputs[1]: expected shape [14], got [1, 14]", x, w[None])
run(NotImplementedError, "tvm_equi::run", x.to("meta"), w.to("meta"))
with torch.autograd.forward_ad.dual_level():
    run(RuntimeError, "jvp is not implemented", torch.autograd.forward_ad.make_dual(x, x), w)

def sort(kind, part, *arguments):
    refused(kind, [part], ops.sort_edges, *arguments)

index = torch.tensor([[0, 1, 5], [2, 1, 0]])
sort(IndexError, "senders (row 0) from 0 to 4, got 0 to 5", index, 0, 5, 3)
sort(IndexError, "senders (row 0) from 0 to 5, got -1 to 4", index - 1, 1, 6, 3)
sort(TypeError, "expected Long on the CPU, got Int", index.int(), 0, 6, 3)
sort(ValueError, "side: expected 0 or 1, got 2", index, 2, 6, 3)
sort(ValueError, "expected shape [2, edges], got [3]", index[0], 0, 6, 3)
sort(ValueError, "nodes: expected 0 or more, got -1", index, 0, -1, 3)

def convolve(kind, part, inputs, order):
    refused(kind, [part], ops.convolve, inputs, order, edge_plan)

order = ops.sort_edges(index, 0, 6, 6) + ops.sort_edges(index, 1, 6, 6)
given = [torch.randn(6, 12), torch.randn(3, 3), torch.randn(3, 8)]
assert ops.convolve(given, order, edge_plan)[0].shape[0] == 6
convolve(ValueError, "topology: expected 10 tensors, got 9", given, order[:9])
convolve(ValueError, "inputs[0]: expected shape [6, 12]", [given[0][1:], *given[1:]], order)
convolve(ValueError, "inputs: expected 3 tensors, got 2", given[:2], order)
convolve(TypeError, "topology: expected Long", given, [order[0].int(), *order[1:]])
convolve(ValueError, "sort_edges gives", given, [order[0], order[1][:2], *order[2:]])
print("refused")
"""


def test_bad_input_is_refused(library: str, cases: tuple[Path, Path], tmp_path: Path) -> None:
    kernels = cases[1]
    data = bytearray(kernels.read_bytes())
    data[len(data) // 2] ^= 1
    broken = tmp_path / "broken.tvmeq"
    broken.write_bytes(data)
    printed = run_python(REFUSE, library, SHARED, EDGES, str(kernels), str(broken))
    assert printed == "refused\n"


ONE_IS_MISSING = """
import shutil, sys, torch
library, plan, kernels, late = sys.argv[1:]
torch.ops.load_library(library)
inputs = [torch.randn(4, 9), torch.randn(14)]

def said():
    try:
        return torch.ops.tvm_equi.run(inputs, plan)[0].shape
    except RuntimeError as error:
        return str(error).splitlines()[0]

before = [said(), said()]
shutil.copy(kernels, late)
print(before[0] == before[1], before[0], said())
"""


def test_a_file_that_is_missing_is_named_until_it_is_there(
    library: str, cases: tuple[Path, Path], tmp_path: Path
) -> None:
    late = str(tmp_path / "late.tvmeq")
    arguments = (library, SHARED, str(cases[1]), late)
    printed = run_python(ONE_IS_MISSING, *arguments, TVM_EQUI_ARTIFACTS=f":{late}:")
    wanted = "expected a file that can be read, got No such file or directory"
    assert printed == f"True load: {late}: {wanted} torch.Size([4, 14])\n"


FORK = """
import os, sys, torch
library, cases = sys.argv[1:]
torch.ops.load_library(library)
case = torch.load(cases, weights_only=True)["operators"][4]
before = torch.ops.tvm_equi.run(case["inputs"], case["plan"])[0]
child = os.fork()
torch.testing.assert_close(torch.ops.tvm_equi.run(case["inputs"], case["plan"])[0], before)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("forked")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_runs_on_one_thread(library: str, cases: tuple[Path, Path]) -> None:
    printed = run_python(FORK, library, str(cases[0]), TVM_EQUI_ARTIFACTS=str(cases[1]))
    assert printed == "forked\n"


BOTH = """
import sys, torch
sys.path.insert(0, sys.argv[2])
def load(): torch.ops.load_library(sys.argv[1])
if sys.argv[3] == "library first":
    load()
import tvm_equi
layer = tvm_equi.Linear("4x0e+4x1o", "2x1o+2x0e").double()
load()
x = torch.randn(5, 16, dtype=torch.float64, requires_grad=True)
assert torch.autograd.gradcheck(layer, (x,))
exported = torch.export.export(layer, (x.detach(),))
torch.testing.assert_close(exported.module()(x), layer(x))
print("both")
"""


@pytest.mark.parametrize("order", ["library first", "package first"])
def test_with_this_package_in_one_process(library: str, order: str) -> None:
    root = str(Path(__file__).parent.parent.parent)
    assert run_python(BOTH, library, root, order) == "both\n"
