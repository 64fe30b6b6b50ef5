"""Libraries load from bytes, once, and leave no file behind."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.programs import KERNEL, OUT, ROW, TARGET, expected, inputs, weights
from tvm_equi.artifact.codegen import build
from tvm_equi.deploy import libraries
from tvm_equi.deploy.runtime import load_runtime
from tvm_equi.errors import ArtifactError


@pytest.fixture(name="library")
def _library() -> bytes:
    return build(KERNEL, "float32", TARGET).library.read_bytes()


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def registered(library: bytes) -> str:
    digest = hashlib.sha256(library).hexdigest()
    libraries.register_kernel("k.so", library, digest)
    return libraries.kernel_name(digest)


def test_a_kernel_is_called_by_its_name(library: bytes, tmp_path: Path) -> None:
    name = registered(library)
    assert name == "tvm_equi.kernel." + hashlib.sha256(library).hexdigest()[:32]
    given, z = inputs(7), np.empty((7, OUT), np.float32)
    function = load_runtime().get_global_func(name)
    function(given["x"], weights(), z)
    np.testing.assert_allclose(z, expected(given["x"], 0 * given["shift"]), rtol=1e-5, atol=1e-5)
    assert given["x"].shape == (7, ROW)
    assert not list(tmp_path.iterdir())


def test_it_is_loaded_once(library: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(library)
    monkeypatch.setattr(libraries, "_function", None)
    registered(library)


def test_from_memory_where_no_code_runs_from_folders(
    library: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tvm_ffi = load_runtime()

    class NoExec:
        """tvm_ffi on a machine whose temporary folders are mounted with noexec."""

        @staticmethod
        def load_module(path: str) -> object:
            if not Path(path).is_symlink():
                raise RuntimeError(f"{path}: failed to map segment from shared object")
            return tvm_ffi.load_module(path)

    monkeypatch.setattr(libraries, "load_runtime", lambda: NoExec)
    assert libraries._function("k.so", library, libraries.KERNEL_FUNCTION) is not None
    assert not list(tmp_path.iterdir())


def test_what_is_no_library(tmp_path: Path) -> None:
    wanted = r"load: k\.so: expected a library with the function tvm_equi_kernel, got: "
    with pytest.raises(ArtifactError, match=wanted):
        libraries.register_kernel("k.so", b"no library", "0" * 64)
    assert load_runtime().get_global_func("tvm_equi.kernel." + "0" * 32, allow_missing=True) is None
    assert not list(tmp_path.iterdir())


def test_a_library_of_something_else(library: bytes) -> None:
    wanted = r"load: p\.so: expected a library with the function vm_load_executable, got: "
    with pytest.raises(ArtifactError, match=wanted):
        libraries.load_program("p.so", library, "1" * 64)
