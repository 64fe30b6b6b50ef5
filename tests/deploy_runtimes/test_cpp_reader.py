"""C++ reads model files as Python does, and bad ones end in an error, never in a crash."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deploy_runtimes.cpp_build import build
from tvm_equi.deploy import container
from tvm_equi.deploy.fields import canonical_json
from tvm_equi.deploy.manifest import (
    KernelEntry,
    Manifest,
    PassEntry,
    PlanEntry,
    ProgramEntry,
    Target,
    Value,
)
from tvm_equi.deploy.safetensors import Tensor, write_tensors
from tvm_equi.errors import ArtifactError

pytestmark = pytest.mark.deploy

FUZZ_SECONDS = os.environ.get("TVM_EQUI_FUZZ_SECONDS", "15")
HEADER = 96


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = tmp_path_factory.getbasetemp().parent
    return build(Path(__file__).parent / "cpp", shared / "cpp_tests")


def small_model(path: Path) -> Path:
    """A file with a bit of everything; its libraries are no libraries."""
    key = "0" * 64
    target, gpu = Target("x86-64-v2", "x86_64", ("sse4_2",)), Target("sm_90", "", (), ("sm_90",))
    value = Value("x", "float32", ("rows", 3))
    names = {"x86-64-v2": "kernels/a.so", "sm_90": "kernels/b.so"}
    program = ProgramEntry(
        "main", (value,), (value,), ("w",), {target.name: "p.so"}, {target.name: ("kernels/a.so",)}
    )
    plan = PlanEntry(
        "plan", "convolve", ((3, "row"), (4, "sender")), ((5, "receiver"),),
        (PassEntry(key, "receiver", (0,), (1,), (7,)),),
    )  # fmt: skip
    manifest = Manifest(
        {"tvm_equi": "0", "ä": "\n\x01"}, "float32", 1, (target, gpu),
        (KernelEntry(key, "float32", names),), (plan,), "p.safetensors", "graph.json", (program,),
    )  # fmt: skip
    tensors = {"w": np.ones(3, np.float32), "b": np.zeros((2, 2), bool)}
    stored = {name: Tensor(str(array.dtype), array) for name, array in tensors.items()}
    sections = {"kernels/a.so": b"a" * 100, "kernels/b.so": b"", "p.so": b"b", "graph.json": b"{}"}
    return container.write(path, manifest, {**sections, "p.safetensors": write_tensors(stored)})


def signed(data: bytes) -> bytes:
    """A file with checksums of manifest and header made right."""
    (size,) = struct.unpack("<Q", data[24:32])
    facts = data[:32] + hashlib.sha256(data[HEADER : HEADER + size]).digest()
    return facts + hashlib.sha256(facts).digest() + data[HEADER:]


def fields_of(data: bytes) -> dict[str, Any]:
    """The manifest of a file."""
    (size,) = struct.unpack("<Q", data[24:32])
    fields: dict[str, Any] = json.loads(data[HEADER : HEADER + size])
    return fields


def with_manifest(data: bytes, text: bytes) -> bytes:
    """A file with another manifest, whose sections stay where they are relative to its end."""
    (size,) = struct.unpack("<Q", data[24:32])
    rest = data[-(-(HEADER + size) // 64) * 64 :]
    padding = b"\0" * (-(HEADER + len(text)) % 64)
    total = struct.pack("<QQ", HEADER + len(text) + len(padding) + len(rest), len(text))
    return signed(data[:16] + total + bytes(64) + text + padding + rest)


def changed(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A file whose manifest was changed, with its offsets and checksums made right."""
    fields = fields_of(data)
    change(fields)
    for _ in range(3):
        text = canonical_json(fields)
        end = HEADER + len(text)
        for section in fields["sections"]:
            section["offset"] = -(-end // 64) * 64
            end = section["offset"] + section["size"]
    return with_manifest(data, canonical_json(fields))


def verdicts(built: Path, paths: list[Path]) -> list[str]:
    """What C++ says of files."""
    names = "".join(f"{path}\n" for path in paths)
    done = subprocess.run([built / "reader"], input=names, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def verdict_of_python(path: Path) -> str:
    try:
        container.read(path)
    except ArtifactError as error:
        return str(error)
    return "ok"


def test_parts(built: Path) -> None:
    done = subprocess.run([built / "units"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def set_header(data: bytes, start: int, number: int, size: int) -> bytes:
    return signed(data[:start] + number.to_bytes(size, "little") + data[start + size :])


def lists_in_lists(data: bytes) -> bytes:
    return with_manifest(data, b"[" * 1_000_000)


BAD = {
    "truncated": (lambda data: data[:-1], "size: expected "),
    "header cut": (lambda data: data[:50], "header: expected 96 bytes, got 50"),
    "empty": (lambda data: b"", "magic: expected "),
    "longer": (lambda data: data + b"\0", "size: expected "),
    "magic": (lambda data: b"PK\x03\x04" + data[4:], "this is no model file"),
    "newer container": (
        lambda data: set_header(data, 8, 2, 4),
        "version: expected 1, got 2; update tvm_equi",
    ),
    "newer schema": (
        lambda data: changed(data, lambda fields: fields.update(tvm_equi_model=2)),
        "manifest: tvm_equi_model: expected schema 1, got 2; update tvm_equi",
    ),
    "zero": (lambda data: set_header(data, 12, 7, 4), "zero in bytes 12 to 15, got 7"),
    "header of 8 EiB": (
        lambda data: set_header(data, 24, 1 << 63, 8),
        f"bytes, got {1 << 63}",
    ),
    "manifest of 65 MiB": (
        lambda data: set_header(data, 24, 65 << 20, 8),
        f"bytes, got {65 << 20}",
    ),
    "nesting": (lists_in_lists, "manifest: "),
    "traversal": (
        lambda data: changed(data, lambda f: f["sections"][1].update(name="../../../etc/x")),
        "none of them '.' or '..'",
    ),
    "absolute": (
        lambda data: changed(data, lambda f: f["sections"][1].update(name="/etc/x")),
        "none of them '.' or '..'",
    ),
    "same name": (
        lambda data: changed(data, lambda f: f["sections"][1].update(f["sections"][0])),
        "",
    ),
    "section beyond the end": (
        lambda data: changed(data, lambda f: f["sections"][-1].update(size=1 << 40)),
        "to end within the file's ",
    ),
    "largest size": (
        lambda data: changed(data, lambda f: f["sections"][-1].update(size=2**63 - 1)),
        "to end within the file's ",
    ),
    "missing target": (
        lambda data: changed(data, lambda f: f["kernels"][0]["libraries"].pop("x86-64-v2")),
        "libraries: expected one for 'x86-64-v2', got none",
    ),
    "unknown target": (
        lambda data: changed(data, lambda f: f["programs"][0]["libraries"].update(other="p.so")),
        "'other'",
    ),
    "no such section": (
        lambda data: changed(data, lambda f: f.update(graph="other")),
        "graph: expected the name of a section, got 'other'",
    ),
    "no such parameter": (
        lambda data: changed(data, lambda f: f["programs"][0].update(parameters=["v"])),
        "parameters: ",
    ),
    "shape of words": (
        lambda data: changed(data, lambda f: f["programs"][0]["inputs"][0].update(shape=[-1])),
        "a number from 0 to 2^63 - 1, got -1",
    ),
    "no such kernel": (
        lambda data: changed(data, lambda f: f["plans"][0]["passes"][0].update(kernel="1" * 64)),
        "kernel: expected the key of a kernel",
    ),
    "outputs of passes": (
        lambda data: changed(data, lambda f: f["plans"][0]["passes"][0].update(outputs=[])),
        "passes: expected each of 1 outputs once",
    ),
    "unknown key": (
        lambda data: changed(data, lambda f: f.update(more=1)),
        "only, got 'more'",
    ),
    "missing key": (
        lambda data: changed(data, lambda f: f.pop("plans")),
        "expected plans, got none",
    ),
    "spaces": (
        lambda data: with_manifest(data, json.dumps(fields_of(data)).encode()),
        "sorted keys and no spaces",
    ),
}


def test_good_and_bad_files(built: Path, tmp_path: Path) -> None:
    good = small_model(tmp_path / "good.tvmeq")
    data = good.read_bytes()
    same = tmp_path / "same.tvmeq"
    same.write_bytes(changed(data, lambda fields: None))
    assert same.read_bytes() == data
    paths = []
    for number, (change, _) in enumerate(BAD.values()):
        paths.append(tmp_path / f"{number}.tvmeq")
        paths[-1].write_bytes(change(data))
    paths += [tmp_path, tmp_path / "missing.tvmeq"]
    found = verdicts(built, [good, *paths])
    assert found[0] == "ok"
    texts = [text for _, text in BAD.values()] + ["expected a file", "expected a file that can be"]
    for path, verdict, text, name in zip(paths, found[1:], texts, [*BAD, "", ""], strict=True):
        assert verdict != "ok", name
        assert text in verdict, name
        assert verdict.startswith("load: ") or name == "no such parameter"
        assert verdict_of_python(path) != "ok", name


def test_every_flipped_byte(built: Path, tmp_path: Path) -> None:
    data = small_model(tmp_path / "good.tvmeq").read_bytes()
    paths = []
    for place in range(len(data)):
        paths.append(tmp_path / str(place))
        flipped = data[place] ^ (1 << place % 8)
        paths[-1].write_bytes(data[:place] + bytes([flipped]) + data[place + 1 :])
    assert not [
        path for path, said in zip(paths, verdicts(built, paths), strict=True) if said == "ok"
    ]


def test_both_readers_agree(built: Path, tmp_path: Path) -> None:
    """On files that were changed behind their checksums, at random."""
    data = small_model(tmp_path / "good.tvmeq").read_bytes()
    source, paths = random.Random(0), []
    for number in range(1500):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(changed(data, lambda fields: disturb(fields, source)))
    found = verdicts(built, paths)
    for path, verdict in zip(paths, found, strict=True):
        by_python = verdict_of_python(path)
        assert (verdict == "ok") == (by_python == "ok"), f"{path}: {verdict}; Python: {by_python}"
    assert 100 < found.count("ok") < 1400


VALUES = [
    0,
    1,
    2,
    3,
    5,
    -1,
    2**63 - 1,
    None,
    True,
    [],
    {},
    [0],
    "",
    "a",
    "x",
    "w",
    "b",
    "main",
    "p.so",
]
VALUES += [
    "float64",
    "int64",
    "convolve",
    "run",
    "sender",
    "row",
    "shared",
    "x86-64-v2",
    "sm_90",
    ".",
]
VALUES += [
    "0" * 64,
    "a/../b",
    "a.b",
    "A-b",
    "é",
    "p.safetensors",
    "graph.json",
    "kernels/b.so",
    1 << 40,
]


def disturb(fields: dict[str, Any], source: random.Random) -> None:
    """Changes a value, a key or an item somewhere; sections keep their lists and sizes."""
    parent: Any = fields
    key: Any = source.choice(sorted(fields))
    while isinstance(parent[key], dict | list) and parent[key] and source.random() < 0.85:
        parent = parent[key]
        key = source.choice(sorted(parent) if isinstance(parent, dict) else range(len(parent)))
    if key == "sections" or (isinstance(parent, list) and parent is fields.get("sections")):
        return
    match source.randrange(4):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[source.choice(["more", "", "é", "x86-64-v2", "sm_90"])] = parent[key]
        case 1:
            parent.append(parent[key])
        case _:
            parent[key] = source.choice(VALUES)
    for section in fields["sections"]:
        for name, default in (("offset", 0), ("size", 0)):
            if not isinstance(section.setdefault(name, default), int):
                section[name] = default


def test_changed_files_crash_nothing(built: Path, tmp_path: Path) -> None:
    model = small_model(tmp_path / "good.tvmeq")
    command = [built / "fuzz", FUZZ_SECONDS, "1", model]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
