"""CPU features that code needs."""

from tvm_equi.artifact.cpu import required_features
from tvm_equi.deploy.targets import host_features


def test_levels_contain_each_other() -> None:
    v2, v3, v4 = (set(required_features(f"x86-64-v{n}")) for n in (2, 3, 4))
    assert v2 < v3 < v4
    assert "fma" in v3 - v2


def test_this_cpu_runs_its_own_code() -> None:
    found = set(required_features("host"))
    assert found <= host_features()
    assert not found & {"mmx", "syscall", "nx"}
