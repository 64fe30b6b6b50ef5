"""Energy, forces and stress of a small crystal are e3nn's, and the stress is right."""

import pytest

from examples import crystal


def test_differences(capsys: pytest.CaptureFixture[str]) -> None:
    found = crystal.main(repeats=1, channels=2, layers=2, max_degree=1)
    assert max(found.energy, found.forces, found.stress) < 1e-11
    assert found.strained < 1e-6
    assert found.turned < 1e-11
    assert "4 atoms" in capsys.readouterr().out
