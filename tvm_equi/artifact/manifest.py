"""The folder of an artifact: a manifest, and files that it vouches for.

    manifest.json      schema, versions, target, CPU features, sha256 and size of every other file
    graph.json         the text of the graph
    parameters.npz     arrays, no pickle
    kernels/<key>.so   libraries

In: files, or a folder. Out: a folder, written in one step, or the manifest of a folder whose every
file was checked. Nothing is executed or unpickled here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tvm_equi.errors import ArtifactError

MANIFEST = "manifest.json"
SCHEMA_KEY = "tvm_equi_artifact"
SCHEMA = 1
FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "versions": dict,
    "target": str,
    "machine": str,
    "features": list,
    "dtype": str,
    "derivatives": int,
    "inputs": dict,
    "outputs": dict,
    "kernels": list,
    "files": dict,
}
"""Fields of the manifest beside the schema, with their JSON types."""


def write_folder(path: Path, fields: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Writes an artifact in one step: there is the whole folder, or what was there before.

    Args:
        path: of the folder; an artifact there is replaced.
        fields: of the manifest, without schema and files.
        files: content by relative path, "/" between parts.

    Raises:
        ArtifactError: something else is at the path, or it cannot be written.
    """
    if path.exists() and not (path / MANIFEST).is_file() and not _is_empty_folder(path):
        raise ArtifactError(
            f"save: path: expected a new folder or an artifact to replace, got {path}"
        )
    table = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in sorted(files.items())
    }
    manifest = {SCHEMA_KEY: SCHEMA, **fields, "files": table}
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        for name, data in files.items():
            _write(staging / name, data)
        _write(staging / MANIFEST, json.dumps(manifest, indent=1, allow_nan=False).encode())
        if path.exists():
            trash = staging.with_suffix(".old")
            path.rename(trash)
            staging.rename(path)
            shutil.rmtree(trash, ignore_errors=True)
        else:
            staging.rename(path)
    except OSError as error:
        raise ArtifactError(
            f"save: path: expected a folder that can be written, got {path} ({error})"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _write(path: Path, data: bytes) -> None:
    """Writes a file through to the disk, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of an artifact, after every file it names was checked.

    Args:
        path: of the folder.

    Raises:
        ArtifactError: no artifact, one of another schema, or a file that is missing or changed.
    """
    where = f"load: {path}"
    manifest = _parse(where, path / MANIFEST)
    schema = manifest.get(SCHEMA_KEY)
    if schema != SCHEMA:
        is_newer = isinstance(schema, int) and schema > SCHEMA
        advice = "; update tvm_equi" if is_newer else ""
        raise ArtifactError(f"{where}: {SCHEMA_KEY}: expected {SCHEMA}, got {schema!r}{advice}")
    for name, kind in FIELDS.items():
        if not isinstance(manifest.get(name), kind):
            raise ArtifactError(
                f"{where}: {MANIFEST}: {name}: expected {_kind_name(kind)}, "
                f"got {manifest.get(name)!r}"
            )
    for name, facts in manifest["files"].items():
        _check_file(where, path, name, facts)
    return manifest


def _parse(where: str, file: Path) -> dict[str, Any]:
    """The manifest's data.

    Raises:
        ArtifactError: it is missing, or not a JSON object.
    """
    try:
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"{where}: expected an artifact's folder with {MANIFEST}, got {error.strerror}"
        ) from error
    except ValueError as error:
        raise ArtifactError(f"{where}: {MANIFEST}: expected JSON, got: {error}") from error
    if not isinstance(data, dict):
        raise ArtifactError(f"{where}: {MANIFEST}: expected an object, got {data!r}")
    return data


def _kind_name(kind: Any) -> str:
    """A JSON type in an error."""
    return {dict: "an object", list: "a list", str: "a text", int: "a whole number"}[kind]


def _check_file(where: str, path: Path, name: str, facts: Any) -> None:
    """Refuses a file that is outside, missing or changed.

    Raises:
        ArtifactError: naming the file.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise ArtifactError(f"{where}: {MANIFEST}: files: expected paths in the folder, got {name}")
    if not isinstance(facts, dict) or not {"sha256", "size"} <= facts.keys():
        raise ArtifactError(f"{where}: {MANIFEST}: files: {name}: expected sha256 and size")
    try:
        data = (path / name).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{where}: {name}: expected a file, got {error.strerror}") from error
    if len(data) != facts["size"]:
        raise ArtifactError(f"{where}: {name}: expected {facts['size']} bytes, got {len(data)}")
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise ArtifactError(f"{where}: {name}: expected the sha256 of {MANIFEST}, got another")
