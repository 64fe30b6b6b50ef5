"""The first 96 bytes: what they are, and every way in which they can be wrong."""

import hashlib
import struct

import pytest

from tvm_equi.deploy.header import HEADER, MAGIC, MAX_MANIFEST, Header, read_header
from tvm_equi.errors import ArtifactError

GOOD = Header(1000, 10, bytes(range(32)))


def packed(
    *,
    magic: bytes = MAGIC,
    version: int = 1,
    zero: int = 0,
    size: int = 1000,
    manifest_size: int = 10,
) -> bytes:
    """A header with a right checksum."""
    facts = struct.pack("<8sIIQQ32s", magic, version, zero, size, manifest_size, bytes(32))
    return facts + hashlib.sha256(facts).digest()


def test_what_is_packed_is_read() -> None:
    assert len(GOOD.pack()) == HEADER == 96
    assert read_header("file", GOOD.pack(), 1000) == GOOD


def test_bytes() -> None:
    header = GOOD.pack()
    assert header[:8] == bytes.fromhex("89 54 56 4D 45 51 0D 0A")
    assert header[8:16] == b"\x01\0\0\0\0\0\0\0"
    assert header[16:32] == (1000).to_bytes(8, "little") + (10).to_bytes(8, "little")
    assert header[32:64] == bytes(range(32))
    assert header[64:] == hashlib.sha256(header[:64]).digest()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "magic: expected b'\\x89TVMEQ\\r\\n', got b''; this is no model file"),
        (b"\x89TVM", "header: expected 96 bytes, got 4"),
        (b"\x89PNG\r\n\x1a\n" + bytes(88), "magic: expected b'\\x89TVMEQ\\r\\n', got b'\\x89PNG"),
        # What turning line ends into those of another system makes of a file.
        (MAGIC.replace(b"\r\n", b"\n") + bytes(89), "magic: expected b'\\x89TVMEQ\\r\\n', got"),
        (packed()[:-1], "header: expected 96 bytes, got 95"),
        (packed()[:-1] + b"\0", "header: expected its sha256 in its last bytes, got another"),
        (packed(version=2), "version: expected 1, got 2; update tvm_equi"),
        (packed(version=0), "version: expected 1, got 0"),
        (packed(zero=7), "header: expected zero in bytes 12 to 15, got 7"),
        (packed(size=999), "size: expected 999 bytes, got 1000"),
        (packed(size=2**64 - 1), f"size: expected {2**64 - 1} bytes, got 1000"),
        (packed(manifest_size=905), "manifest: expected at most 904 bytes, got 905"),
        (packed(manifest_size=2**64 - 1), f"manifest: expected at most 904 bytes, got {2**64 - 1}"),
    ],
)
def test_refusals(header: bytes, message: str) -> None:
    with pytest.raises(ArtifactError) as error:
        read_header("file", header, 1000)
    assert str(error.value).startswith(f"file: {message}")


def test_old_versions_give_no_advice() -> None:
    with pytest.raises(ArtifactError, match=r"got 0$"):
        read_header("file", packed(version=0), 1000)


def test_manifests_are_not_larger_than_16_mib() -> None:
    size = MAX_MANIFEST + 10_000
    header = packed(size=size, manifest_size=MAX_MANIFEST + 1)
    with pytest.raises(
        ArtifactError, match="manifest: expected at most 16777216 bytes, got 167772"
    ):
        read_header("file", header, size)
    header = packed(size=size, manifest_size=MAX_MANIFEST)
    assert read_header("file", header, size).manifest_size == MAX_MANIFEST


def test_every_bit_counts() -> None:
    good = GOOD.pack()
    for place in range(8 * HEADER):
        wrong = bytearray(good)
        wrong[place // 8] ^= 1 << place % 8
        with pytest.raises(ArtifactError):
            read_header("file", bytes(wrong), 1000)
