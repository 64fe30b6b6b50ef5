"""Many kernels at once: workers fill the cache, and nothing depends on them."""

from pathlib import Path

import pytest

from tvm_equi.algebra.products import linear_kernel
from tvm_equi.artifact import process
from tvm_equi.artifact.parallel import JOBS_VARIABLE, build_all
from tvm_equi.errors import ArgumentError

KERNELS = [
    linear_kernel(((n, 0),), ((1, 0),), ((0, 0, 1.0),), weight_rows="shared") for n in range(1, 9)
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_EQUI_CACHE_DIR", str(tmp_path))


def test_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOBS_VARIABLE, "2")
    counts: list[int] = []
    entries = build_all(KERNELS, "float32", "host", counts.append)
    assert [entry.manifest["kernel"] for entry in entries] == [kernel.key() for kernel in KERNELS]
    assert counts == list(range(9))
    again: list[int] = []
    assert build_all(KERNELS, "float32", "host", again.append) == entries
    assert again == [8]


def test_workers_that_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOBS_VARIABLE, "2")
    monkeypatch.setattr(process.sys, "executable", "/bin/false")
    counts: list[int] = []
    assert len(build_all(KERNELS, "float32", "host", counts.append)) == 8
    assert counts[-1] == 8


def test_wrong_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOBS_VARIABLE, "many")
    with pytest.raises(
        ArgumentError, match="build: TVM_EQUI_BUILD_JOBS: expected 1 or more, got 'many'"
    ):
        build_all(KERNELS, "float32", "host")


def test_unknown_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOBS_VARIABLE, "1")
    with pytest.raises(ArgumentError, match="target: expected one of host, x86-64-v2"):
        build_all(KERNELS[:1], "float32", "x86-64-v9")
