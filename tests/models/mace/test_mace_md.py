"""The example of molecular dynamics, few steps: accelerated is no worse than before."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mace")

PATH = Path(__file__).parents[3] / "examples" / "mace_md.py"


def test_energy_is_conserved_as_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("mace_md", PATH)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mace_md", example)  # where dataclasses look
    spec.loader.exec_module(example)
    drifts = example.main(["--steps", "40", "--train-steps", "30", "--structures", "4"])
    slow, fast = drifts["mace-torch"], drifts["accelerated"]
    assert slow.largest < 2e-3, "the dynamics itself is no good"
    assert fast.largest == pytest.approx(slow.largest, rel=1e-6)
    assert np.allclose(fast.final, slow.final, rtol=0, atol=1e-9)
    assert "drift" in capsys.readouterr().out
