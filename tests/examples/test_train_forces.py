"""A small run: the losses of both models follow one curve, downwards."""

import pytest

from examples import train_forces


def test_losses_are_e3nns(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = train_forces.main(
        steps=30, crystals=4, batch=2, repeats=1, channels=2, layers=2, max_degree=1
    )
    assert len(before.losses) == len(after.losses) == 30
    assert after.losses == pytest.approx(before.losses, rel=1e-8)
    assert after.losses[-1] < 0.7 * after.losses[0]
    shown = capsys.readouterr().out
    assert "4 crystals of 4 atoms, 2 in a step" in shown
    assert "time per step: e3nn" in shown
