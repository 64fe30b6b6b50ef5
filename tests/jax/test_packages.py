"""The packages that JAX needs, and how their absence reads."""

from importlib.metadata import PackageNotFoundError

import pytest

import tvm_equi.jax
from tvm_equi.errors import MissingPackageError
from tvm_equi.jax import packages
from tvm_equi.jax.packages import check_packages, release

pytestmark = pytest.mark.deploy


@pytest.fixture(autouse=True)
def fresh() -> object:
    check_packages.cache_clear()
    yield
    check_packages.cache_clear()


def test_what_is_here_serves() -> None:
    check_packages()
    for name in tvm_equi.jax.__all__:
        assert getattr(tvm_equi.jax, name).__name__ == name
        assert name in dir(tvm_equi.jax)
    with pytest.raises(AttributeError, match="has no attribute 'runn'"):
        tvm_equi.jax.runn  # noqa: B018


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "version", nothing)
    message = r"expected jax 0.9.1 or newer, got none; pip install 'tvm_equi\[jax\]'"
    with pytest.raises(MissingPackageError, match=message):
        check_packages()


def test_a_package_that_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "version", lambda name: "0.7.2")
    with pytest.raises(
        ImportError, match=r"expected jax 0.9.1 or newer, got 0.7.2; pip install --up"
    ):
        check_packages()


def test_release() -> None:
    assert release("0.10.2.post1") == (0, 10, 2)
    assert release("") == ()
