"""Files that are somehow wrong: refused as an ArtifactError or loaded right, and nothing else."""

import random
import time
import tracemalloc
from pathlib import Path

import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.deploy import fuzz
from tests.deploy.model_files import signed
from tvm_equi.deploy.container import decode, read
from tvm_equi.deploy.safetensors import read_tensors
from tvm_equi.errors import ArtifactError

MAX_MEMORY = 8 << 20
"""That reading a file of some 4 kB, or of some 100 kB of nested lists, may take."""


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False))
def test_mutants(rng: random.Random) -> None:
    fuzz.verdict(fuzz.mutant(rng))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_manifest(text: bytes) -> None:
    with pytest.raises(ArtifactError):
        decode("file", signed(text))


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_tensors_as_the_package_reads_them(rng: random.Random) -> None:
    """What the package refuses is refused; what both take is the same."""
    data = fuzz.wrong_tensors(rng)
    try:
        found = read_tensors("file", data)
    except ArtifactError:
        return
    entries = dict(safetensors.deserialize(data))
    assert found.keys() == entries.keys()
    for name, entry in entries.items():
        assert list(found[name].array.shape) == entry["shape"]
        assert found[name].array.tobytes() == bytes(entry["data"])


def test_memory_and_time() -> None:
    rng = random.Random(7)
    tracemalloc.start()
    try:
        for _ in range(150):
            data = fuzz.mutant(rng)
            tracemalloc.reset_peak()
            before, start = tracemalloc.get_traced_memory()[0], time.process_time()
            fuzz.verdict(data)
            assert tracemalloc.get_traced_memory()[1] - before < MAX_MEMORY
            assert time.process_time() - start < fuzz.SECONDS
    finally:
        tracemalloc.stop()


def test_files_on_disk(tmp_path: Path) -> None:
    """`read` is as careful as `decode`: it has the header's word for the size before it reads."""
    path = tmp_path / "model.tvmeq"
    seen = set()
    for seed in range(150):
        data = fuzz.mutant(random.Random(seed))
        path.write_bytes(data)
        try:
            read(path)
        except ArtifactError as error:
            outcome = str(error).replace(f"load: {path}", "file", 1)
        else:
            outcome = "loaded"
        assert fuzz.verdict(data) == outcome
        seen.add(outcome == "loaded")
    assert seen == {True, False}


def test_a_finding_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The fuzzer is no use if it cannot fail."""

    def careless(where: str, data: bytes) -> None:
        raise KeyError("size")

    monkeypatch.setattr(fuzz, "decode", careless)
    with pytest.raises(AssertionError, match=r"mutant\(5\): KeyError\('size'\)"):
        fuzz.run(1.0, 5)
    seen = fuzz.run(0.05, 5, tmp_path)
    assert list(seen) == ["FINDING KeyError"]
    assert (tmp_path / "5.tvmeq").read_bytes() == fuzz.mutant(random.Random(5))
    assert "KeyError" in (tmp_path / "5.txt").read_text()


@pytest.mark.deploy
def test_mutants_for_a_minute() -> None:
    seen = fuzz.run(50.0, time.time_ns() // 1000)
    assert seen["loaded"] > 10
    assert len(seen) > 100
