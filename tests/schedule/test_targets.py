"""Targets by name."""

import pathlib
import platform

import pytest

from tvm_equi.errors import ArgumentError
from tvm_equi.schedule.targets import cpu_target, target_names


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


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"target: expected one of host, x86-64-v2.*'sparc'"):
        cpu_target("sparc")
    assert target_names()[0] == "host"
