"""Reports: the text, and that a warning comes once."""

import logging

import pytest

from tvm_equi.dynamo.report import KEPT, Report, counted, reports, tell

REPORT = Report(
    captured=(("Linear", 2), ("SphericalHarmonics", 1)),
    fused=("3 paths, 4 -> 8 columns",),
    num_sorted=1,
    left=(("Gate", 4),),
    reasons=("a first reason of test_report",),
    rest="eager",
    graph_break="a reason of dynamo's",
)


def test_text() -> None:
    assert str(REPORT).splitlines() == [
        "tvm_equi: a graph for torch.compile",
        "  captured: 2 Linear, 1 SphericalHarmonics",
        "  fused into convolution 3 paths, 4 -> 8 columns",
        "  edges sorted: 1 of one pair of indices each",
        "  of e3nn, left to eager: 4 Gate",
        "  everything else: eager",
        "  note: a first reason of test_report",
        "  graph break (not by an operation of tvm_equi): a reason of dynamo's",
    ]


def test_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tvm_equi.dynamo"):
        tell(REPORT)
        tell(REPORT)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        "torch.compile(backend='tvm_equi'): a first reason of test_report",
        "torch.compile(backend='tvm_equi'): graph break, not by an operation of tvm_equi: "
        "a reason of dynamo's",
    ]
    assert sum(record.levelno == logging.INFO for record in caplog.records) == 2
    assert reports()[-2:] == [REPORT, REPORT]


def test_keeps_the_last() -> None:
    for _ in range(KEPT + 1):
        tell(REPORT)
    assert len(reports()) == KEPT


def test_counted() -> None:
    assert counted(["b", "a", "b"]) == (("a", 1), ("b", 2))
