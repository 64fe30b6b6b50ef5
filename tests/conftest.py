"""One compile cache for a test session, and settings for many workers on one machine."""

import os
import shutil
import tempfile

import hypothesis
import pytest
import torch

CACHE = "TVM_EQUI_CACHE_DIR"
DATA = "XDG_DATA_HOME"

_made_here: list[str] = []

torch.set_num_threads(1)  # pytest-xdist uses the cores

hypothesis.settings.register_profile(
    "tvm_equi", deadline=None, derandomize=True, max_examples=20, database=None
)
hypothesis.settings.load_profile("tvm_equi")


def pytest_configure(config: pytest.Config) -> None:
    """Makes a cache that workers inherit; one that is set already is kept, for warm runs."""
    if DATA not in os.environ:  # the user's own tuned records must not decide what is tested
        _made_here.append(tempfile.mkdtemp(prefix="tvm_equi-tests-"))
        os.environ[DATA] = _made_here[-1]
    if CACHE not in os.environ:
        _made_here.append(tempfile.mkdtemp(prefix="tvm_equi-tests-"))
        os.environ[CACHE] = _made_here[-1]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes the cache that was made."""
    for folder in _made_here:
        shutil.rmtree(folder, ignore_errors=True)
