"""Writes the folders that artifacts were before model files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_equi.artifact.manifest import MANIFEST, SCHEMA, SCHEMA_KEY


def write_folder(path: Path, fields: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Writes an artifact of schema 1, as versions before model files did."""
    table = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in sorted(files.items())
    }
    manifest = {SCHEMA_KEY: SCHEMA, **fields, "files": table}
    for name, data in (files | {MANIFEST: json.dumps(manifest, indent=1).encode()}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
