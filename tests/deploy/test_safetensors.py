"""safetensors with numpy alone: as the package of that name reads and writes it, or refused."""

import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tvm_equi.deploy.safetensors import CODES, Tensor, numpy_dtype, read_tensors, write_tensors
from tvm_equi.errors import ArtifactError


def tensor(dtype: str, *shape: int) -> Tensor:
    values = np.random.default_rng(3).integers(0, 2, shape)
    return Tensor(dtype, np.asarray(values).astype(numpy_dtype(dtype)))


ALL = {f"a.{dtype}": tensor(dtype, 2, 3) for dtype in CODES} | {
    "scalar": tensor("float32"),
    "empty": tensor("float64", 0, 3),
    "é\n": tensor("int8", 1),
}


def equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and bool(np.array_equal(one.array, other.array))


def test_written_and_read() -> None:
    data = write_tensors(ALL)
    found = read_tensors("file", data)
    assert list(found) == sorted(ALL)
    assert all(equal(found[name], ALL[name]) for name in ALL)
    assert all(found[name].array.shape == ALL[name].array.shape for name in ALL)
    assert write_tensors(dict(reversed(found.items()))) == data


def test_the_package_reads_what_is_written() -> None:
    names = [name for name in ALL if "bfloat16" not in name]  # numpy has none
    found = safetensors.numpy.load(write_tensors({name: ALL[name] for name in names}))
    assert found.keys() == set(names)
    for name in names:
        np.testing.assert_array_equal(found[name], ALL[name].array, strict=True)
    entries = dict(safetensors.deserialize(write_tensors(ALL)))
    assert entries["a.bfloat16"]["dtype"] == "BF16"
    assert bytes(entries["a.bfloat16"]["data"]) == ALL["a.bfloat16"].array.tobytes()


def test_what_the_package_writes_is_read() -> None:
    given = {name: each.array for name, each in ALL.items() if "bfloat16" not in name}
    data = safetensors.numpy.save(given, metadata={"format": "np"})
    found = read_tensors("file", data)
    assert found.keys() == given.keys()
    for name, array in given.items():
        np.testing.assert_array_equal(found[name].array, array, strict=True)


def test_views_that_are_not_contiguous_or_little_endian() -> None:
    array = np.arange(6, dtype=">f4").reshape(2, 3)
    found = read_tensors("file", write_tensors({"a": Tensor("float32", array.T)}))["a"]
    assert found.array.dtype == "<f4"
    np.testing.assert_array_equal(found.array, array.T)


def test_tensors_start_at_a_multiple_of_64() -> None:
    for count in range(30):
        data = write_tensors({"x" * count: tensor("float32", 3)})
        assert (len(data) - 12) % 64 == 0
        read_tensors("file", data)


def test_nothing_is_copied() -> None:
    data = write_tensors(ALL)
    found = read_tensors("file", data)["a.float32"].array
    assert not found.flags.writeable
    assert not found.flags.owndata


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Tensor("float128", np.zeros(1)), "save: parameters: 'a': dtype: expected one of 'bool'"),
        (Tensor("float32", np.zeros(1)), "save: parameters: 'a': expected float32, got float64"),
        (Tensor("bfloat16", np.zeros(1)), "save: parameters: 'a': expected uint16, got float64"),
    ],
)
def test_tensors_that_are_not_written(given: Tensor, message: str) -> None:
    with pytest.raises(ArtifactError) as error:
        write_tensors({"a": given})
    assert str(error.value).startswith(message)


def test_the_name_of_the_formats_own_field() -> None:
    with pytest.raises(ArtifactError, match="'__metadata__': expected another name"):
        write_tensors({"__metadata__": tensor("float32", 1)})


def packed(header: object, data: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def one(dtype: str = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


FOUR = b"\0" * 4

WRONG: list[tuple[bytes, str]] = [
    (b"", "expected 8 bytes or more, got 0"),
    (b"\0" * 7, "expected 8 bytes or more, got 7"),
    (b"\0" * 8, "header: expected '{', got b''"),
    (packed({}, size=3), "header: expected at most 2 bytes, got 3"),
    (packed({}, size=2**64 - 1), f"header: expected at most 2 bytes, got {2**64 - 1}"),
    (packed({}, size=2**63), f"header: expected at most 2 bytes, got {2**63}"),
    (packed(b" {}"), "header: expected '{', got b' '"),
    (packed(b"[]"), "header: expected '{', got b'['"),
    (packed(b"{}x"), "header: expected JSON in UTF-8, got: Extra data"),
    (packed(b"{}\0"), "header: expected JSON in UTF-8, got: Extra data"),
    (packed(b'{"a\xff":1}'), "header: expected JSON in UTF-8, got: 'utf-8' codec"),
    (packed(b'{"a":{"dtype":"F32"},"a":{}}'), "header: 'a': expected the key once, got it twice"),
    (packed({"a": 1}), "'a': expected an object, got 1"),
    (packed({"a": {"dtype": "F32"}}), "'a': expected data_offsets, shape, got none"),
    (packed({"a": one() | {"x": 1}}, FOUR), "'a': expected data_offsets, dtype, shape only, got "),
    (packed({"__metadata__": []}), "__metadata__: expected an object, got a list of 0"),
    (packed({"__metadata__": {"a": 1}}), "__metadata__: 'a': expected a text, got 1"),
    (packed({"a": one("F8_E4M3")}, FOUR), "'a': dtype: expected one of 'BOOL', 'U8', 'I8', 'I16'"),
    (packed({"a": one("f32")}, FOUR), "'a': dtype: expected one of 'BOOL', 'U8'"),
    (packed({"a": one(shape=[-1])}, FOUR), "'a': shape[0]: expected a number from 0 to"),
    (packed({"a": one(shape=[True])}, FOUR), "'a': shape[0]: expected a number from 0 to"),
    (packed({"a": one(shape=["1"])}, FOUR), "'a': shape[0]: expected a number from 0 to"),
    (packed({"a": one(shape=1)}, FOUR), "'a': shape: expected a list, got 1"),
    (
        packed({"a": one(shape=[2])}, FOUR),
        "'a': data_offsets: expected 8 bytes for float32 [2], got",
    ),
    (
        packed({"a": one(shape=[0])}, FOUR),
        "'a': data_offsets: expected 0 bytes for float32 [0], got",
    ),
    (
        packed({"a": one(shape=[2**62, 4])}, FOUR),
        "'a': data_offsets: expected 73786976294838206464 ",
    ),
    (packed({"a": one(shape=[2**62] * 65)}), "'a': shape: expected at most 64 sizes, got 65"),
    (packed({"a": one(offsets=[0])}, FOUR), "'a': data_offsets: expected [start, end], got (0,)"),
    (
        packed({"a": one(offsets=[4, 0])}, FOUR),
        "'a': data_offsets: expected [start, end], got (4, ",
    ),
    (packed({"a": one(offsets=[0, 2**64])}, FOUR), "header: expected whole numbers of 64 bits"),
    (packed({"a": one(offsets=[2**63 - 5, 2**63 - 1])}, FOUR), "'a': data_offsets: expected to st"),
    (packed({"a": one(offsets=[4, 8])}, FOUR * 2), "'a': data_offsets: expected to start at 0, wh"),
    (
        packed({"a": one(), "b": one()}, FOUR),
        "'b': data_offsets: expected to start at 4, where the",
    ),
    (
        packed({"a": one(), "b": one(offsets=[2, 6])}, FOUR * 2),
        "'b': data_offsets: expected to sta",
    ),
    (
        packed({"a": one(), "b": one(offsets=[8, 12])}, FOUR * 3),
        "'b': data_offsets: expected to st",
    ),
    (packed({"a": one()}, FOUR + b"x"), "expected 4 bytes of tensors, got 5"),
    (packed({"a": one()}, FOUR[1:]), "expected 4 bytes of tensors, got 3"),
    (packed({"a": one("BOOL", [4])}, b"\0\1\2\1"), "'a': expected bytes 0 and 1 for bool, got oth"),
    (packed(b'{"a":' + b"[" * 100_000), "header: expected JSON, got lists within lists too deep"),
    (packed(b'{"a":NaN}'), "header: expected whole numbers of 64 bits, got NaN"),
]


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_refusals(data: bytes, message: str) -> None:
    with pytest.raises(ArtifactError) as error:
        read_tensors("file", data)
    assert str(error.value).startswith(f"file: {message}")
    assert len(str(error.value)) < 300


STRICTER = {
    "header: expected '{', got b' '",  # the specification says so
    "'a': expected data_offsets, dtype, shape only, got ",
    "'a': expected bytes 0 and 1 for bool, got oth",
}


def test_the_package_refuses_these_too() -> None:
    for data, message in WRONG:
        if message in STRICTER:
            safetensors.numpy.load(data)
        else:
            with pytest.raises((safetensors.SafetensorError, KeyError)):
                safetensors.numpy.load(data)


def test_the_largest_header() -> None:
    data = packed(b"{" + b" " * 100_000_000)
    with pytest.raises(
        ArtifactError, match="header: expected at most 100000000 bytes, got 1000000"
    ):
        read_tensors("file", data)


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([1] * 64, FOUR),  # numpy before version 2 has 32 axes
        ([0, 2**62, 2**62], b""),
        ([2**62, 0], b""),
        ([0, 2**63 - 1], b""),
    ],
)
def test_shapes_that_numpy_may_not_have(shape: list[int], data: bytes) -> None:
    file = packed({"a": one(shape=shape, offsets=[0, len(data)])}, data)
    try:
        found = read_tensors("file", file)["a"].array.shape
    except ArtifactError as error:
        found = str(error)
    assert found == tuple(shape) or str(found).startswith(
        "file: 'a': shape: expected one for numpy"
    )
