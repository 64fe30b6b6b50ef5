"""The demo from end to end, small."""

import io
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console

import tvm_equi
from tvm_equi.demo import run
from tvm_equi.demo.model import Settings
from tvm_equi.demo.run import Options, run_demo
from tvm_equi.errors import ArtifactError

SMALL = Settings(num_channels=2, num_layers=1, max_degree=1, feature_degree=1, num_hidden=3)


def test_whole_demo(tmp_path: Path) -> None:
    text = io.StringIO()
    options = Options(8, 1, tmp_path / "model.tvmeq", "float32", SMALL, 0.0)
    run_demo(options, Console(file=text, width=140))
    shown = text.getvalue()
    assert "diamond, 8 atoms" in shown
    assert "ethanol, 9 atoms" in shown
    errors = {
        (name, dtype): [float(number) for number in re.findall(r"\d\.\de[+-]\d\d", line)]
        for line in shown.splitlines()
        for name in ("diamond", "ethanol")
        for dtype in ("float32", "float64")
        if name in line and dtype in line
    }
    assert len(errors) == 4
    for (_, dtype), numbers in errors.items():
        assert len(numbers) == 4
        assert max(numbers) < (1e-4 if dtype == "float32" else 1e-11)
    assert "fused: 1 of 1 tensor products over edges" in " ".join(shown.split())
    assert "training step on forces" in shown
    assert "it gives the same energy to the last bit" in " ".join(shown.split())
    artifact = tvm_equi.load(tmp_path / "model.tvmeq")
    assert artifact.dtype == "float32"
    tvm_equi.verify(artifact, rows=6)


def test_reference_is_exact_to_float64() -> None:
    model = run.make_reference(SMALL)
    assert next(model.parameters()).dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32


def test_another_energy_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "energy_in_fresh_process", lambda *arguments: 0.125)
    options = Options(8, 1, tmp_path / "model.tvmeq", "float32", SMALL, 0.0)
    with pytest.raises(ArtifactError, match=r"demo: reload: expected energy .*, got 0\.125"):
        run_demo(options, Console(file=io.StringIO()))
