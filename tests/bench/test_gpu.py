"""The GPU benchmark as far as it goes without a GPU: plan, checks, statistics, a run on the CPU."""

import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench import gpu, gpu_contestants
from bench.contestants import E3NN, OURS, Unavailable
from bench.counts import Rows, Work
from bench.gpu_check import largest_error, tensors_of
from bench.gpu_contestants import CUE, CUE_MUL_IR, MAKERS, OEQ, OEQ_DET, make
from bench.gpu_convention import Contestant, components_first
from bench.gpu_limits import Limits, floor
from bench.gpu_peers import weight_order
from bench.gpu_plan import RETURNS, GpuCase, Shape, cases, receiver_sorted, shape_of
from bench.gpu_results import GpuRecord, notes, summarise
from bench.gpu_timing import WARM_UPS, Effort, WallTimer, race
from bench.graphs import Graph, skewed
from bench.options import DTYPES
from bench.passes import PASSES
from bench.timing import Timing
from bench.workloads import Workload, select

SCRIPTS = Path(__file__).parent.parent.parent / "bench"
CPU = torch.device("cpu")
TINY = Workload("tiny", "channelwise", "4x0e+2x1o", "0e+1o", "4x0e+2x1o")
MIXED = Workload("mixed", "fully_connected", "3x0e+2x1o", "0e+1o", "2x0e+1x1o", shared_weights=True)
SMALL = ["--device", "cpu", "--workloads", "single-l1", "--rows", "7", "--repetitions", "2"]


def case_of(workload: Workload, shape: Shape, dtype: str = "float64") -> GpuCase:
    return GpuCase(workload, shape, dtype, workload.build(DTYPES[dtype]))


def over_graph() -> Shape:
    graph = receiver_sorted("skewed", skewed(40))
    return Shape("skewed", Rows(40, graph.num_nodes, graph.num_nodes), graph)


SHAPES = {"rows": Shape("rows", Rows.alike(6)), "graph": over_graph()}


# Options and plan.


def test_options() -> None:
    run = gpu.parse([])
    assert run.shapes == ("rows", "carbon-10k", "carbon-100k", "carbon-1m")
    assert (run.rows, run.effort.least, run.device) == (100_000, 30, "cuda")
    assert run.contestants == (E3NN, OEQ, OEQ_DET, CUE, OURS)
    assert run.dtypes == ("float32", "float64")
    quick = gpu.parse(["--quick", "--dtype", "float64", "--contestants", "ours", "e3nn"])
    assert (quick.effort.least, quick.rows) == (10, 10_000)
    assert quick.contestants == (E3NN, OURS)
    assert len(quick.workloads) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workloads", "mace-huge"], "--workloads: expected some of mace-large"),
        (["--graphs", "iron"], "invalid choice: 'iron'"),
        (["--repetitions", "0"], "--repetitions: expected a number above zero, got 0"),
        (["--rows", "-1"], "--rows: expected a number above zero, got -1"),
    ],
)
def test_wrong_options(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        gpu.parse(arguments)
    assert message in capsys.readouterr().err


def test_plan_needs_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--plan-only", "--workloads", "mace-large", "--dtype", "float32"]
    assert gpu.main([*arguments, "--graphs", "rows", "skewed-100k", "--memory", "8"]) == 0
    out = capsys.readouterr().out
    assert "a GPU of 8 GB" in out
    assert "skewed-100k" in out
    assert "fused only" in out
    assert "nobody" in out
    assert "2 cases" in out


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--quick"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("bench.gpu: needs a CUDA device: ")
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_shapes() -> None:
    small, large = shape_of("carbon-10k", 1), shape_of("skewed-100k", 1)
    assert 9_000 < small.edges < 11_000
    assert large.edges == 100_000
    assert shape_of("rows", 5).rows == Rows.alike(5)
    assert large.graph is not None
    assert (large.graph.edge_index[1].diff() >= 0).all()


def test_receivers_are_sorted_with_their_vectors() -> None:
    index = torch.tensor([[2, 0, 1, 0], [1, 1, 0, 1]])
    vectors = torch.arange(4.0)[:, None].expand(4, 3)
    graph = receiver_sorted("g", Graph("", index, 3, vectors))
    assert graph.edge_index.tolist() == [[1, 0, 0, 2], [0, 1, 1, 1]]
    assert graph.vectors[:, 0].tolist() == [2.0, 1.0, 3.0, 0.0]


def test_sizes_are_those_of_tensors() -> None:
    for workload in (TINY, MIXED):
        for shape in SHAPES.values():
            case = case_of(workload, shape, "float32")
            for name in PASSES:
                given = tensors_of(case, name, CPU)
                assert sum(t.numel() for t in given.flat) * 4 == case.input_bytes(name)
            module = case.module
            z = case.bytes_of("z") / 4
            assert z == shape.rows.receivers * module.irreps_out.dim
            assert case.output_bytes("forward+backward") == 4 * z + case.input_bytes("forward")


def test_cases_are_in_groups() -> None:
    workloads = select(["single-l1", "single-l5"])
    found = list(cases(workloads, ("rows", "skewed-1k"), ("float32", "float64"), 3))
    groups = [(case.dtype, case.workload.name) for case in found]
    assert groups[::2] == groups[1::2]
    assert len(set(groups)) == 4


# Limits and times.


def test_floor() -> None:
    limits = Limits(100.0, {"float32": 10.0})
    found = floor([Work(200, 5), Work(100, 50)], limits, "float32")
    assert (found.memory, found.arithmetic, found.roofline) == (3.0, 11.0, 2.0 + 10.0)
    assert (found.num_bytes, found.flops, found.binds) == (300, 110, "arithmetic")


class Clock:
    """A clock that calls move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.order.append(name)
            self.now += seconds

        return run


def test_race_takes_turns() -> None:
    clock = Clock()
    calls = {"slow": clock.call("slow", 2.0), "fast": clock.call("fast", 0.5)}
    timings, reasons = race(calls, WallTimer(clock), Effort(seconds=3.0, least=4, most=5))
    assert reasons == {}
    assert timings["slow"] == Timing(2.0, 2.0, 2.0, 4)
    assert timings["fast"] == Timing(0.5, 0.5, 0.5, 5)
    assert clock.order[: 2 * WARM_UPS] == ["slow"] * WARM_UPS + ["fast"] * WARM_UPS
    assert clock.order[2 * WARM_UPS :] == ["fast", *["slow", "fast"] * 4]


def test_race_without_one_that_fails() -> None:
    clock, count = Clock(), 0

    def fail() -> None:
        nonlocal count
        count += 1
        if count > WARM_UPS + 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    calls = {"fails": fail, "runs": clock.call("runs", 1.0)}
    timings, reasons = race(calls, WallTimer(clock), Effort(0.0, 3, 3))
    assert timings["runs"].calls == 3
    assert list(timings) == ["runs"]
    assert reasons == {"fails": "OutOfMemoryError: CUDA out of memory"}


def test_record() -> None:
    limits = Limits(1e9, {"float32": 1e12})
    least = floor([Work(2_000_000, 1_000_000_000)], limits, "float32")
    record = GpuRecord("float32", "p", "channelwise", "rows", 0, 5, "forward", least)
    record.timings = {name: Timing(t, t, t, 3) for name, t in ((E3NN, 1.0), (CUE, 0.01))}
    assert (record.ratio(E3NN), record.rates(OURS), record.best_peer()) == (None, None, CUE)
    record.timings[OURS] = Timing(0.005, 0.004, 0.006, 3)
    record.reasons[OEQ] = "wrong: differs"
    assert record.ratio(E3NN) == pytest.approx(200)
    rates = record.rates(OURS)
    assert rates is not None
    assert rates["flops"] == pytest.approx(4e11)
    assert rates["share_of_roofline"] == pytest.approx(0.4)
    (summary,) = summarise([record])
    assert summary.to_best_peer is not None
    assert summary.to_best_peer.mean == pytest.approx(2)
    assert notes([record]) == ["oeq: wrong: differs [p, rows forward]"]


# Contestants and the check.


@pytest.mark.parametrize("workload", [TINY, MIXED], ids=lambda w: w.name)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("name", [E3NN, CUE, CUE_MUL_IR])
def test_contestants_agree(name: str, shape: Shape, workload: Workload) -> None:
    if name.startswith(CUE):
        pytest.importorskip("cuequivariance_torch")
    case = case_of(workload, shape)
    built = make(name, workload, torch.float64, CPU, over_graph=shape.graph is not None)
    for pass_name, run in PASSES.items():
        given = tensors_of(case, pass_name, CPU)
        found = run(built.bind(shape.graph), built.convention.tensors(given))
        outputs = built.convention.outputs(RETURNS[pass_name], found)
        whole = largest_error(case, pass_name, given, outputs)
        in_pieces = largest_error(case, pass_name, given, outputs, most=1)
        assert max(whole, in_pieces) < 1e-13


def test_errors_are_found() -> None:
    case = case_of(TINY, SHAPES["graph"])
    given = tensors_of(case, "forward", CPU)
    built = make(E3NN, TINY, torch.float64, CPU, over_graph=True)
    (z,) = PASSES["forward"](built.bind(case.shape.graph), given)
    wrong = z.clone()
    wrong[0, 0] += z.abs().max() / 8
    assert largest_error(case, "forward", given, (wrong,)) == pytest.approx(1 / 8)
    wrong[0, 0] = math.nan
    assert largest_error(case, "forward", given, (wrong,)) == math.inf
    with pytest.raises(ValueError, match="expected shapes"):
        largest_error(case, "forward", given, (z[1:],))


def test_layout_goes_back() -> None:
    convention = components_first(TINY.build())
    x = torch.arange(10.0)[None].repeat(2, 1)
    turned = convention.into["x"](x)
    assert turned[1].tolist() == [0, 1, 2, 3, 4, 7, 5, 8, 6, 9]
    assert torch.equal(convention.back["x"](turned), x)
    assert convention.into["x"](x[:0]).shape == (0, 10)


def test_order_of_weights() -> None:
    class Reversed:
        def reorder_weights_from_e3nn(self, weights: Tensor, _: bool) -> Tensor:
            return weights.flip(-1).roll(1, -1)

    convention = weight_order(Reversed(), TINY.build())  # type: ignore[arg-type]
    w = torch.randn(3, TINY.build().weight_numel)
    assert torch.equal(convention.into["w"](w), w.flip(-1).roll(1, -1))
    assert torch.equal(convention.back["w"](convention.into["w"](w)), w)


def test_missing_peer_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="Error"):
        make(OEQ, TINY, torch.float32, CPU, over_graph=False)


# A run on the CPU.


def test_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu.json"
    arguments = [*SMALL, "--graphs", "rows", "skewed-1k", "--dtype", "float32", "--seconds", "0"]
    arguments += ["--contestants", "e3nn", "oeq", "ours", "--json", str(path)]
    assert gpu.main(arguments) == 0
    out = capsys.readouterr().out
    assert "single-l1, skewed-1k" in out
    assert "note: oeq: " in out
    data = json.loads(path.read_text())
    assert data["limits"]["bytes_per_second"] > 0
    assert data["limits_at_the_end"]["flops"]["float32"] > 0
    found = {(record["shape"], record["pass_name"]): record for record in data["passes"]}
    assert len(found) == 2 * (len(PASSES) + 1)
    for (_, pass_name), record in found.items():
        if pass_name == "forward, replayed":
            assert record["reasons"][OURS] == "replay needs CUDA"
            continue
        assert record["timings"][OURS]["calls"] == 2
        assert record["errors"][OURS] < 1e-5
        assert record["rates"][OURS]["share_of_roofline"] > 0
    assert {summary["over"] for summary in data["summary"]} == {"products", "convolutions"}


def test_who_is_wrong_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(*arguments: object) -> Contestant:
        right = gpu_contestants._e3nn(*arguments)  # type: ignore[arg-type]
        return replace(right, bind=lambda graph: lambda x, y, w: 2 * right.bind(graph)(x, y, w))

    monkeypatch.setitem(MAKERS, OURS, wrong)
    path = tmp_path / "gpu.json"
    arguments = [*SMALL, "--graphs", "rows", "--dtype", "float64", "--passes", "forward"]
    arguments += ["--contestants", "e3nn", "ours", "--no-replay", "--json", str(path)]
    assert gpu.main(arguments) == 1
    assert "ours: wrong: differs from e3nn in float64 by 1.0e+00" in capsys.readouterr().out
    (record,) = json.loads(path.read_text())["passes"]
    assert list(record["timings"]) == [E3NN]


def test_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu.json"
    arguments = [*SMALL, "--graphs", "rows", "--deadline", "-1", "--json", str(path)]
    assert gpu.main(arguments) == 0
    assert "left out at the deadline: 2 cases, from single-l1, rows" in capsys.readouterr().out
    assert json.loads(path.read_text())["passes"] == []


# Scripts.


def bash(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["pack.sh", "gpu.sh"])
def test_script(name: str, tmp_path: Path) -> None:
    script = str(SCRIPTS / name)
    assert bash("-n", script).returncode == 0
    shown = bash(script, "--help")
    assert shown.returncode == 0
    assert "usage: " in shown.stdout
    wrong = bash(script, "--fast")
    assert wrong.returncode == 2
    assert f"{name}: unknown option --fast; see --help" in wrong.stderr
    twice = bash(script, str(tmp_path), str(tmp_path))
    assert (twice.returncode, "expected one folder" in twice.stderr) == (2, True)


def test_packing_spares_other_folders(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    refused = bash(str(SCRIPTS / "pack.sh"), str(tmp_path))
    assert refused.returncode == 2
    assert "expected a new folder" in refused.stderr
    assert (tmp_path / "mine").exists()


def test_dry_run_wants_the_wheels() -> None:
    refused = bash(str(SCRIPTS / "gpu.sh"), "--dry-run")
    assert refused.returncode == 2
    assert "run this script from what bench/pack.sh packed" in refused.stderr
