"""NVIDIA's run-time compiler through its Python packages: no toolkit and no host compiler.

In: CUDA source. Out: machine code for one architecture, or a fat binary for several. The packages
are those of the extra "cuda"; where they are missing, `version` is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tvm_equi.errors import ArtifactError


@lru_cache(maxsize=1)
def _module() -> Any:
    """The bindings, None where they or the library are missing."""
    try:
        # nvfatbin came with release 13.2 of the bindings; its library is in a package of its own.
        from cuda.bindings import nvfatbin, nvrtc

        nvrtc.nvrtcVersion()
        nvfatbin.version()
    except (ImportError, RuntimeError, OSError):
        return None
    return nvrtc


@lru_cache(maxsize=1)
def version() -> str:
    """CUDA's version of the compiler, "" where it is not installed."""
    module = _module()
    if module is None:
        return ""
    major, minor = _checked(module.nvrtcVersion())
    return f"{major}.{minor}"


def capabilities() -> tuple[int, ...]:
    """The compute capabilities that the compiler knows, such as 90."""
    (found,) = _checked(_module().nvrtcGetSupportedArchs())
    return tuple(sorted(found))


def fatbin(source: str, numbers: Sequence[int], include: str) -> bytes:
    """A fat binary with machine code for each compute capability, and PTX for the last.

    Args:
        source: to compile.
        numbers: compute capabilities, ascending.
        include: the folder of CUDA's headers, or "".

    Raises:
        ArtifactError: the compiler refuses the source.
    """
    from cuda.bindings import nvfatbin

    handle = nvfatbin.create([], 0)
    try:
        for number in numbers:
            code, ptx, _ = _compile(source, number, include, [])
            nvfatbin.add_cubin(handle, code, len(code), str(number), f"sm_{number}")
        nvfatbin.add_ptx(handle, ptx, len(ptx), str(numbers[-1]), f"compute_{numbers[-1]}", "")
        data = bytearray(nvfatbin.size(handle))
        nvfatbin.get(handle, data)
    finally:
        nvfatbin.destroy(handle)
    return bytes(data)


def cubin(source: str, number: int, include: str, *, verbose: bool = False) -> tuple[bytes, str]:
    """Machine code for one compute capability, and what the compiler says.

    Args:
        source: to compile.
        number: the compute capability, such as 90.
        include: the folder of CUDA's headers, or "".
        verbose: whether the compiler says what each kernel takes.

    Raises:
        ArtifactError: the compiler refuses the source.
    """
    options = ["--ptxas-options=-v"] if verbose else []
    code, _, log = _compile(source, number, include, options)
    return code, log


def _compile(
    source: str, number: int, include: str, options: list[str]
) -> tuple[bytes, bytes, str]:
    """Machine code, the PTX that it was made of, and the compiler's log.

    Raises:
        ArtifactError: the compiler refuses the source.
    """
    module = _module()
    (program,) = _checked(module.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], []))
    flags = [f"--gpu-architecture=sm_{number}", "-default-device", "-w", *options]
    flags += [f"--include-path={include}"] if include else []
    try:
        done = module.nvrtcCompileProgram(program, len(flags), [flag.encode() for flag in flags])
        log = _read(module, program, "ProgramLog").decode(errors="replace")
        if int(done[0]):
            raise ArtifactError(
                f"build: expected NVRTC {version()} to compile a kernel, got: "
                f"{log.strip()[:2000] or done[0]}"
            )
        return _read(module, program, "CUBIN"), _read(module, program, "PTX"), log
    finally:
        module.nvrtcDestroyProgram(program)


def _read(module: Any, program: Any, what: str) -> bytes:
    """A result of a compilation."""
    (size,) = _checked(getattr(module, f"nvrtcGet{what}Size")(program))
    data: bytes = bytes(size)
    _checked(getattr(module, f"nvrtcGet{what}")(program, data))
    return data.rstrip(b"\0") if what == "ProgramLog" else data


def _checked(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a call.

    Raises:
        ArtifactError: it failed.
    """
    if int(result[0]):
        raise ArtifactError(f"build: expected NVRTC to work, got {result[0]}")
    return result[1:]
