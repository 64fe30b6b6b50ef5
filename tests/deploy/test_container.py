"""Model files: written in one step, read completely or refused in words."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.model_files import MANIFEST, SECTIONS, TENSORS, example, rewritten, signed
from tvm_equi.deploy import container
from tvm_equi.deploy.container import ALIGNMENT, Container, decode, encode, read, write
from tvm_equi.deploy.fields import canonical_json
from tvm_equi.deploy.header import HEADER
from tvm_equi.deploy.manifest import SCHEMA_KEY
from tvm_equi.errors import ArtifactError

ROOT = Path(__file__).parent.parent.parent


def refused(data: bytes) -> str:
    with pytest.raises(ArtifactError) as error:
        decode("file", data)
    assert str(error.value).startswith("file: ")
    return str(error.value).removeprefix("file: ")


def check(found: Container) -> None:
    assert found.manifest == MANIFEST
    assert list(found.sections) == sorted(SECTIONS)
    assert {name: bytes(found.section(name)) for name in SECTIONS} == SECTIONS
    assert all(section.offset % ALIGNMENT == 0 for section in found.sections.values())
    tensors = found.parameters()
    assert list(tensors) == sorted(TENSORS)
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        np.testing.assert_array_equal(tensor.array, TENSORS[name].array, strict=True)


def test_written_and_read(tmp_path: Path) -> None:
    path = write(tmp_path / "model.tvmeq", MANIFEST, SECTIONS)
    check(read(path))
    check(decode("file", path.read_bytes()))
    assert [file.name for file in tmp_path.iterdir()] == ["model.tvmeq"]


def test_the_same_bytes_for_the_same_content(tmp_path: Path) -> None:
    backwards = dict(reversed(SECTIONS.items()))
    assert encode(MANIFEST, backwards) == example() == rewritten()
    path = write(tmp_path / "model.tvmeq", MANIFEST, SECTIONS)
    write(path, MANIFEST, SECTIONS)
    assert path.read_bytes() == example()


def test_old_files_are_read_for_ever() -> None:
    """Never write this file again: a new schema gets one of its own."""
    golden = Path(__file__).parent / "golden" / "schema_1.tvmeq"
    check(read(golden))
    assert golden.read_bytes() == example()  # until there is a newer schema


def test_no_sections() -> None:
    manifest = replace(MANIFEST, kernels=(), plans=(), programs=(), parameters=None, graph=None)
    found = decode("file", encode(manifest, {}))
    assert (found.manifest, dict(found.sections), found.parameters()) == (manifest, {}, {})


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
def test_sizes_of_sections(size: int) -> None:
    sections = SECTIONS | {"a": b"\xff" * size, "z": b"\xff" * size}
    found = decode("file", encode(MANIFEST, sections))
    assert bytes(found.section("a")) == bytes(found.section("z")) == b"\xff" * size


def test_sections_are_aligned_views_of_one_read(tmp_path: Path) -> None:
    found = read(write(tmp_path / "model.tvmeq", MANIFEST, SECTIONS))
    for name in SECTIONS:
        view = found.section(name)
        assert view.readonly
        assert view.obj is found.data.obj
        if view.nbytes:
            assert np.frombuffer(view, np.uint8).ctypes.data % ALIGNMENT == 0
    assert not found.parameters()["scale"].array.flags.writeable
    with pytest.raises(ArtifactError, match="expected a section 'graph', got none"):
        found.section("graph")


def test_what_was_checked_is_what_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "model.tvmeq", MANIFEST, SECTIONS)
    found = read(path)
    path.write_bytes(b"")
    check(found)


# Damage


def test_every_flipped_bit_is_noticed() -> None:
    good = example()
    for place in range(len(good)):
        wrong = bytearray(good)
        wrong[place] ^= 1 << place % 8
        with pytest.raises(ArtifactError):
            decode("file", bytes(wrong))


def test_every_shorter_file_is_noticed(tmp_path: Path) -> None:
    good = example()
    path = tmp_path / "model.tvmeq"
    for size in range(len(good)):
        with pytest.raises(ArtifactError):
            decode("file", good[:size])
    for size in (0, 7, 8, 95, 96, 97, len(good) - 1):
        path.write_bytes(good[:size])
        with pytest.raises(ArtifactError, match=rf"^load: {path}: (magic|header|size): expected"):
            read(path)


@pytest.mark.parametrize("more", [b"\0", b"\0" * 64, b"x"])
def test_longer_files(more: bytes) -> None:
    good = example()
    assert refused(good + more) == f"size: expected {len(good)} bytes, got {len(good + more)}"


def test_bytes_between_sections() -> None:
    found = decode("file", example())
    first = next(iter(found.sections.values()))
    text = example()[HEADER:].split(b"}\0")[0] + b"}"
    start = HEADER + len(text)
    assert start < first.offset
    wrong = bytearray(example())
    wrong[first.offset - 1] = 1
    assert refused(bytes(wrong)) == "graph.json: expected zero bytes before it, got others"
    wrong = bytearray(example())
    wrong[first.offset] ^= 1
    assert refused(bytes(wrong)) == "graph.json: expected the manifest's sha256, got another"
    wrong = bytearray(example())
    wrong[HEADER] ^= 1
    assert refused(bytes(wrong)) == "manifest: expected the header's sha256, got another"


# Files whose checksums are right


def entry(number: int, **changes: object) -> Callable[[dict[str, list[dict[str, object]]]], None]:
    """Changes an entry of the table of sections."""

    def change(fields: dict[str, list[dict[str, object]]]) -> None:
        fields["sections"][number] |= changes

    return change


def swapped(fields: dict[str, list[object]]) -> None:
    fields["sections"][0], fields["sections"][1] = fields["sections"][1], fields["sections"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry(0, offset=0), "graph.json: offset: expected 2"),
        (entry(1, offset=64), "k/b2.so: offset: expected 2"),  # overlaps the manifest
        (entry(1, offset=2**63 - 1), "k/b2.so: offset: expected 2"),
        (entry(1, offset=2**64), "manifest: expected whole numbers of 64 bits, got 1844674407370"),
        (entry(1, offset=-64), "manifest: sections[1]: offset: expected a number from 0 to"),
        (entry(1, offset=True), "manifest: sections[1]: offset: expected a number from 0 to"),
        (entry(1, size=2**63 - 1), "k/b2.so: expected to end within the file's "),
        (entry(1, size=73), "k/b2.so: expected the manifest's sha256, got another"),
        (entry(6, size=6), "programs/main/v3.so: expected the manifest's sha256, got another"),
        (entry(6, size=8), "programs/main/v3.so: expected to end within the file's"),
        (entry(1, size="72"), "manifest: sections[1]: size: expected a number"),
        (entry(1, sha256="0" * 64), "k/b2.so: expected the manifest's sha256, got another"),
        (entry(1, sha256="0" * 63), "manifest: sections[1]: sha256: expected 64 hexadecimal dig"),
        (entry(1, sha256="A" * 64), "manifest: sections[1]: sha256: expected 64 hexadecimal dig"),
        (entry(1, name="graph.json"), "manifest: sections: expected 'graph.json' once, got it tw"),
        (entry(1, more=1), "manifest: sections[1]: expected name, offset, sha256, size only, got"),
        (swapped, "k/b2.so: offset: expected 2"),
        (lambda f: f["sections"].pop(), "manifest: programs[0]: libraries: 'x86-64-v3': expected "),
        (lambda f: f["sections"].pop(1), "manifest: kernels[1]: libraries: 'x86-64-v2': expected"),
        (lambda f: f.update(sections=None), "manifest: sections: expected a list, got null"),
        (lambda f: f.update(sections=[[]]), "manifest: sections[0]: expected an object, got a l"),
        (
            lambda f: f.update({SCHEMA_KEY: 2}),
            f"manifest: {SCHEMA_KEY}: expected schema 1, got 2; u",
        ),
    ],
)
def test_tables_that_lie(change: Callable[[object], object], message: str) -> None:
    assert refused(rewritten(change)).startswith(message)


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/etc/passwd", "../evil.so", "a/../b", "a/..", "..", ".", "a/./b", "a//b", "a/"),
        *("a\\b", "C:a", "a b", "a\0", "a\n", "ä", "\u0661", "a,b", "~/a", "a/\u2024\u2024/b"),
    ],
)
def test_names_that_leave_the_file(name: str) -> None:
    def change(fields: dict[str, list[dict[str, object]]]) -> None:
        fields["sections"][0]["name"] = name

    assert refused(rewritten(change)).startswith("manifest: sections[0]: name: expected parts of l")
    with pytest.raises(ArtifactError, match="save: sections: expected parts of letters, digits"):
        encode(MANIFEST, SECTIONS | {name: b""})


@pytest.mark.parametrize("name", ["a", "...", ".a", "a..b", "..a/b..", "A-Z_0.9/x"])
def test_names_that_look_odd(name: str) -> None:
    assert bytes(decode("f", encode(MANIFEST, SECTIONS | {name: b"x"})).section(name)) == b"x"


def test_a_section_that_nobody_mentions_is_checked_too() -> None:
    data = rewritten(sections=SECTIONS | {"z": b"notes"})
    assert bytes(decode("file", data).section("z")) == b"notes"
    assert refused(data[:-1] + b"S") == "z: expected the manifest's sha256, got another"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "manifest: expected JSON in UTF-8, got: Expecting value"),
        (b"[]", "manifest: expected an object, got a list of 0"),
        (b"{}", f"manifest: {SCHEMA_KEY}: expected schema 1, got null"),
        (
            b'{"%s":true}' % SCHEMA_KEY.encode(),
            f"manifest: {SCHEMA_KEY}: expected schema 1, got tr",
        ),
        (
            b'{"%s":1,"a":1,"a":1}' % SCHEMA_KEY.encode(),
            "manifest: 'a': expected the key once, got",
        ),
        (b'{"%s":1}' % SCHEMA_KEY.encode(), "manifest: sections: expected a list, got null"),
        (b'{"%s":1,"z":NaN}' % SCHEMA_KEY.encode(), "manifest: expected whole numbers of 64 bits"),
        (
            b'{"%s": 1}' % SCHEMA_KEY.encode(),
            "manifest: expected sorted keys and no spaces, got an",
        ),
        # A newer schema is told by its number, whatever else it changes.
        (
            b'{"z": [1], "%s": 2}' % SCHEMA_KEY.encode(),
            f"manifest: {SCHEMA_KEY}: expected schema 1",
        ),
    ],
)
def test_manifests_that_are_none(text: bytes, message: str) -> None:
    assert refused(signed(text)).startswith(message)


def test_newer_containers() -> None:
    text = canonical_json({})
    assert refused(signed(text, version=2)) == "version: expected 1, got 2; update tvm_equi"
    assert refused(signed(text, zero=1)) == "header: expected zero in bytes 12 to 15, got 1"


def test_parameters_that_do_not_fit() -> None:
    data = rewritten(sections=SECTIONS | {"parameters.safetensors": b"\xff" * 8})
    assert refused(data).startswith("parameters.safetensors: header: expected at most 0 bytes, got")

    def change(fields: dict[str, list[dict[str, object]]]) -> None:
        fields["programs"][0]["parameters"] = ["scale", "scales"]

    wanted = (
        "manifest: programs: main: parameters: expected a tensor of parameters.safetensors, got"
    )
    assert refused(rewritten(change)).startswith(wanted)


# Files


def test_places_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"load: .*: expected a model file, got: No such file"):
        read(tmp_path / "absent.tvmeq")
    with pytest.raises(ArtifactError, match=r"expected a model file, got something else"):
        read(tmp_path)
    with pytest.raises(ArtifactError, match=r"expected a model file, got something else"):
        read("/dev/zero")
    with pytest.raises(ArtifactError, match=r"expected a model file, got: embedded null"):
        read("model\0.tvmeq")
    os.mkfifo(tmp_path / "pipe.tvmeq")
    with pytest.raises(ArtifactError, match=r"expected a model file, got something else"):
        read(tmp_path / "pipe.tvmeq")


def test_a_size_that_no_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file of 8 EiB: as long as its header says, and with nothing in it."""
    path = tmp_path / "model.tvmeq"
    size = 1 << 45
    facts = example()[:16] + size.to_bytes(8, "little") + example()[24:64]
    with path.open("wb") as file:
        file.write(facts + hashlib.sha256(facts).digest())
        file.truncate(min(size, 1 << 40))

    def no_room(size: int) -> memoryview:
        raise MemoryError

    with pytest.raises(ArtifactError, match=f"size: expected {size} bytes, got 1099511627776"):
        read(path)
    with path.open("r+b") as file:
        facts = facts[:16] + (1 << 40).to_bytes(8, "little") + facts[24:]
        file.write(facts + hashlib.sha256(facts).digest())
    monkeypatch.setattr(container, "_room", no_room)
    with pytest.raises(ArtifactError, match="expected memory for 1099511627776 bytes, got none"):
        read(path)


def test_files_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "empty").write_text("")
    for path, message in [
        (tmp_path, "save: path: expected a file to write, got the folder"),
        (
            tmp_path / "thesis.tex",
            "save: path: expected a new file or a model file to replace, got",
        ),
        (
            tmp_path / "thesis.tex" / "a.tvmeq",
            "save: path: expected a file that can be written, got",
        ),
        (tmp_path / "no" / "a.tvmeq", "save: path: expected a file that can be written, got"),
        (Path("a\0b"), "save: path: expected a file that can be written, got .*embedded null"),
        (Path("a\0b/c"), "save: path: expected a file that can be written, got .*embedded null"),
        (Path(), "save: path: expected a file to write, got the folder"),
        (Path("/"), "save: path: expected a file to write, got the folder"),
    ]:
        with pytest.raises(ArtifactError, match=message):
            write(path, MANIFEST, SECTIONS)
    write(tmp_path / "empty", MANIFEST, SECTIONS)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "thesis.tex"]


def test_what_read_would_refuse_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match="save: manifest: kernels\\[0\\]: libraries: 'x86-64-v2'"
    ):
        write(tmp_path / "a.tvmeq", MANIFEST, {"graph.json": b""})
    manifest = replace(MANIFEST, dtype="int8")
    with pytest.raises(ArtifactError, match="save: manifest: dtype: expected one of 'float32', "):
        write(tmp_path / "a.tvmeq", manifest, SECTIONS)
    assert not list(tmp_path.iterdir())


def test_neither_torch_nor_tvm_nor_e3nn_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "model.tvmeq", MANIFEST, SECTIONS)
    code = f"""
import sys
for name in ("torch", "tvm", "e3nn", "networkx", "scipy", "tvm_ffi"):
    sys.modules[name] = None  # importing it fails
from tvm_equi.deploy.container import read
from tvm_equi.deploy.targets import best_cpu_target
found = read({str(path)!r})
print(best_cpu_target("file", found.manifest.targets[:1]).name, len(found.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "x86-64-v2 5\n", done.stderr
