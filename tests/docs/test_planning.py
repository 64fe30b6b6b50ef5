"""The examples of the page about planning run, and print what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

from tvm_equi.graph import PLANNING_PIPELINE

PAGE = Path(__file__).parents[2] / "docs" / "planning.md"


def test_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(example, names)
    printed = capsys.readouterr().out
    for line in re.findall(r"^    (tp: .*)$", text, re.MULTILINE):
        assert line in printed
    assert "% less)" in printed


def test_every_pass_is_described() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) == {step.name for step in PLANNING_PIPELINE.passes}
