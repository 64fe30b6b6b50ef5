"""CPU features: what code needs and what this CPU has."""

import platform

import pytest

from tvm_equi.artifact import cpu
from tvm_equi.errors import ArtifactError


def test_levels_contain_each_other() -> None:
    v2, v3, v4 = (set(cpu.required_features(f"x86-64-v{n}")) for n in (2, 3, 4))
    assert v2 < v3 < v4
    assert "fma" in v3 - v2


def test_this_cpu_runs_its_own_code() -> None:
    cpu.check_cpu("load", platform.machine(), cpu.required_features("host"))
    assert set(cpu.required_features("host")) <= cpu.host_features()


def test_missing_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "host_features", lambda: frozenset({"avx2"}))
    with pytest.raises(ArtifactError) as error:
        cpu.check_cpu("load: here", platform.machine(), ["avx2", "avx512f", "fma"])
    assert str(error.value).startswith(
        "load: here: CPU: expected avx512f, fma, which this CPU does not have; compile again"
    )


def test_unknown_features_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "host_features", frozenset)
    cpu.check_cpu("load", platform.machine(), ["avx512f"])


def test_other_machine() -> None:
    with pytest.raises(ArtifactError, match="load: machine: expected riscv64, got "):
        cpu.check_cpu("load", "riscv64", [])
