"""Parts that run a model elsewhere: found, copied, and refused where one is missing."""

from pathlib import Path

import pytest

from tvm_equi.deploy import parts
from tvm_equi.errors import ArgumentError, ArtifactError


def test_parts_of_this_environment() -> None:
    found = parts.find_parts()
    assert (found.includes[0] / "tvm_equi" / "tvm_equi.hpp").is_file()
    assert (found.includes[1] / "tvm" / "ffi" / "function.h").is_file()
    assert (found.includes[1] / "dlpack" / "dlpack.h").is_file()
    assert found.ffi.name == "libtvm_ffi.so"
    assert found.runtime.name == "libtvm_runtime.so"
    assert (parts.cmake_folder() / "tvm_equi-config.cmake").is_file()


def test_copies_and_their_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "runtime"
    sizes = parts.copy_parts(folder)
    assert sizes == {
        name: (folder / "lib" / name).stat().st_size
        for name in ("libtvm_ffi.so", "libtvm_runtime.so")
    }
    assert 1e6 < sum(sizes.values()) < 20e6
    for name in ("include/tvm_equi/model.hpp", "include/tvm/ffi/any.h", "include/dlpack/dlpack.h"):
        assert (folder / name).is_file()
    assert (folder / "lib/cmake/tvm_equi/tvm_equi-config.cmake").is_file()
    assert list((folder / "licenses").glob("apache-tvm-LICENSE*"))
    assert "apache-tvm-ffi==0.1.14" in (folder / "README").read_text(encoding="utf-8")


def test_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep", encoding="utf-8")
    with pytest.raises(ArgumentError, match="folder: expected a new or empty folder, got "):
        parts.copy_parts(tmp_path)
    with pytest.raises(ArgumentError, match="folder: expected a new or empty folder, got "):
        parts.copy_parts(tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_missing_package_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parts.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ArtifactError, match="expected the package tvm_ffi; pip install apache"):
            parts.find_parts()
    monkeypatch.setattr(parts, "RUNTIME_LIBRARY", "libtvm_other.so")
    with pytest.raises(ArtifactError, match=r"libtvm_other\.so, got none; reinstall its package"):
        parts.copy_parts(tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ArtifactError, match="expected room for the parts: "):
        parts.copy_parts(tmp_path / "file" / "runtime")
