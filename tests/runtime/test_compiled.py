"""Compiled code as data."""

import copy
import hashlib

from tvm_equi.runtime.compiled import CompiledKernel, CompiledProgram, Library


def test_a_library_knows_its_digest() -> None:
    library = Library.of(b"code")
    assert library.sha256 == hashlib.sha256(b"code").hexdigest()
    assert library == Library.of(b"code") != Library.of(b"other")


def test_code_is_not_shown_and_may_be_copied() -> None:
    library = Library.of(b"code" * 1000)
    kernel = CompiledKernel("a" * 64, "float32", "host", library)
    program = CompiledProgram("main", (), (), (), {"host": library}, {"host": (library,)})
    assert len(repr(kernel)) < 400
    assert len(repr(program)) < 400
    assert copy.deepcopy(kernel) == kernel
    assert copy.deepcopy(program) == program
