"""Compiled code as data: libraries, kernels and programs, wherever they come from.

In: bytes of libraries. Out: frozen data that artifacts hold, files store and runtimes load.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tvm_equi.deploy.manifest import Value


@dataclass(frozen=True, slots=True)
class Library:
    """A compiled library.

    Args:
        data: of its file.
        sha256: of the data, in hexadecimal.
    """

    data: bytes = field(repr=False)
    sha256: str

    @staticmethod
    def of(data: bytes) -> Library:
        """A library of some bytes."""
        return Library(data, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """A kernel for a target.

    Args:
        key: sha256 of the kernel's content.
        dtype: of its values.
        target: the name of what it was compiled for.
        library: its code.
    """

    key: str
    dtype: str
    target: str
    library: Library


@dataclass(frozen=True, slots=True)
class CompiledProgram:
    """A whole model as one function, for several targets.

    Args:
        name: of the program.
        inputs: in order.
        outputs: in order.
        parameters: names of those that are passed before the inputs, in order.
        libraries: its code by target.
        kernels: by target, the code of the kernels that it calls by name.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    parameters: tuple[str, ...]
    libraries: Mapping[str, Library]
    kernels: Mapping[str, Sequence[Library]]
