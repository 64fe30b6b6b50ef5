"""Libraries that kernels for GPUs need: found, or said to be missing in words."""

import ctypes
import subprocess
from pathlib import Path

import pytest

from tvm_equi.artifact import cuda_libraries as libraries
from tvm_equi.errors import ArtifactError

FAKE = Path(__file__).parent.parent / "fake_cuda" / "cuda.c"


def driver(folder: Path, version: int) -> Path:
    """A driver of a CUDA version."""
    path = folder / libraries.DRIVER
    text = FAKE.read_text().replace("*version = 13000", f"*version = {version}")
    (folder / "driver.c").write_text(text)
    command = ["gcc", "-shared", "-fPIC", "-DDRIVER", "-o", str(path), str(folder / "driver.c")]
    subprocess.run(command, check=True)
    return path


@pytest.mark.parametrize(
    ("version", "has_runtime", "message"),
    [
        (0, True, "expected libcuda.so.1, got none; install NVIDIA's driver"),
        (12080, True, r"expected a driver for CUDA 13 \(580 or newer\), got one for CUDA 12.8;"),
        (13000, False, r"expected libcudart.so.13, got none; pip install 'tvm_equi\[cuda\]'"),
    ],
)
def test_what_is_missing_at_run_time(
    version: int,
    has_runtime: bool,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = ctypes.CDLL(str(driver(tmp_path, version))) if version else None
    found = {libraries.DRIVER: library, libraries.RUNTIME: object() if has_runtime else None}
    monkeypatch.setattr(libraries, "_open", found.get)
    with pytest.raises(ArtifactError, match=f"^load: {message}"):
        libraries.check_runtime()
    assert libraries.missing_runtime() == [name for name, there in found.items() if there is None]
    assert libraries.driver_version() == version


def test_runtime_of_tvm_is_in_the_wheel() -> None:
    path = libraries.tvm_library(libraries.TVM_CUDA_RUNTIME)
    assert path is not None
    assert path.name == "libtvm_runtime_cuda.so"
