"""Two processes give the gradients of one."""

import pytest

from examples import distributed


def test_gradients_are_those_of_one_process(capsys: pytest.CaptureFixture[str]) -> None:
    found = distributed.main(processes=2, crystals=1, steps=3, channels=2)
    assert found.gradients < 1e-12
    assert found.gradients_of_e3nn < 1e-12
    assert found.parameters < 1e-10
    assert "2 processes, 1 crystals in each" in capsys.readouterr().out


def test_a_share_alone_gives_other_gradients() -> None:
    """The test above could not fail if both crystals had the same gradients."""
    job = distributed.Job(2, 2, 1, 2, None)  # type: ignore[arg-type]
    loss_of = distributed.ForceLoss(distributed.accelerated(distributed.make_model(job)))
    half = distributed.train(loss_of, job, slice(0, 1))["gradients"]
    loss_of = distributed.ForceLoss(distributed.accelerated(distributed.make_model(job)))
    whole = distributed.train(loss_of, job, slice(None))["gradients"]
    assert abs(half - whole).max() > 1e-3 * abs(whole).max()
