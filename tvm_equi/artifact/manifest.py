"""The folder of an artifact: a manifest, and files that it vouches for.

    manifest.json      schema, versions, target, CPU features, sha256 and size of every other file
    graph.json         the text of the graph
    parameters.npz     arrays, no pickle
    kernels/<key>.so   libraries

In: a folder that versions before model files wrote. Out: its manifest, after every file was
checked. Nothing is executed or unpickled here.
"""

from __future__ import annotations

import hashlib
import json
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
