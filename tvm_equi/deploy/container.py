"""The model file (`.tvmeq`): a header, a manifest, and sections that it vouches for.

In: fields of a manifest and the bytes of sections, or a file. Out: a file, written in one step and
the same in every byte for the same content, or a `Container`, of which everything was checked:
header, manifest, padding, the size, and the sha256 of each section. Nothing is executed here.
`docs/format.md` has the format byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvm_equi.deploy.fields import (
    as_count,
    as_list,
    as_name,
    as_object,
    canonical_json,
    check_unique,
    is_canonical,
    parse_json,
    shown,
)
from tvm_equi.deploy.header import HEADER, MAGIC, MAX_MANIFEST, Header, read_header
from tvm_equi.deploy.manifest import Manifest, manifest_fields
from tvm_equi.deploy.manifest_reader import check_schema, read_manifest
from tvm_equi.deploy.safetensors import Tensor, read_tensors
from tvm_equi.errors import ArtifactError

ALIGNMENT = 64
"""Of sections in the file, and of the file in memory."""

_section_name = as_name(
    re.compile(r"(?!\.\.?(?:/|$))[A-Za-z0-9_.-]+(?:/(?!\.\.?(?:/|$))[A-Za-z0-9_.-]+)*"),
    "parts of letters, digits and _ . - with / between, none of them '.' or '..'",
)
_digest = as_name(re.compile(r"[0-9a-f]{64}"), "64 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a model file.

    Args:
        name: of the part.
        offset: of its first byte in the file.
        size: in bytes.
        sha256: of its bytes, in hexadecimal.
    """

    name: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Container:
    """A model file in memory, checked completely.

    Args:
        where: names it in errors.
        manifest: of the file.
        sections: by name, in the order of the file.
        data: the whole file, read-only, at an address that is a multiple of 64.
    """

    where: str
    manifest: Manifest
    sections: Mapping[str, Section]
    data: memoryview

    def section(self, name: str) -> memoryview:
        """The bytes of a section, which are not copied.

        Args:
            name: of the section.

        Raises:
            ArtifactError: there is no such section.
        """
        if name not in self.sections:
            raise ArtifactError(f"{self.where}: expected a section {shown(name)}, got none")
        section = self.sections[name]
        return self.data[section.offset : section.offset + section.size]

    def parameters(self) -> dict[str, Tensor]:
        """Parameters by name, which are views of the file; none if it has none."""
        name = self.manifest.parameters
        return {} if name is None else read_tensors(f"{self.where}: {name}", self.section(name))


def encode(manifest: Manifest, sections: Mapping[str, bytes]) -> bytes:
    """The bytes of a model file.

    Args:
        manifest: of the file.
        sections: by name.

    Raises:
        ArtifactError: something that `decode` would refuse.
    """
    names = sorted(sections)
    for name in names:
        _section_name("save: sections", name)
    table = [
        {
            "name": name,
            "offset": 0,
            "size": len(sections[name]),
            "sha256": hashlib.sha256(sections[name]).hexdigest(),
        }
        for name in names
    ]
    fields = manifest_fields(manifest) | {"sections": table}
    read_manifest("save: manifest", fields, names)
    text = canonical_json(fields)
    while True:  # offsets depend on the manifest's size, which never shrinks as they grow
        end = HEADER + len(text)
        for section in table:
            section["offset"] = _aligned(end)
            end = _aligned(end) + len(sections[str(section["name"])])
        before, text = text, canonical_json(fields)
        if len(text) == len(before):
            break
    if len(text) > MAX_MANIFEST:
        raise ArtifactError(f"save: manifest: expected at most 16 MiB, got {len(text)} bytes")
    data = bytearray(end)
    data[: HEADER + len(text)] = Header(end, len(text), hashlib.sha256(text).digest()).pack() + text
    for name, section in zip(names, table, strict=True):
        offset = int(str(section["offset"]))
        data[offset : offset + len(sections[name])] = sections[name]
    decode("save", data)
    return bytes(data)


def write(path: str | Path, manifest: Manifest, sections: Mapping[str, bytes]) -> Path:
    """Writes a model file in one step: there is the whole file, or what was there before.

    Args:
        path: of the file; a file there is replaced.
        manifest: of the file.
        sections: by name.

    Returns:
        The path.

    Raises:
        ArtifactError: something that `read` would refuse, or a file that cannot be written.
    """
    path = Path(path)
    data = encode(manifest, sections)
    check_place(path)
    try:
        staging = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with staging.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # such as of a zero byte in the name
        raise ArtifactError(_unwritable(path, error)) from error
    return path


def check_place(path: str | Path) -> None:
    """Refuses a path that no model can be saved to: before one is compiled for it, say.

    Args:
        path: of the file.

    Raises:
        ArtifactError: the folder is missing or cannot be written to, or at the path there is a
            folder, or a file of another kind, which would be lost.
    """
    path = Path(path)
    try:
        if not path.exists():
            if not os.access(path.parent, os.W_OK | os.X_OK) or not path.parent.is_dir():
                raise ArtifactError(_unwritable(path, f"no folder {path.parent} to write to"))
            return
        if not path.is_file():
            kind = "folder" if path.is_dir() else "device"
            raise ArtifactError(f"save: path: expected a file to write, got the {kind} {path}")
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except (OSError, ValueError) as error:  # such as of a zero byte in the folder's name
        raise ArtifactError(_unwritable(path, error)) from error
    if start not in (b"", MAGIC):
        raise ArtifactError(
            f"save: path: expected a new file or a model file to replace, got {path}"
        )


def _unwritable(path: Path, why: object) -> str:
    return f"save: path: expected a file that can be written, got {path} ({why})"


def read(path: str | Path) -> Container:
    """A model file, after all of it was checked.

    The file is read into memory once, so that what was checked is what is used.

    Args:
        path: of the file.

    Raises:
        ArtifactError: no such file, no model file, one that is damaged or of a newer version.
    """
    path = Path(path)
    where = f"load: {path}"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            raise ArtifactError(f"{where}: expected a model file, got something else")
        with path.open("rb", buffering=0) as file:
            found = os.fstat(file.fileno()).st_size
            header = file.read(HEADER)
            size = read_header(where, header, found).size
            data = _room(size)
            data[:HEADER] = header
            done = HEADER
            while done < size and (count := file.readinto(data[done:])):
                done += count
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"{where}: expected a model file, got: {reason}") from error
    except MemoryError as error:
        raise ArtifactError(f"{where}: expected memory for {size} bytes, got none") from error
    if done < size:
        raise ArtifactError(f"{where}: size: expected {size} bytes, got {done}")
    return decode(where, data)


def decode(where: str, data: bytes | bytearray | memoryview) -> Container:
    """A model file's content, after all of it was checked.

    Args:
        where: names it in errors.
        data: the whole file.

    Raises:
        ArtifactError: no model file, one that is damaged or of a newer version.
    """
    view = memoryview(data).toreadonly()
    header = read_header(where, bytes(view[:HEADER]), len(view))
    text = bytes(view[HEADER : HEADER + header.manifest_size])
    if hashlib.sha256(text).digest() != header.manifest_sha256:
        raise ArtifactError(f"{where}: manifest: expected the header's sha256, got another")
    here = f"{where}: manifest"
    fields = parse_json(here, text)
    check_schema(here, fields)  # first: a newer schema may write JSON in another way
    if not is_canonical(text, fields):
        raise ArtifactError(f"{here}: expected sorted keys and no spaces, got another form")
    sections = _sections(f"{here}: sections", as_object(here, fields).get("sections"))
    manifest = read_manifest(here, fields, sections)
    _check_sections(where, view, HEADER + len(text), sections)
    container = Container(where, manifest, sections, view)
    _check_parameters(container)
    return container


def _aligned(offset: int) -> int:
    """The next multiple of the alignment."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _room(size: int) -> memoryview:
    """Memory for a file, aligned as sections are."""
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room.data[start : start + size]


def _sections(where: str, value: Any) -> dict[str, Section]:
    """The table of sections."""

    def section(where: str, value: Any) -> Section:
        fields = as_object(where, value, ("name", "offset", "size", "sha256"))
        return Section(
            _section_name(f"{where}: name", fields["name"]),
            as_count(f"{where}: offset", fields["offset"]),
            as_count(f"{where}: size", fields["size"]),
            _digest(f"{where}: sha256", fields["sha256"]),
        )

    found = as_list(where, value, section)
    check_unique(where, [section.name for section in found])
    return {section.name: section for section in found}


def _check_sections(
    where: str, data: memoryview, end: int, sections: Mapping[str, Section]
) -> None:
    """Refuses sections that are not one behind the other, and bytes that they do not vouch for.

    Raises:
        ArtifactError: naming the section.
    """
    for section in sections.values():
        here = f"{where}: {section.name}"
        if section.offset != _aligned(end):
            raise ArtifactError(
                f"{here}: offset: expected {_aligned(end)}, where the part before it ends, "
                f"got {section.offset}"
            )
        if section.offset + section.size > len(data):
            raise ArtifactError(
                f"{here}: expected to end within the file's {len(data)} bytes, "
                f"got {section.offset + section.size}"
            )
        if any(data[end : section.offset]):
            raise ArtifactError(f"{here}: expected zero bytes before it, got others")
        end = section.offset + section.size
        if hashlib.sha256(data[section.offset : end]).hexdigest() != section.sha256:
            raise ArtifactError(f"{here}: expected the manifest's sha256, got another")
    if end != len(data):
        raise ArtifactError(f"{where}: size: expected {end} bytes by the manifest, got {len(data)}")


def _check_parameters(container: Container) -> None:
    """Refuses parameters that cannot be read, and programs that want others.

    Raises:
        ArtifactError: naming the program and the parameter.
    """
    known = container.parameters()
    for program in container.manifest.programs:
        for name in program.parameters:
            if name not in known:
                raise ArtifactError(
                    f"{container.where}: manifest: programs: {program.name}: parameters: "
                    f"expected a tensor of {container.manifest.parameters}, got {shown(name)}"
                )
