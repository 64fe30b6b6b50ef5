"""Targets by name."""

import pathlib
import platform

import pytest

from tvm_equi.errors import ArgumentError
from tvm_equi.schedule.targets import (
    GPU_ARCHITECTURES,
    OPENCL,
    capability,
    cpu_target,
    family,
    gpu_target,
    host_family,
    is_gpu,
    split_target,
    target_names,
)


@pytest.mark.parametrize(("name", "lanes"), [("x86-64-v2", 4), ("x86-64-v3", 8), ("x86-64-v4", 16)])
def test_lanes_follow_from_the_level(name: str, lanes: int) -> None:
    target = cpu_target(name)
    assert (target.name, target.mcpu) == (name, name)
    assert target.lanes("float32") == lanes
    assert target.lanes("float64") == lanes // 2
    assert target.lanes("bfloat16") == lanes * 2
    assert target.num_registers == (32 if lanes == 16 else 16)


def test_host_is_resolved_by_llvm() -> None:
    target = cpu_target("host")
    assert target.name not in ("host", "")
    assert target.lanes("float32") in (4, 8, 16)
    if "avx512f" in _flags():
        assert target.vector_bits == 512


def _flags() -> str:
    if platform.system() != "Linux":
        return ""
    with pathlib.Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        return file.read()


def test_families() -> None:
    assert family("x86-64-v3") == "x86-64-v3"
    assert family("sm_90,sm_80") == "sm_80"
    assert family("host") == host_family()
    wanted = {128: "x86-64-v2", 256: "x86-64-v3", 512: "x86-64-v4"}[cpu_target("host").vector_bits]
    assert host_family() == (wanted if cpu_target("host").is_x86 else "")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"target: expected one of host, x86-64-v2.*'sparc'"):
        cpu_target("sparc")
    assert target_names()[0] == "host"


@pytest.mark.parametrize("name", GPU_ARCHITECTURES)
def test_gpus(name: str) -> None:
    target = gpu_target(name)
    assert (target.kind, target.architectures, target.name) == ("cuda", (name,), name)
    assert is_gpu(name)
    assert capability(name) == int(name[3:])
    found = target.tvm_target()
    assert (str(found.kind.name), str(found.attrs["arch"])) == (
        "cuda",
        max(name, "sm_80", key=capability),
    )
    assert int(found.attrs["max_num_threads"]) == 1024
    assert str(found.host.kind.name) == "llvm"


def test_several_gpus_are_sorted_and_taken_once() -> None:
    target = gpu_target("sm_120,sm_80,sm_90,sm_80")
    assert target.architectures == ("sm_80", "sm_90", "sm_120")
    assert gpu_target(target.name) == target
    # Source is made for the oldest, and runs on all of them.
    assert str(target.tvm_target().attrs["arch"]) == "sm_80"


def test_opencl() -> None:
    target = gpu_target(OPENCL)
    assert (target.kind, target.architectures, target.name) == (OPENCL, (), OPENCL)
    assert is_gpu(OPENCL)
    assert str(target.tvm_target().kind.name) == "opencl"


@pytest.mark.parametrize(
    "name", ["sm_", "sm_9x", "sm_70", "sm_90a", "90", "", "sm_80,", "sm_80,host", "sm_80, sm_90"]
)
def test_unknown_gpus_are_refused(name: str) -> None:
    wrong = next(part for part in name.split(",") if part != "sm_80")
    with pytest.raises(ArgumentError, match=rf"expected a GPU such as sm_75, .*got '{wrong}'"):
        gpu_target(name)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("host", ("host", None)),
        ("sm_90", (None, "sm_90")),
        ("sm_90,x86-64-v3,sm_80", ("x86-64-v3", "sm_80,sm_90")),
        (["host", "sm_90,sm_75"], ("host", "sm_75,sm_90")),
        (["host", "host"], ("host", None)),
        (["opencl"], (None, "opencl")),
    ],
)
def test_a_cpu_and_gpus(target: str | list[str], wanted: tuple[str | None, str | None]) -> None:
    assert split_target(target) == wanted


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("sparc", "cuda or a GPU such as sm_75.*got 'sparc'"),
        ("sm_80,", "or a GPU such as sm_75.*got ''"),
        ("sm_60", "expected a GPU such as sm_75.*got 'sm_60'"),
        (["host", "x86-64-v3"], "expected one CPU at most"),
        ([], "expected one CPU at most"),
    ],
)
def test_targets_that_do_not_go_together(target: str | list[str], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        split_target(target)


def test_no_cpu_is_a_gpu() -> None:
    assert not any(is_gpu(name) for name in target_names())
