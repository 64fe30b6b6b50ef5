"""The table of the convolution: options, and a run on a small graph."""

import json
from pathlib import Path

import pytest

from bench.convolution import main, parse
from bench.report import scaling_line


def test_options() -> None:
    run = parse(["--quick", "--only", "single-l1", "--graphs", "skewed", "--no-compile"])
    assert [workload.name for workload in run.options.workloads] == ["single-l1"]
    assert [graph.num_edges for graph in run.graphs] == [1000]
    assert [str(setting) for setting in run.options.settings] == ["float32, 1 thread"]
    assert run.options.contestants == ("e3nn", "cue", "ours")
    assert run.passes == ("forward", "forward+backward", "training step")
    assert run.forms == ("per edge", "radial")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--graphs", "iron"], "--graphs: expected some of carbon, water"),
        (["--only", "mace-huge"], "--only: expected some of mace-large"),
        (["--threads", "0"], "--threads: expected numbers above zero, or all, got '0'"),
    ],
)
def test_wrong_options(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--quick", *arguments])
    assert message in capsys.readouterr().err


def test_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    arguments = ["--quick", "--only", "single-l1", "--graphs", "molecules", "--no-compile"]
    arguments += ["--no-cue", "--seconds", "0.001", "--passes", "forward", "--json", str(path)]
    main(arguments)
    out = capsys.readouterr().out
    assert "molecules: 114 nodes, 730 edges" in out
    assert "single-l1, molecules" in out
    data = json.loads(path.read_text())
    assert {(record["graph"], record["form"]) for record in data["passes"]} == {
        ("molecules", "per edge"),
        ("molecules", "radial"),
    }
    for record in data["passes"]:
        assert record["errors"]["ours"] < 1e-4
        assert record["share_of_limit"] > 0
    assert [record["kernel"] for record in data["kernels"]] == [
        "forward",
        "backward",
        "double backward",
    ]


def test_scaling_line() -> None:
    ratios = [
        {"workload": "p", "graph": name, "pass": "forward", "threads": 2, "ratio": ratio}
        for name, ratio in (("carbon", 2.0), ("water", 1.28))
    ]
    assert scaling_line(ratios) == "ours, 2 threads over 1: forward 1.60 (min 1.28: p, water)"
