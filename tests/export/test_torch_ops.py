"""Building the operators in C++: what is missing is named. `tests/deploy_runtimes` builds them."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tvm_equi.errors import ArtifactError
from tvm_equi.export import torch_ops
from tvm_equi.export.torch_ops import SOURCE, build_torch_ops


def test_sources_are_in_the_package() -> None:
    names = {path.name for path in SOURCE.iterdir()}
    assert {"CMakeLists.txt", "register.cpp", "tvm_equi_torch-config.cmake"} <= names
    text = (SOURCE / "CMakeLists.txt").read_text()
    missing = [path.name for path in SOURCE.glob("*.cpp") if path.name not in text]
    assert not missing, f"not in CMakeLists.txt: {missing}"


@pytest.mark.parametrize(
    ("missing", "environment", "message"),
    [
        (("cmake",), {}, r"expected cmake 3\.18 or newer, got none; pip install cmake"),
        (("c++", "g++", "clang++"), {}, r"expected a C\+\+ compiler, .* got none; install g\+\+"),
        (("nocc",), {"CXX": "nocc"}, "got CXX=nocc"),
    ],
)
def test_what_is_missing(
    missing: tuple[str, ...],
    environment: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def which(name: str, path: str | None = None) -> str | None:
        return None if name in missing else f"/somewhere/{name}"

    monkeypatch.setattr(shutil, "which", which)
    with pytest.raises(ArtifactError, match=message):
        build_torch_ops(tmp_path)


def test_a_compiler_with_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++ -m64")  # as CMake takes it
    monkeypatch.setattr(shutil, "which", {"g++": "/somewhere/g++"}.get)
    torch_ops._check_compiler()


def test_a_build_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> Any:
        return subprocess.CompletedProcess(command, 1, stdout="a\nTorch not found\n")

    monkeypatch.setattr(torch_ops, "_cmake", lambda: "cmake")
    monkeypatch.setattr(torch_ops, "_check_compiler", lambda: None)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ArtifactError, match=r"(?s)expected cmake -S .* got:.*Torch not found"):
        build_torch_ops(tmp_path)
