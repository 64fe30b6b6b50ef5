"""The doctor: right on this machine, and says what to do on a worse one."""

from pathlib import Path

import pytest

from tvm_equi.artifact import doctor


def by_name() -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine()}


def test_this_machine_has_all_that_is_needed() -> None:
    found = by_name()
    assert not [finding for finding in found.values() if finding.is_missing]
    assert found["apache-tvm-ffi"].found.startswith("0.1.14")
    assert "x86_64" in found["LLVM targets"].found or "aarch64" in found["LLVM targets"].found


def test_missing_packages_and_wrong_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": None, "ase": None, "apache-tvm-ffi": "0.2.0", "apache-tvm": "0.27.0.post9"}
    monkeypatch.setattr(doctor, "_version", lambda package: versions.get(package, "1.0"))
    found = by_name()
    assert found["torch"] == doctor.Finding(
        "torch", "missing", "pip install torch", is_missing=True
    )
    assert found["ase"].advice == "optional: pip install 'tvm_equi[demo]' for the demo"
    assert not found["ase"].is_missing
    assert found["apache-tvm-ffi"].is_missing
    assert "apache-tvm-ffi==0.1.14" in found["apache-tvm-ffi"].advice
    assert not found["apache-tvm"].is_missing


def test_no_linker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    found = by_name()
    assert found["linker"].is_missing
    assert found["nvcc"].advice.startswith("optional")


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_EQUI_CACHE_DIR", str(tmp_path / "not" / "there"))
    assert by_name()["cache"].found.endswith("there: 0 kernels, 0.0 MB")
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert "set TVM_EQUI_CACHE_DIR" in by_name()["cache"].advice
