"""Paths for build scripts."""

from pathlib import Path

import pytest

from tvm_equi.deploy import parts
from tvm_equi.deploy.__main__ import main
from tvm_equi.errors import ArtifactError


@pytest.mark.parametrize(
    ("asked", "count"), [("include", 2), ("libraries", 2), ("cmake-parts", 4), ("cmake", 1)]
)
def test_paths(asked: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([asked]) == 0
    paths = capsys.readouterr().out.strip().split(";")
    assert len(paths) == count
    assert all(Path(path).exists() for path in paths)


@pytest.mark.parametrize("arguments", [[], ["--include"], ["include", "cmake"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: python -m tvm_equi.deploy include|" in capsys.readouterr().err


def test_missing_part(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> parts.Parts:
        raise ArtifactError("runtime: expected the package tvm")

    monkeypatch.setattr("tvm_equi.deploy.__main__.find_parts", missing)
    assert main(["include"]) == 2
    assert capsys.readouterr().err == "error: runtime: expected the package tvm\n"
