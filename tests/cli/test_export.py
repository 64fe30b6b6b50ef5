"""The commands build-torch-ops and add-kernels."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.export.test_pt2 import write_package
from tvm_equi.cli.app import app
from tvm_equi.export import torch_ops
from tvm_equi.export.pt2 import KERNELS


def test_add_kernels(tmp_path: Path) -> None:
    package = write_package(tmp_path / "model.pt2")
    done = CliRunner().invoke(app, ["add-kernels", str(package)])
    assert done.exit_code == 0, done.output
    assert "added the kernels of 1 plans to" in done.stdout.replace("\n", "")
    assert KERNELS.encode() in package.read_bytes()
    wrong = CliRunner().invoke(app, ["add-kernels", str(package), "--dtype", "float16"])
    assert wrong.exit_code == 2
    assert "expected float32 or float64" in wrong.output


def test_build_torch_ops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(folder: Any) -> Path:
        (Path(folder) / "lib").mkdir(parents=True)
        (Path(folder) / "lib" / "libtvm_equi_torch.so").write_bytes(b"x" * 200_000)
        return Path(folder) / "lib" / "libtvm_equi_torch.so"

    monkeypatch.setattr(torch_ops, "build_torch_ops", build)
    done = CliRunner().invoke(app, ["build-torch-ops", "-o", str(tmp_path / "ops")])
    assert done.exit_code == 0, done.output
    assert "(0.2 MB with" in done.stdout.replace("\n", " ")
