"""The page about model files: its dumps are a file's, its reader reads real ones."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deploy.model_files import SECTIONS, example
from tests.graphs import convolution
from tvm_equi.compiler import compile
from tvm_equi.deploy.container import decode, encode
from tvm_equi.deploy.header import HEADER
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
from tvm_equi.deploy.manifest_reader import FIELDS
from tvm_equi.deploy.safetensors import CODES, Tensor, write_tensors

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
TEXT = PAGE.read_text(encoding="utf-8")


def small() -> bytes:
    """The file of the example."""
    tensors = {
        "scale": Tensor("float32", np.array([0.5, -2.0], "<f4")),
        "species": Tensor("int64", np.array([1, 6, 8], "<i8")),
    }
    manifest = Manifest(
        {"tvm_equi": "0.1.0"},
        "float32",
        0,
        (Target("x86-64-v2", "x86_64", ("sse4_2", "ssse3")),),
        parameters="parameters.safetensors",
        graph="graph.json",
    )
    sections = {"parameters.safetensors": write_tensors(tensors), "graph.json": b"{}"}
    return encode(manifest, sections)


def dump(data: bytes, start: int, stop: int) -> list[str]:
    """Lines of 16 bytes each: where, in hexadecimal, as text."""
    lines = []
    for offset in range(start // 16 * 16, stop, 16):
        part = data[offset : min(offset + 16, stop)]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"    {offset:08x}  {part.hex(' '):<47}  |{shown}|")
    return lines


def test_dumps() -> None:
    data = small()
    every = dump(data, 0, len(data))
    found = re.findall(r"^    [0-9a-f]{8}  .*$", TEXT, re.MULTILINE)
    assert len(found) > 20
    assert set(found) <= set(every)
    assert found[:7] == every[:7]  # the header, whole
    sections = decode("file", data).sections
    last = list(sections.values())[-1]
    assert found[-1] == every[-1]
    assert f"It ends at byte {HEADER + len(manifest_text(data))}; " in TEXT
    assert f"the first tensor at byte {last.offset + last.size - 8 - 24}:" in TEXT


def manifest_text(data: bytes) -> bytes:
    length = int.from_bytes(data[24:32], "little")
    return data[HEADER : HEADER + length]


def test_the_manifest_of_the_example() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert json.loads(shown) == json.loads(manifest_text(small()))


@pytest.fixture(scope="module")
def read_model() -> Any:
    """The page's reader."""
    names: dict[str, Any] = {}
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(code, names)
    return names["read_model"]


def test_the_reader(read_model: Any, tmp_path: Path) -> None:
    manifest, sections = read_model(example())
    assert sections == SECTIONS
    model = compile(convolution(), derivatives=0).save(tmp_path / "model.tvmeq").read_bytes()
    manifest, sections = read_model(model)
    found = decode("file", model)
    assert {name: bytes(found.section(name)) for name in found.sections} == sections
    assert manifest == manifest_fields(found.manifest) | {"sections": manifest["sections"]}


def test_the_reader_is_no_fool(read_model: Any) -> None:
    good = small()
    for place in range(0, len(good), 7):
        wrong = bytearray(good)
        wrong[place] ^= 1
        with pytest.raises((AssertionError, ValueError)):
            read_model(bytes(wrong))


def test_every_field_is_described() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == list(FIELDS)
    entries = (Target("a", "b"), Target("a", architectures=("a",)))
    kernel, plan = (
        KernelEntry("k", "d", {}),
        PlanEntry("", "", (), (), (PassEntry("", "", (), (), ()),)),
    )
    program = ProgramEntry("m", (Value("x", "d", ()),), (), (), {}, {})
    fields = manifest_fields(Manifest({}, "d", 0, entries, (kernel,), (plan,), programs=(program,)))
    objects = [
        *fields["targets"],
        *fields["kernels"],
        *fields["plans"],
        fields["plans"][0]["passes"][0],
        *fields["programs"],
        fields["programs"][0]["inputs"][0],
        json.loads(manifest_text(example()))["sections"][0],
    ]
    for each in objects:
        described = [
            set(re.findall(r'"(\w+)"', found)) for found in re.findall(r"`\{(.*?)\}`", TEXT)
        ]
        assert set(each) in described
    for code in CODES.values():
        assert re.search(rf"dtypes: .*\b{code}\b", TEXT)
