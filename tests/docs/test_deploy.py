"""The page about deployment: its commands and examples run, and its pages are there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.test_app import run

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
TEXT = PAGE.read_text(encoding="utf-8")


def _blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


def test_pages_are_there() -> None:
    names = set(re.findall(r"\]\((\w+\.md)\)", TEXT))
    assert len(names) >= 8
    assert [name for name in names if not (PAGE.parent / name).is_file()] == []


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "potential.py").write_text(_blocks("python")[0])
    (commands,) = _blocks("sh")
    shown = ""
    for line in commands.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "tvm-equi"
        shown = run(*arguments)
    assert "d_positions: float32[nodes, 3]" in " ".join(shown.split())


def test_a_model_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(_blocks("python")[1], names)
    # Atoms that nearly touch have forces without limit, for which no tolerance would do.
    corners = torch.cartesian_prod(*[torch.arange(2.0)] * 3)
    positions, (_, edge_index) = corners + 0.1 * torch.randn(8, 3), names["structure"](8)
    wanted = names["model"](positions, edge_index)
    found = names["program"](positions, edge_index)
    for name in ("energy", "forces"):
        assert torch.allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5)
    assert names["found"]["forces"].shape == (7, 3)
