"""Manifests as data: written as they are read, programs found by name."""

from dataclasses import replace

import pytest

from tests.deploy.model_files import GPUS, MANIFEST, SECTIONS, V3
from tvm_equi.deploy.fields import canonical_json, parse_json
from tvm_equi.deploy.manifest import SCHEMA, SCHEMA_KEY, manifest_fields
from tvm_equi.deploy.manifest_reader import read_manifest
from tvm_equi.errors import ArtifactError


def test_fields_read_back() -> None:
    fields = manifest_fields(MANIFEST)
    assert fields[SCHEMA_KEY] == SCHEMA == 1
    text = canonical_json(fields | {"sections": []})
    assert read_manifest("file", parse_json("file", text), SECTIONS) == MANIFEST


def test_targets_of_gpus() -> None:
    assert [target.is_gpu for target in MANIFEST.targets] == [False, False, True]
    entries = manifest_fields(MANIFEST)["targets"]
    assert entries[1] == {"name": V3, "machine": "x86_64", "features": ["avx2", "fma"]}
    assert entries[2] == {"name": GPUS, "architectures": ["sm_80", "sm_90"]}


def test_programs_by_name() -> None:
    assert MANIFEST.program("file").name == "main"
    with pytest.raises(ArtifactError, match=r"^file: program: expected one of main, got 'forces'$"):
        MANIFEST.program("file", "forces")
    with pytest.raises(ArtifactError, match=r"expected one of none, got 'main'$"):
        replace(MANIFEST, programs=()).program("file")
