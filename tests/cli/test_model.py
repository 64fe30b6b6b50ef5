"""What is printed of a model file."""

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.deploy.model_files import MANIFEST, SECTIONS, example
from tvm_equi.cli.model import is_model_file, print_model
from tvm_equi.deploy.container import decode, encode


def shown(data: bytes) -> str:
    text = io.StringIO()
    print_model(decode("file", data), Console(file=text, width=200))
    return text.getvalue()


def test_what_is_in_it() -> None:
    text = shown(example())
    assert "model file, schema 1, 3,463 bytes in 7 sections, every checksum right" in text
    assert "tvm_equi 0.1.0" in text
    assert "float32, derivatives to order 1, 2 kernels, 2 plans, 9 parameters, a graph" in text
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    # Kernels that are the same code count once.
    assert rows["x86-64-v2"][-6:] == ["2,", "86", "bytes", "0,", "0", "bytes"]
    assert rows["x86-64-v3"][-6:] == ["2,", "86", "bytes", "1,", "7", "bytes"]
    assert rows["sm_80,sm_90"][1] == "GPU"
    assert (
        "program main(vectors: float32[edges, 3], types: int64[atoms]) -> energy: float32[], "
        "forces: float32[atoms, 3]; 2 parameters"
    ) in text
    assert text.count("best here") <= 1


def test_a_file_for_another_machine() -> None:
    manifest = replace(
        MANIFEST,
        targets=tuple(replace(t, machine=t.machine and "vax") for t in MANIFEST.targets),
        programs=(),
        graph=None,
    )
    text = shown(encode(manifest, SECTIONS))
    assert "best here" not in text
    assert "no graph" in text


def test_what_counts_as_a_model_file(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(example())
    (tmp_path / "spec.json").write_text("{}")
    assert is_model_file(tmp_path / "model")
    assert is_model_file(tmp_path / "absent.tvmeq")
    assert not is_model_file(tmp_path / "spec.json")
    assert not is_model_file(tmp_path / "absent.json")
