"""A derivative in the place of another: which serves, and that its numbers are the other's."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.jax.arrays import values
from tests.kernels import product
from tvm_equi.jax import covers
from tvm_equi.jax.covers import Cover, add_plan, cover
from tvm_equi.jax.operator import run

pytestmark = pytest.mark.deploy

KERNEL = product(u=2).plan()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model file with a kernel and its derivatives with respect to everything."""
    monkeypatch.setattr(covers, "_known", {})
    monkeypatch.setattr(covers, "_is_installed", lambda plan, dtype: False)
    for plan in (KERNEL, f"{KERNEL} 0,1,2:0", f"{KERNEL} 0,1,2:0 0,1,2,3:0,1,2"):
        add_plan(plan, "float64")
        add_plan(plan, "float64")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("0,2:0", Cover(f"{KERNEL} 0,1,2:0", (0, 1, 2, 3), (0, 2))),
        (
            "1,2:0 0,3:0,1",
            Cover(f"{KERNEL} 0,1,2:0 0,1,2,3:0,1,2", (0, 1, 2, 3, -1, 4, 5), (0, 3)),
        ),
        (
            "0:0 1,3:0",
            Cover(f"{KERNEL} 0,1,2:0 0,1,2,3:0,1,2", (0, 1, 2, 3, 4, -1, -1), (1, 3)),
        ),
    ],
)
def test_which_serves(known: None, words: str, expected: Cover) -> None:
    plan = f"{KERNEL} {words}"
    assert cover(plan, "float64") == expected
    assert cover(plan, "float32") is None
    assert cover(KERNEL, "float64") is None
    inputs = values(plan, {"row": 3})
    more = values(expected.plan, {"row": 3})
    given = [
        jnp.zeros(array.shape) if number < 0 else inputs[number]
        for number, array in zip(expected.inputs, more, strict=True)
    ]
    found = run(expected.plan, given)
    covers._known.clear()
    for wanted, number in zip(run(plan, inputs), expected.outputs, strict=True):
        np.testing.assert_allclose(found[number], wanted, atol=1e-12)


def test_what_none_serves(known: None) -> None:
    assert cover(f"{KERNEL} 0:0 0:0 0:0", "float64") is None  # of higher order
    assert cover(f"{product(u=3).plan()} 0:0", "float64") is None
    covers._known.clear()
    add_plan(f"{KERNEL} 0:0", "float64")
    assert cover(f"{KERNEL} 0,1:0", "float64") is None


def test_what_is_installed_runs_as_it_is(known: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covers, "_is_installed", lambda plan, dtype: True)
    assert cover(f"{KERNEL} 0,2:0", "float64") is None
