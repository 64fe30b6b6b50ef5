"""The folders that artifacts were: read only if whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.artifact_folder import write_folder
from tvm_equi.artifact.manifest import MANIFEST, read_manifest
from tvm_equi.errors import ArtifactError

FIELDS = {
    "versions": {"tvm_equi": "0.1.0"},
    "target": "host",
    "machine": "x86_64",
    "features": ["avx2"],
    "dtype": "float32",
    "derivatives": 2,
    "inputs": {"x": "1x0e [node]"},
    "outputs": {"out": "1x0e [node]"},
    "kernels": [],
}
FILES = {"graph.json": b"{}", "kernels/a.so": b"code"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "artifact"
    write_folder(path, FIELDS, FILES)
    return path


def test_reads_what_was_written(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest["tvm_equi_artifact"] == 1
    assert {key: manifest[key] for key in FIELDS} == FIELDS
    assert set(manifest["files"]) == set(FILES)
    assert (folder / "kernels" / "a.so").read_bytes() == b"code"


def edit(path: Path, **changes: Any) -> None:
    data = json.loads((path / MANIFEST).read_text())
    data |= changes
    (path / MANIFEST).write_text(json.dumps({k: v for k, v in data.items() if v is not ...}))


GOOD = {"sha256": "0" * 64, "size": 1}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda p: (p / MANIFEST).unlink(),
            "expected an artifact's folder with manifest.json, got",
        ),
        (lambda p: (p / MANIFEST).write_text("{"), "manifest.json: expected JSON, got: Expecting"),
        (lambda p: (p / MANIFEST).write_text("[]"), "manifest.json: expected an object, got []"),
        (
            lambda p: edit(p, tvm_equi_artifact=2),
            "tvm_equi_artifact: expected 1, got 2; update tvm_equi",
        ),
        (lambda p: edit(p, tvm_equi_artifact=...), "tvm_equi_artifact: expected 1, got None"),
        (lambda p: edit(p, target=...), "manifest.json: target: expected a text, got None"),
        (lambda p: edit(p, kernels={}), "manifest.json: kernels: expected a list, got {}"),
        (
            lambda p: edit(p, derivatives="2"),
            "manifest.json: derivatives: expected a whole number, got '2'",
        ),
        (lambda p: (p / "graph.json").unlink(), "graph.json: expected a file, got No such file"),
        (lambda p: (p / "graph.json").write_bytes(b"{} "), "graph.json: expected 2 bytes, got 3"),
        (
            lambda p: (p / "kernels/a.so").write_bytes(b"coda"),
            "kernels/a.so: expected the sha256 of manifest.json, got another",
        ),
        (
            lambda p: edit(p, files={"../outside": GOOD}),
            "manifest.json: files: expected paths in the folder, got ../outside",
        ),
        (
            lambda p: edit(p, files={"/etc/passwd": GOOD}),
            "manifest.json: files: expected paths in the folder, got /etc/passwd",
        ),
        (
            lambda p: edit(p, files={"graph.json": {}}),
            "manifest.json: files: graph.json: expected sha256 and size",
        ),
    ],
)
def test_damage(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(ArtifactError) as error:
        read_manifest(folder)
    assert str(error.value).startswith(f"load: {folder}: {message}")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"expected an artifact's folder with manifest\.json"):
        read_manifest(tmp_path / "nowhere")
