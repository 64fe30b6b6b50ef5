"""CUDA source to machine code by either compiler, and what is said where something is missing."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lower.test_primfunc import product
from tvm_equi.artifact import cuda, nvrtc
from tvm_equi.artifact.codegen import assembly, build
from tvm_equi.errors import ArgumentError, ArtifactError

KERNEL = product("uvu", (5, 1, 5), "row")
FAKE = Path(__file__).parent.parent / "fake_cuda" / "cuda.c"

SPILLING = """
#ifdef __CUDACC_RTC__
#else
#endif
extern "C" __global__ void __launch_bounds__(1024) crowded(float* x) {
  float a[200];
  for (int i = 0; i < 200; ++i) a[i] = x[i * 1024 + threadIdx.x];
  for (int k = 0; k < 9; ++k) {
    #pragma unroll
    for (int i = 0; i < 200; ++i) a[i] = a[i] * a[(i * 7 + 3) % 200] + x[k];
  }
  #pragma unroll
  for (int i = 0; i < 200; ++i) x[i * 1024 + threadIdx.x] = a[i];
}
"""


def entries(data: bytes) -> list[tuple[str, int]]:
    """The kind and architecture of everything in a fat binary."""
    magic, _, at, size = struct.unpack_from("<IHHQ", data)
    assert (magic, len(data)) == (0xBA55ED50, at + size)
    found = []
    while at < len(data):
        kind, _, header, size = struct.unpack_from("<HHIQ", data, at)
        found.append(({1: "ptx", 2: "elf"}[kind], struct.unpack_from("<I", data, at + 28)[0]))
        at += header + size
    return found


def has(kind: str) -> bool:
    return bool(nvrtc.version()) if kind == "nvrtc" else cuda._find_nvcc("nvcc") is not None


@pytest.fixture(params=["nvrtc", "nvcc"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The compiler that is used."""
    if not has(request.param):
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setenv(cuda.COMPILER_VARIABLE, request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def source() -> str:
    return assembly(KERNEL, "float32", "sm_80,sm_90")


def test_fat_binary(kind: str, source: str) -> None:
    assert cuda.compiler().kind == kind
    assert cuda.digest() == f"{kind} {cuda.compiler().version}"
    data = cuda.fatbin(source, ("sm_90", "sm_80"))
    assert sorted(entries(data)) == [("elf", 80), ("elf", 90), ("ptx", 90)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(kind: str, dtype: str) -> None:
    if kind == "nvrtc" and not cuda.include_folder():
        pytest.skip("needs CUDA's headers")
    found = cuda.fatbin(assembly(KERNEL, dtype, "sm_75"), ("sm_75", "sm_80"))
    assert sorted(entries(found)) == [("elf", 75), ("elf", 80), ("ptx", 80)]


def test_usage(kind: str, source: str) -> None:
    found = cuda.usage(source, "sm_90")
    assert len(found) == source.count("__global__") // 2
    assert all(0 < used.registers <= 255 and used.spill_store_bytes == 0 for used in found)
    (crowded,) = cuda.usage(SPILLING, "sm_80")
    assert crowded.kernel == "crowded"
    assert crowded.registers <= 64
    assert min(crowded.spill_store_bytes, crowded.spill_load_bytes, crowded.stack_bytes) > 0


def test_usage_of_an_unknown_form(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_USAGE", re.compile("(what)(another)(ptxas)(would)(say)(.*)"))
    with pytest.raises(ArtifactError, match="expected ptxas to report on tvm_equi_kernel_kernel"):
        cuda.usage(source, "sm_90")


def test_prepared(source: str) -> None:
    text = cuda.prepared(source)
    assert "<cuda/std" not in text
    assert "__launch_bounds__(256)" in source
    assert "__launch_bounds__(256, 1)" in text
    with pytest.raises(ArtifactError, match=r"expected CUDA source as TVM 0\.27 generates it"):
        cuda.prepared("int x;")


def test_unknown_architecture(kind: str, source: str) -> None:
    with pytest.raises(ArtifactError, match=rf"{kind} [\d.]+ knows \(sm_.*\), got sm_79$"):
        cuda.fatbin(source, ("sm_80", "sm_79"))


def test_refused_source(kind: str) -> None:
    with pytest.raises(ArtifactError, match="to compile a kernel, got: ") as error:
        cuda.fatbin("#ifdef __CUDACC_RTC__\n#else\n#endif\nfloat x = ;", ("sm_80",))
    kept = Path(str(error.value).rpartition("The source is in ")[2])
    assert "float x = ;" in kept.read_text()
    kept.unlink()


def test_cache_holds_the_library(kind: str) -> None:
    entry = build(KERNEL, "float32", "sm_90,sm_80")
    assert entry.manifest["target"] == "sm_80,sm_90"
    assert b"\x50\xed\x55\xba" in entry.library.read_bytes()
    assert build(KERNEL, "float32", "sm_80,sm_90").library == entry.library


@pytest.fixture
def fresh() -> Iterator[None]:
    cuda._compiler.cache_clear()
    yield
    cuda._compiler.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_no_compiler(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.delenv(cuda.COMPILER_VARIABLE, raising=False)
    monkeypatch.setattr(nvrtc, "version", lambda: "")
    monkeypatch.setattr(cuda, "_find_nvcc", lambda wanted: None)
    with pytest.raises(ArtifactError, match=r"got none; pip install 'tvm_equi\[cuda\]', or"):
        cuda.fatbin(source, ("sm_80",))


@pytest.mark.usefixtures("fresh")
def test_wrong_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cuda.COMPILER_VARIABLE, "/no/such/nvcc")
    with pytest.raises(ArgumentError, match="expected nvrtc, nvcc or the path of an nvcc, got"):
        cuda.compiler()
