"""A small model file with a bit of everything; wrong ones whose checksums are right."""

import copy
import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tvm_equi.deploy.container import ALIGNMENT, encode
from tvm_equi.deploy.fields import canonical_json
from tvm_equi.deploy.header import HEADER, MAGIC
from tvm_equi.deploy.manifest import (
    KernelEntry,
    Manifest,
    PassEntry,
    PlanEntry,
    ProgramEntry,
    Target,
    Value,
    manifest_fields,
)
from tvm_equi.deploy.safetensors import Tensor, write_tensors

V2, V3, GPUS = "x86-64-v2", "x86-64-v3", "sm_80,sm_90"
FORWARD, BACKWARD = "a" * 64, "b" * 64

TENSORS = {
    "scale": Tensor("float32", np.array([0.5, -2.0], "<f4")),
    "shift": Tensor("float64", np.array(0.25)),
    "species": Tensor("int64", np.array([[1, 6]])),
    "half": Tensor("bfloat16", np.array([0x3F80], "<u2")),
    "mask": Tensor("bool", np.array([True, False, True])),
}

MANIFEST = Manifest(
    versions={"tvm_equi": "0.1.0"},
    dtype="float32",
    derivatives=1,
    targets=(
        Target(V2, "x86_64", ("sse4_2", "ssse3")),
        Target(V3, "x86_64", ("avx2", "fma")),
        Target(GPUS, architectures=("sm_80", "sm_90")),
    ),
    kernels=(
        KernelEntry(FORWARD, "float32", {V2: "k/f2.so", V3: "k/f3.so", GPUS: "k/fg.so"}),
        KernelEntry(BACKWARD, "float32", {V2: "k/b2.so", V3: "k/b2.so", GPUS: "k/fg.so"}),
    ),
    plans=(
        PlanEntry(
            "p",
            "run",
            ((3, "row"),),
            ((4, "shared"),),
            (PassEntry(FORWARD, "", (0,), (), ()),),
        ),
        PlanEntry(
            "p 0:0",
            "convolve",
            ((3, "sender"), (4, "row")),
            ((3, "sender"), (4, "receiver")),
            (
                PassEntry(BACKWARD, "sender", (0,), (0,), (3,)),
                PassEntry(FORWARD, "receiver", (1,), (), (4,)),
            ),
        ),
    ),
    parameters="parameters.safetensors",
    graph="graph.json",
    programs=(
        ProgramEntry(
            "main",
            (Value("vectors", "float32", ("edges", 3)), Value("types", "int64", ("atoms",))),
            (Value("energy", "float32", ()), Value("forces", "float32", ("atoms", 3))),
            ("scale", "species"),
            {V3: "programs/main/v3.so"},
            {V3: ("k/f3.so", "k/b2.so")},
        ),
    ),
)

SECTIONS = {
    "graph.json": b"{}",
    "k/f2.so": b"forward for v2",
    "k/f3.so": b"forward for v3",
    "k/fg.so": b"",
    "k/b2.so": b"backward" * 9,
    "parameters.safetensors": write_tensors(TENSORS),
    "programs/main/v3.so": b"program",
}

Change = Callable[[dict[str, Any]], object]


def example() -> bytes:
    """The file."""
    return encode(MANIFEST, SECTIONS)


def rewritten(
    change: Change = lambda fields: None, sections: Mapping[str, bytes] = SECTIONS
) -> bytes:
    """The file with other fields or sections, and checksums, offsets and sizes that are right.

    Args:
        change: of the manifest's fields, after offsets were given.
        sections: in place of the file's.
    """
    end, text = 0, b""
    while True:
        table, end = [], HEADER + len(text)
        for name, data in sorted(sections.items()):
            start = -(-end // ALIGNMENT) * ALIGNMENT
            end = start + len(data)
            digest = hashlib.sha256(data).hexdigest()
            table.append({"name": name, "offset": start, "size": len(data), "sha256": digest})
        fields = copy.deepcopy(manifest_fields(MANIFEST)) | {"sections": table}
        starts = [entry["offset"] for entry in table]
        change(fields)
        before, text = text, canonical_json(fields)
        if len(before) == len(text):
            break
    body = bytearray(end - HEADER - len(text))
    for start, (_, data) in zip(starts, sorted(sections.items()), strict=True):
        offset = start - HEADER - len(text)
        body[offset : offset + len(data)] = data
    return signed(text, bytes(body))


def signed(text: bytes, body: bytes = b"", *, version: int = 1, zero: int = 0) -> bytes:
    """A file of any manifest, with a right header.

    Args:
        text: of the manifest.
        body: that follows.
        version: of the container.
        zero: that should be zero.
    """
    size = HEADER + len(text) + len(body)
    facts = struct.pack("<8sIIQQ", MAGIC, version, zero, size, len(text))
    facts += hashlib.sha256(text).digest()
    return facts + hashlib.sha256(facts).digest() + text + body
