"""The first 96 bytes of a model file.

In: facts, or bytes. Out: the other. Refused: what is no model file, what was cut or changed, and
what a newer tvm_equi wrote.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from tvm_equi.errors import ArtifactError

MAGIC = b"\x89TVMEQ\r\n"
VERSION = 1
MAX_MANIFEST = 16 << 20

_FACTS = struct.Struct("<8sIIQQ32s")
"""Magic, version, zero, size of the file, size and sha256 of the manifest; the last 32 bytes of the
header are the sha256 of these."""

HEADER = _FACTS.size + 32


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says.

    Args:
        size: of the file.
        manifest_size: of the manifest behind the header.
        manifest_sha256: of the manifest, 32 bytes.
    """

    size: int
    manifest_size: int
    manifest_sha256: bytes

    def pack(self) -> bytes:
        """The bytes of the header."""
        facts = _FACTS.pack(MAGIC, VERSION, 0, self.size, self.manifest_size, self.manifest_sha256)
        return facts + hashlib.sha256(facts).digest()


def read_header(where: str, header: bytes, found: int) -> Header:
    """What a header says, checked.

    Args:
        where: names the file in errors.
        header: the first 96 bytes of the file, or as many as it has.
        found: bytes that the file has.

    Raises:
        ArtifactError: no model file, a damaged one, or one of a newer version.
    """
    if not header or header[: len(MAGIC)] != MAGIC[: len(header)]:
        raise ArtifactError(
            f"{where}: magic: expected {MAGIC!r}, got {header[: len(MAGIC)]!r}; "
            "this is no model file"
        )
    if len(header) < HEADER:
        raise ArtifactError(f"{where}: header: expected {HEADER} bytes, got {len(header)}")
    facts, digest = header[: _FACTS.size], header[_FACTS.size :]
    if hashlib.sha256(facts).digest() != digest:
        raise ArtifactError(f"{where}: header: expected its sha256 in its last bytes, got another")
    _, version, zero, size, manifest_size, manifest_sha256 = _FACTS.unpack(facts)
    if version != VERSION:
        advice = "; update tvm_equi" if version > VERSION else ""
        raise ArtifactError(f"{where}: version: expected {VERSION}, got {version}{advice}")
    if zero:
        raise ArtifactError(f"{where}: header: expected zero in bytes 12 to 15, got {zero}")
    if size != found:
        raise ArtifactError(f"{where}: size: expected {size} bytes, got {found}")
    limit = min(MAX_MANIFEST, size - HEADER)
    if manifest_size > limit:
        raise ArtifactError(
            f"{where}: manifest: expected at most {limit} bytes, got {manifest_size}"
        )
    return Header(size, manifest_size, manifest_sha256)
