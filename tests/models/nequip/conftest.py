"""Tests with nequip, allegro and sevenn, in an environment of their own: `make test-nequip`."""

import importlib.util
from pathlib import Path

import pytest

PACKAGES = ("nequip", "allegro", "sevenn")

if all(importlib.util.find_spec(name) is not None for name in PACKAGES):
    from nequip.utils.unittests import CONFTEST_PATH

    # nequip's own fixtures, taken in the way that its documentation names.
    exec(compile(Path(CONFTEST_PATH).read_text(), CONFTEST_PATH, "exec"))
else:
    collect_ignore_glob = ["*.py"]


MODELS = ("TestNequIPModel", "TestAllegro")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what `make test-nequip` has no time for: `make test-models-all` runs it."""
    for name in ("test_tp_scatter_kernel", "test_contract_kernel"):
        cases = [item for item in items if getattr(item, "originalname", "") == name]
        for number, case in enumerate(cases):
            if number % 4:
                case.add_marker("slow")
    for item in items:
        is_model = any(name in item.nodeid for name in MODELS)
        if item.name == "test_train_time_compile[float32]":
            item.add_marker("slow")
        if is_model and "float32" in item.nodeid and "test_unmodified" not in item.nodeid:
            item.add_marker("slow")
