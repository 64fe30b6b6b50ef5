"""Tensors by name in the safetensors format, with numpy alone.

In: tensors, or bytes that nobody vouches for. Out: bytes, the same for the same tensors, or views
of them. Refused, with the tensor's name: anything that the format's own reader refuses, such as
tensors that overlap, leave holes or do not fill their part, and dtypes that numpy has none for.

Source: the format's specification, github.com/huggingface/safetensors, README.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from tvm_equi.deploy.fields import (
    as_choice,
    as_count,
    as_list,
    as_object,
    as_text,
    canonical_json,
    parse_json,
    shown,
)
from tvm_equi.errors import ArtifactError

MAX_HEADER = 100_000_000
"""Of the format's own reader."""

ALIGNMENT = 64
"""Of the first tensor, by spaces at the end of the header."""

METADATA = "__metadata__"

CODES = MappingProxyType(
    {
        "bool": "BOOL",
        "uint8": "U8",
        "int8": "I8",
        "int16": "I16",
        "int32": "I32",
        "int64": "I64",
        "float16": "F16",
        "bfloat16": "BF16",
        "float32": "F32",
        "float64": "F64",
    }
)
"""What the format calls dtypes."""

_DTYPES = {code: dtype for dtype, code in CODES.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor.

    Args:
        dtype: "float32", "bfloat16" and so on.
        array: of this dtype; of bfloat16, which numpy has none for, the bits as uint16.
    """

    dtype: str
    array: np.ndarray[Any, Any]


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The dtype of a tensor's array, little-endian.

    Args:
        dtype: of the tensor.
    """
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")


def write_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """The file of some tensors, sorted by name.

    Args:
        tensors: by name.

    Raises:
        ArtifactError: a dtype that is not known, or not that of the array.
    """
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    end = 0
    for name in sorted(tensors):
        where = f"save: parameters: {shown(name)}"
        tensor = tensors[name]
        code = CODES[as_choice(f"{where}: dtype", tensor.dtype, CODES)]
        wanted = numpy_dtype(tensor.dtype)
        if tensor.array.dtype.newbyteorder("<") != wanted:
            raise ArtifactError(f"{where}: expected {wanted.name}, got {tensor.array.dtype}")
        if name == METADATA:
            raise ArtifactError(f"{where}: expected another name, which is not the format's own")
        parts.append(tensor.array.astype(wanted, order="C", copy=False).tobytes())
        offsets = [end, end + len(parts[-1])]
        end = offsets[1]
        header[name] = {"dtype": code, "shape": list(tensor.array.shape), "data_offsets": offsets}
    text = canonical_json(header)
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise ArtifactError(f"save: parameters: expected a header of 100 MB, got {len(text)} bytes")
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def read_tensors(where: str, data: bytes | memoryview) -> dict[str, Tensor]:
    """The tensors of a file, in its order; views of the data.

    Args:
        where: names the file in errors.
        data: the whole file.

    Raises:
        ArtifactError: see the module.
    """
    view = memoryview(data).toreadonly()
    if len(view) < 8:
        raise ArtifactError(f"{where}: expected 8 bytes or more, got {len(view)}")
    (length,) = struct.unpack("<Q", view[:8])
    if length > min(MAX_HEADER, len(view) - 8):
        raise ArtifactError(
            f"{where}: header: expected at most {min(MAX_HEADER, len(view) - 8)} bytes, "
            f"got {length}"
        )
    text, rest = bytes(view[8 : 8 + length]), view[8 + length :]
    if not text.startswith(b"{"):
        raise ArtifactError(f"{where}: header: expected '{{', got {text[:1]!r}")
    fields = as_object(f"{where}: header", parse_json(f"{where}: header", text))
    metadata = as_object(f"{where}: {METADATA}", fields.get(METADATA, {}))
    for key, value in metadata.items():
        as_text(f"{where}: {METADATA}: {shown(key)}", value)
    parts = [
        _part(f"{where}: {shown(name)}", name, value)
        for name, value in fields.items()
        if name != METADATA
    ]
    parts.sort(key=lambda part: (part.start, part.end))
    end = 0
    for part in parts:
        if part.start != end:
            raise ArtifactError(
                f"{where}: {shown(part.name)}: data_offsets: expected to start at {end}, where the "
                f"tensor before it ends, got {part.start}"
            )
        end = part.end
    if end != len(rest):
        raise ArtifactError(f"{where}: expected {end} bytes of tensors, got {len(rest)}")
    return {part.name: part.tensor(f"{where}: {shown(part.name)}", rest) for part in parts}


@dataclass(frozen=True, slots=True)
class _Part:
    """Where a tensor is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    def tensor(self, where: str, data: memoryview) -> Tensor:
        """The tensor, a view.

        Raises:
            ArtifactError: a bool that is neither 0 nor 1, or more dimensions than numpy has.
        """
        flat = np.frombuffer(data[self.start : self.end], numpy_dtype(self.dtype))
        if self.dtype == "bool" and flat.size and flat.view(np.uint8).max() > 1:
            raise ArtifactError(f"{where}: expected bytes 0 and 1 for bool, got others")
        try:
            return Tensor(self.dtype, flat.reshape(self.shape))
        except ValueError as error:
            raise ArtifactError(f"{where}: shape: expected one for numpy, got: {error}") from error


def _part(where: str, name: str, value: Any) -> _Part:
    fields = as_object(where, value, ("dtype", "shape", "data_offsets"))
    dtype = _DTYPES[as_choice(f"{where}: dtype", fields["dtype"], _DTYPES)]
    shape = as_list(f"{where}: shape", fields["shape"], as_count)
    offsets = as_list(f"{where}: data_offsets", fields["data_offsets"], as_count)
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ArtifactError(f"{where}: data_offsets: expected [start, end], got {offsets[:4]}")
    if len(shape) > 64:
        raise ArtifactError(f"{where}: shape: expected at most 64 sizes, got {len(shape)}")
    size = math.prod(shape) * numpy_dtype(dtype).itemsize
    if offsets[1] - offsets[0] != size:
        raise ArtifactError(
            f"{where}: data_offsets: expected {size} bytes for {dtype} {list(shape)}, "
            f"got {offsets[1] - offsets[0]}"
        )
    return _Part(name, dtype, shape, *offsets)
