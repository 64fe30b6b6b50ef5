"""The doctor: right on this machine, and says what to do on a worse one."""

from pathlib import Path

import pytest

from tvm_equi.artifact import cuda, doctor
from tvm_equi.artifact import cuda_libraries as libraries
from tvm_equi.errors import ArtifactError


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
    assert found["oclgrind"].advice.startswith("optional")


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_EQUI_CACHE_DIR", str(tmp_path / "not" / "there"))
    assert by_name()["cache"].found.endswith("there: 0 kernels, 0.0 MB")
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert "set TVM_EQUI_CACHE_DIR" in by_name()["cache"].advice


def test_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = cuda.Compiler("nvrtc", "13.5", "", (80, 90))
    monkeypatch.setattr(cuda, "compiler", lambda: compiler)
    monkeypatch.setattr(libraries, "driver_version", lambda: 13000)
    monkeypatch.setattr(libraries, "missing_runtime", list)
    monkeypatch.setattr(doctor, "_devices", lambda: "GPU 0: H100")
    monkeypatch.setattr(doctor, "_version", lambda package: "2.13.0+cu130")
    found = by_name()
    names = ["CUDA compiler", "NVIDIA driver", libraries.RUNTIME, "CUDA in TVM", "CUDA in torch"]
    assert [found[name].found for name in names] == [
        "nvrtc 13.5: sm_80, sm_90",
        "for CUDA 13.0",
        "there",
        "libtvm_runtime_cuda.so",
        "cu130",
    ]
    assert not any(found[name].advice for name in names)


def test_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> cuda.Compiler:
        raise ArtifactError("none")

    monkeypatch.setattr(cuda, "compiler", none)
    monkeypatch.setattr(libraries, "driver_version", lambda: 12080)
    monkeypatch.setattr(libraries, "missing_runtime", lambda: [libraries.DRIVER, libraries.RUNTIME])
    monkeypatch.setattr(libraries, "tvm_library", lambda name: None)
    monkeypatch.setattr(doctor, "_version", lambda package: "2.13.0+cpu")
    found = by_name()
    assert found["NVIDIA driver"].found == "for CUDA 12.8"
    for name in (
        "CUDA compiler",
        "NVIDIA driver",
        libraries.RUNTIME,
        "CUDA in TVM",
        "CUDA in torch",
    ):
        assert found[name].advice.startswith("optional: ")
        assert not found[name].is_missing
