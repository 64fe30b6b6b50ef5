"""Candidates are checked, then timed in turns."""

from pathlib import Path

import pytest
from tvm import rpc

from tests.kernels import kinds, product
from tvm_equi.artifact.codegen import compile_point
from tvm_equi.tuning.measure import WrongNumbersError, measure

KINDS = kinds()


@pytest.mark.parametrize("name", ["uvu", "linear gradient", "conv uvu gradient 0"])
def test_times_come_in_rounds(name: str, tmp_path: Path) -> None:
    kernel = KINDS[name]
    paths = [tmp_path / "a.so", tmp_path / "b.so"]
    for path, lanes in zip(paths, (4, 8), strict=True):
        compile_point(kernel, "float32", "x86-64-v3", {"lanes": lanes}, path)
    times = measure(rpc.LocalSession(), paths, kernel.plan(), "float32", 300, 0.0, 4)
    assert [len(each) for each in times] == [4, 4]
    assert all(0 < seconds < 1 for each in times for seconds in each)


def test_wrong_numbers_are_not_timed(tmp_path: Path) -> None:
    """The library of a kernel whose path has another weight."""
    path = tmp_path / "a.so"
    compile_point(KINDS["uvu loop"], "float32", "x86-64-v3", {}, path)
    other = product(v=3, weight_rows="row")
    data = other.plan()
    scaled = other.from_plan(data)
    assert scaled == other
    from dataclasses import replace

    form = other.contractions[0]
    paths = tuple(replace(each, scale=2 * each.scale) for each in form.paths)
    wrong = replace(other, contractions=(replace(form, paths=paths), *other.contractions[1:]))
    with pytest.raises(WrongNumbersError, match="expected values within 1e-05 of the oracle"):
        measure(rpc.LocalSession(), [path], wrong.plan(), "float32", 300, 0.0)
