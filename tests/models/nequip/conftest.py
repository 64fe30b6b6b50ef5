"""Tests with nequip, allegro and sevenn, in an environment of their own: `make test-nequip`."""

import importlib.util
from pathlib import Path

PACKAGES = ("nequip", "allegro", "sevenn")

if all(importlib.util.find_spec(name) is not None for name in PACKAGES):
    from nequip.utils.unittests import CONFTEST_PATH

    # nequip's own fixtures, taken in the way that its documentation names.
    exec(compile(Path(CONFTEST_PATH).read_text(), CONFTEST_PATH, "exec"))
else:
    collect_ignore_glob = ["*.py"]
