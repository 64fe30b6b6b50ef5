"""Summaries of measurements: means, ratios, shares, and who takes how many turns."""

import math

import pytest
import torch

from bench.limits import Limit, total
from bench.passes import relative_error
from bench.results import PassRecord, Setting, geometric_mean, summarise
from bench.timing import Timing, interleave


def record(name: str, kind: str, **seconds: float) -> PassRecord:
    timings = {contestant: Timing(s, s, s, 3) for contestant, s in seconds.items()}
    limit = (1.0, "copy")
    return PassRecord(Setting(1, "float32"), name, kind, "forward", timings, limit=limit)


def test_ratios_and_share() -> None:
    found = record("p", "channelwise", e3nn=8.0, compile=4.0, cue=6.0, ours=2.0)
    assert found.ratio("e3nn") == 4.0
    assert found.best_peer() == "compile"
    assert found.share() == 0.5


def test_ratios_without_ours() -> None:
    found = record("p", "channelwise", e3nn=8.0)
    assert found.ratio("e3nn") is None
    assert found.share() is None


def test_geometric_mean_names_the_worst() -> None:
    mean = geometric_mean([("a", 2.0), ("b", None), ("c", 8.0)])
    assert mean is not None
    assert (mean.minimum, mean.worst, mean.count) == (2.0, "a", 2)
    assert mean.mean == pytest.approx(4.0)
    assert geometric_mean([("a", None)]) is None


def test_summary_is_over_one_kind_and_over_all() -> None:
    records = [
        record("p", "channelwise", e3nn=8.0, ours=1.0),
        record("q", "fully_connected", e3nn=2.0, ours=1.0),
    ]
    means = {s.over: s.to_e3nn.mean for s in summarise(records) if s.to_e3nn}
    assert means == {"channelwise": pytest.approx(8.0), "all": pytest.approx(4.0)}


def test_limit_of_a_sequence() -> None:
    assert total([Limit(copy=1.0, gemm=3.0), Limit(copy=2.0, gemm=0.5)]) == (5.0, "gemm")
    assert total([Limit(copy=1.0, gemm=0.5)]) == (1.0, "copy")


def test_every_call_has_its_turns() -> None:
    timings = interleave({"a": lambda: None, "b": lambda: None}, seconds=0.001, min_rounds=2)
    assert set(timings) == {"a", "b"}
    assert min(timing.calls for timing in timings.values()) >= 2


def test_slow_calls_are_timed_twice_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("bench.timing.SLOW_SECONDS", 0.0)
    timings = interleave({"a": lambda: calls.append(1)}, seconds=0.001)
    assert timings["a"].calls >= 2


def test_label_names_the_graph() -> None:
    found = record("p", "channelwise")
    assert found.label == "p"
    found.graph = "carbon"
    assert found.label == "p, carbon"
    found.timings = {name: Timing(1.0, 1.0, 1.0, 3) for name in ("e3nn", "ours")}
    (mean, _) = (summary.to_e3nn for summary in summarise([found]))
    assert mean is not None
    assert mean.worst == "p, carbon"


def test_relative_error_is_the_worst_of_all_values() -> None:
    values = (torch.tensor([1.0, 2.0]), torch.tensor([4.0]))
    wanted = (torch.tensor([1.0, 2.0]), torch.tensor([5.0]))
    assert relative_error(values, wanted) == pytest.approx(0.2)
    nan = torch.tensor([1.0, math.nan])
    assert relative_error((nan, values[1]), wanted) == math.inf
    with pytest.raises(ValueError, match=r"expected shape \[1\], got \[2\]"):
        relative_error(values[:1], wanted[1:])
