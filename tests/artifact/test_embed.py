"""Machine code in libraries: TVM's own CUDA runtime loads it and launches its kernels, on a driver
that only writes down what it is asked."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lower.test_primfunc import product
from tvm_equi.artifact import codegen, cuda, embed
from tvm_equi.errors import ArtifactError

FAKE = Path(__file__).parent.parent / "fake_cuda" / "cuda.c"
CODE = b"\x50\xed\x55\xba" + bytes(60)
"""The number that fat binaries start with, and nothing after it."""

KERNEL = product("uvu", (5, 1, 5), "row")

CALL = """
import ctypes, os, sys
from pathlib import Path
import tvm, tvm_ffi
ctypes.CDLL("libcudart.so.13", mode=ctypes.RTLD_GLOBAL)
runtime = Path(tvm.__file__).parent / "lib" / "libtvm_runtime_cuda.so"
ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
function = tvm_ffi.load_module(sys.argv[1])["tvm_equi_kernel"]
columns = [int(n) for n in sys.argv[2].split(",")]
tensors = [tvm.runtime.empty((37, n), "float32", device=tvm.cuda(1)) for n in columns]
Path(os.environ["FAKE_CUDA_LOG"]).write_text("")
with tvm_ffi.use_raw_stream(tvm_ffi.device("cuda:1"), 0x1234):
    function(*tensors)
function(*tensors)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libcuda.so.1 and libcudart.so.13."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "versions.map").write_text("libcudart.so.13 { global: *; };")
    for name, options in (
        ("libcuda.so.1", ["-DDRIVER"]),
        ("libcudart.so.13", [f"-Wl,--version-script={folder / 'versions.map'}"]),
    ):
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", *options]
        subprocess.run([*command, "-o", str(folder / name), str(FAKE)], check=True)
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of a kernel with `CODE` in the place of its machine code."""
    folder = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "fatbin", lambda source, architectures: CODE)
        codegen.compile_point(KERNEL, "float32", "sm_80,sm_90", {}, folder / "kernel.so")
    return folder / "kernel.so"


def test_library_holds_code_and_no_source(library: Path) -> None:
    data = library.read_bytes()
    assert CODE in data
    assert b"__global__" not in data


def test_kernels_are_launched_on_the_stream_and_device(
    driver: Path, library: Path, tmp_path: Path
) -> None:
    columns = [KERNEL.operand(name).dim for name in (*KERNEL.inputs, *KERNEL.outputs)]
    columns += [KERNEL.operand(name).dim for name in KERNEL.temporaries]
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", CALL, str(library), ",".join(map(str, columns))],
        env=os.environ | {"LD_LIBRARY_PATH": str(driver), "FAKE_CUDA_LOG": str(log)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    assert lines[:2] == ["device 1", "load ba55ed50"]  # loaded once, at the first call
    launches = [line for line in lines if line.startswith("launch")]
    source = codegen.assembly(KERNEL, "float32", "sm_80,sm_90")
    count = source.count("__global__") // 2  # each is declared, then defined
    assert [line.rpartition(" ")[2] for line in launches] == ["1234"] * count + ["0"] * count
    assert launches[0].startswith("launch tvm_equi_kernel_kernel grid ")
    kinds = {line.split()[0] for line in lines}
    assert kinds == {"device", "load", "launch"}  # no memory is taken, nothing is waited for


COMPILE = """
import sys
from pathlib import Path
from tvm_equi.artifact import codegen, cuda
from tvm_equi.runtime.library import load_cuda_runtime
load_cuda_runtime()  # first, in a process that has nothing of TVM
from tests.lower.test_primfunc import product
import tvm_ffi
code = bytes.fromhex(sys.argv[2])
cuda.fatbin = lambda source, architectures: code
kernel = product("uvu", (5, 1, 5), "row")
codegen.compile_point(kernel, "float32", "sm_80,sm_90", {}, Path(sys.argv[1]))
own = tvm_ffi.get_global_func("tvm_callback_cuda_compile")
try:
    own("no CUDA at all")
except Exception as error:
    print(type(error).__name__)
"""


def test_same_library_where_there_is_a_driver(driver: Path, tmp_path: Path) -> None:
    """There TVM would compile the source itself, which needs headers and makes another format."""
    path = tmp_path / "kernel.so"
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(path), CODE.hex()],
        env=os.environ | {"LD_LIBRARY_PATH": str(driver)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in ("", "ArtifactError")  # TVM's own compiler is still there
    data = path.read_bytes()
    assert CODE in data
    assert embed.PLACEHOLDER not in data
    assert b"__global__" not in data


def test_unknown_data_are_refused() -> None:
    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    def data(kind: bytes, form: bytes) -> bytes:
        module = text(form) + bytes(8) + text(b"source")
        rest = bytes(8) + text(b"_lib") + text(kind) + text(module)
        return text(rest)

    found = embed.with_code(data(b"cuda", b"cuda"), "source", b"code")
    assert found.endswith(text(text(b"fatbin") + bytes(8) + text(b"code")))
    assert struct.unpack("<Q", found[:8])[0] == len(found) - 8
    for wrong in (data(b"hip", b"cuda"), data(b"cuda", b"ptx"), data(b"cuda", b"cuda")[:-1], b""):
        with pytest.raises(ArtifactError, match="expected one imported CUDA module in the form of"):
            embed.with_code(wrong, "source", b"code")
