"""CUDA source -> machine code for several GPUs.

In: source that TVM generated. Out: a fat binary with machine code for each architecture, and PTX
for the last of them. NVIDIA's run-time compiler (NVRTC) does it where its Python packages are,
else `nvcc`; neither needs a GPU.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tvm_equi.artifact import nvrtc
from tvm_equi.artifact.cuda_libraries import package_folder
from tvm_equi.errors import ArgumentError, ArtifactError
from tvm_equi.schedule.targets import capability

COMPILER_VARIABLE = "TVM_EQUI_CUDA_COMPILER"
"""Environment variable: "nvrtc", "nvcc" or the path of an nvcc; by default what is found first."""

_PRELUDE = """
#ifdef __CUDACC_RTC__
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
#else
#include <cstdint>
#endif
"""
"""Types that TVM's code names; its own prelude needs headers that NVRTC does not bring."""

_TVM_PRELUDE = re.compile(
    r"^#ifdef __CUDACC_RTC__\n.*?^#else\n.*?^#endif\n", re.DOTALL | re.MULTILINE
)
_BOUNDS = re.compile(r"__launch_bounds__\((\d+)\)")
_HALF_ONLY = re.compile(r"\(__CUDA_ARCH__ >= 800\)")
"""TVM hides bfloat16 below sm_80; CUDA's header has it there too, computed in float32."""

_KERNEL = re.compile(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(")
_USAGE = re.compile(
    r"Compiling entry function '(\w+)' for '\w+'\n.*\n.*?(\d+) bytes stack frame, "
    r"(\d+) bytes spill stores, (\d+) bytes spill loads\n.*Used (\d+) registers(.*)"
)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler of CUDA source.

    Args:
        kind: "nvrtc" or "nvcc".
        version: of CUDA, such as "13.0".
        path: of nvcc; "" for NVRTC.
        capabilities: that it compiles for.
    """

    kind: str
    version: str
    path: str
    capabilities: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What ptxas reports of a kernel.

    Args:
        kernel: its name.
        registers: of a thread.
        stack_bytes: of a thread, in memory: arrays that are not in registers, and spills.
        spill_store_bytes: of a thread, stored where registers did not suffice.
        spill_load_bytes: of a thread, loaded again.
        shared_bytes: of a block.
    """

    kernel: str
    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int
    shared_bytes: int


def prepared(source: str) -> str:
    """The source without headers that NVRTC lacks, and with all registers for one block.

    Without a second number in its launch bounds, ptxas keeps registers free for more blocks, and
    spills.

    Args:
        source: that TVM generated.

    Raises:
        ArtifactError: it does not begin as TVM's does.
    """
    found, count = _TVM_PRELUDE.subn(lambda _: _PRELUDE, source, count=1)
    if not count:
        raise ArtifactError(
            "build: expected CUDA source as TVM 0.27 generates it, got another prelude; "
            "pip install apache-tvm==0.27.0.post1"
        )
    if "cuda_bf16.h" in found:
        found = _HALF_ONLY.sub("(__CUDA_ARCH__ >= 750)", found)
    return _BOUNDS.sub(r"__launch_bounds__(\1, 1)", found)


def fatbin(source: str, architectures: Sequence[str]) -> bytes:
    """Machine code for each architecture, and PTX for the last.

    Args:
        source: that TVM generated.
        architectures: such as "sm_90".

    Raises:
        ArgumentError: an environment variable that names no compiler.
        ArtifactError: no compiler, one that does not know an architecture, or refuses the source.
    """
    chosen = compiler()
    numbers = sorted({capability(name) for name in architectures})
    unknown = [f"sm_{n}" for n in numbers if n not in chosen.capabilities]
    if unknown:
        known = ", ".join(f"sm_{n}" for n in chosen.capabilities)
        raise ArtifactError(
            f"build: target: expected architectures that {chosen.kind} {chosen.version} knows "
            f"({known}), got {', '.join(unknown)}"
        )
    text = prepared(source)
    options = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in numbers]
    options.append(f"-gencode=arch=compute_{numbers[-1]},code=compute_{numbers[-1]}")
    with _kept_if_refused(text):
        if chosen.kind == "nvrtc":
            return nvrtc.fatbin(text, numbers, include_folder())
        return _run_nvcc(chosen, text, ["-fatbin", *options])[0]


def usage(source: str, architecture: str) -> list[Usage]:
    """What each kernel takes of a GPU.

    Args:
        source: that TVM generated.
        architecture: such as "sm_90".

    Raises:
        ArgumentError: an environment variable that names no compiler.
        ArtifactError: no compiler, or source that it refuses.
    """
    chosen, text = compiler(), prepared(source)
    if chosen.kind == "nvrtc":
        log = nvrtc.cubin(text, capability(architecture), include_folder(), verbose=True)[1]
    else:
        log = _run_nvcc(chosen, text, ["-cubin", f"-arch={architecture}", "-Xptxas=-v"])[1]
    found = []
    for name, stack, stores, loads, registers, rest in _USAGE.findall(log):
        shared = re.search(r"(\d+) bytes smem", rest)
        numbers = [int(n) for n in (registers, stack, stores, loads, shared[1] if shared else 0)]
        found.append(Usage(name, *numbers))
    names = set(_KERNEL.findall(text))
    if names != {used.kernel for used in found}:
        raise ArtifactError(
            f"usage: expected ptxas to report on {', '.join(sorted(names)) or 'a kernel'}, got: "
            f"{log[:2000]}"
        )
    return found


@contextmanager
def _kept_if_refused(text: str) -> Iterator[None]:
    """Keeps source that a compiler refuses, and says where.

    Raises:
        ArtifactError: as it came, and the path.
    """
    try:
        yield
    except ArtifactError as error:
        with tempfile.NamedTemporaryFile(
            "w", prefix="tvm_equi-", suffix=".cu", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        raise ArtifactError(f"{error}\nThe source is in {file.name}") from error


def compiler() -> Compiler:
    """The compiler that is used.

    Raises:
        ArgumentError: an environment variable that names no compiler.
        ArtifactError: there is none.
    """
    return _compiler(os.environ.get(COMPILER_VARIABLE, ""))


@lru_cache(maxsize=8)
def _compiler(wanted: str) -> Compiler:
    if wanted not in ("", "nvrtc", "nvcc") and shutil.which(wanted) is None:
        raise ArgumentError(
            f"build: {COMPILER_VARIABLE}: expected nvrtc, nvcc or the path of an nvcc, "
            f"got {wanted!r}"
        )
    if wanted in ("", "nvrtc") and (version := nvrtc.version()):
        return Compiler("nvrtc", version, "", nvrtc.capabilities())
    path = _find_nvcc(wanted) if wanted != "nvrtc" else None
    if path is None:
        raise ArtifactError(
            "build: expected a CUDA compiler, got none; pip install 'tvm_equi[cuda]', or put nvcc "
            "on the PATH"
        )
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    known = subprocess.run([path, "--list-gpu-code"], capture_output=True, text=True, check=False)
    release = re.search(r"release ([\d.]+)", said)
    numbers = sorted({int(n) for n in re.findall(r"sm_(\d+)\b", known.stdout)})
    return Compiler("nvcc", release[1] if release else "unknown", path, tuple(numbers))


def _find_nvcc(wanted: str) -> str | None:
    """The path of an nvcc: the one that is named, on the PATH, or of a toolkit."""
    if wanted not in ("", "nvcc"):
        return shutil.which(wanted)
    folders = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda", str(package_folder() or "")]
    found = [shutil.which("nvcc", path=f"{folder}/bin") for folder in folders if folder]
    return shutil.which("nvcc") or next((path for path in found if path), None)


def _run_nvcc(chosen: Compiler, text: str, options: list[str]) -> tuple[bytes, str]:
    """What nvcc makes of source, and what it says.

    Raises:
        ArtifactError: it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "kernel.cu", Path(folder) / "kernel.bin"
        file.write_text(text, encoding="utf-8")
        command = [chosen.path, "-w", "-O3", *options, "-o", str(out), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ArtifactError(
                f"build: expected nvcc {chosen.version} to compile a kernel, got: "
                f"{done.stderr.strip()[:2000]}"
            )
        return out.read_bytes(), done.stderr


def digest() -> str:
    """The compiler and its version, for keys of caches."""
    chosen = compiler()
    return f"{chosen.kind} {chosen.version}"


def include_folder() -> str:
    """The folder of CUDA's headers, which code in half precision needs; "" where there is none."""
    folders = [package_folder(), os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    found = [Path(folder) / "include" for folder in folders if folder]
    return next((str(path) for path in found if (path / "cuda_fp16.h").exists()), "")
