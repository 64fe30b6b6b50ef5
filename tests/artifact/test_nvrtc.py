"""NVRTC through its Python packages."""

import sys

import pytest

from tvm_equi.artifact import nvrtc
from tvm_equi.errors import ArtifactError

pytestmark = pytest.mark.skipif(not nvrtc.version(), reason="needs the extra 'cuda'")

SOURCE = """
extern "C" __global__ void twice(float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= 2.0f;
}
"""


def test_known_capabilities() -> None:
    assert nvrtc.version().split(".")[0].isdecimal()
    assert {80, 90} <= set(nvrtc.capabilities())


def test_machine_code_and_what_it_takes() -> None:
    code, log = nvrtc.cubin(SOURCE, 90, "", verbose=True)
    assert code.startswith(b"\x7fELF")
    assert "Compiling entry function 'twice' for 'sm_90'" in log


def test_fat_binary_has_every_architecture() -> None:
    data = nvrtc.fatbin(SOURCE, [80, 90], "")
    assert data.startswith(b"\x50\xed\x55\xba")
    assert len(data) > len(nvrtc.fatbin(SOURCE, [90], ""))


def test_bindings_without_fat_binaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in releases before 13.2, or without the library's own package."""
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvfatbin", None)
    monkeypatch.delattr("cuda.bindings.nvfatbin", raising=False)
    assert nvrtc._module.__wrapped__() is None


def test_refused_source() -> None:
    with pytest.raises(ArtifactError, match=r"NVRTC .* to compile a kernel, got: kernel\.cu\(1\)"):
        nvrtc.cubin("float x = ;", 90, "")
