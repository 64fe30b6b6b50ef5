"""Peak memory: what a pass returns is a lower bound, and tables say whose is whose."""

import io
import sys
from argparse import Namespace
from dataclasses import replace

import pytest
from rich.console import Console

from bench.memory import Question, ask, main, peak_bytes, questions, result_bytes, table_of

FORWARD = Question("single-l1", "molecules", True, "float32", "per edge", "e3nn", "forward")


def with_(**changes: object) -> Question:
    return replace(FORWARD, **changes)  # type: ignore[arg-type]


def test_result_bytes() -> None:
    # 114 nodes, 730 edges; z and x have 384 columns, y 3, w 128.
    z, inputs = 114 * 384, 114 * 384 + 730 * (3 + 128)
    assert result_bytes(FORWARD) == 4 * z
    assert result_bytes(with_(pass_name="forward+backward")) == 4 * (z + inputs)
    assert result_bytes(with_(pass_name="training step")) == 8 * (z + inputs)


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts no peak")
def test_a_process_of_its_own_measures_at_least_the_results() -> None:
    found = ask(FORWARD)
    assert isinstance(found, int), found
    # The product of each edge, in e3nn, is twice 730 rows of z: far above the results alone.
    assert 730 * 384 * 4 < found < 100 * 730 * 384 * 4


def test_a_reason_in_place_of_a_number() -> None:
    assert "KeyError" in str(ask(with_(dtype="float16")))


def test_unknown_workload() -> None:
    with pytest.raises(ValueError, match="--only: expected some of"):
        peak_bytes(with_(workload="mace-huge"))


def test_questions_leave_out_radial_for_shared_weights() -> None:
    given = Namespace(
        only=["single-l1", "e3tools-shared"],
        graphs=["carbon"],
        passes=["forward"],
        dtype="float32",
        small=True,
    )
    asked = [(q.workload, q.form, q.contestant) for q in questions(given)]
    assert asked == [
        ("single-l1", "per edge", "e3nn"),
        ("single-l1", "per edge", "ours"),
        ("single-l1", "radial", "e3nn"),
        ("single-l1", "radial", "stored"),
        ("single-l1", "radial", "ours"),
        ("e3tools-shared", "per edge", "e3nn"),
        ("e3tools-shared", "per edge", "ours"),
    ]


def test_table_has_the_share() -> None:
    answers: dict[Question, int | str] = {FORWARD: 8_000_000, with_(contestant="ours"): 1_000_000}
    out = io.StringIO()
    Console(file=out, width=140).print(table_of(answers))
    assert "0.12" in out.getvalue()


def test_unknown_name_ends_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "mace-huge"])
    assert "invalid choice: 'mace-huge'" in capsys.readouterr().err
