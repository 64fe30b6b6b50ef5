"""The shapes are learnt, and known again when they are turned; mirror images are told apart."""

import pytest

from examples import tetris


def test_every_shape_is_classified(capsys: pytest.CaptureFixture[str]) -> None:
    found = tetris.main(channels=4, seed=1)
    assert found.losses[-1] < 0.1 * found.losses[0]
    assert (found.trained, found.rotated, found.reflected) == (1.0, 1.0, 1.0)
    assert found.invariance < 1e-5
    assert "right: 100%" in capsys.readouterr().out
