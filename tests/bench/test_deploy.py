"""The benchmark of deployed models: what is measured, and how it is judged."""

from pathlib import Path

import numpy as np
import pytest

from bench.deploy import Line, sizes, table, times
from bench.deploy_child import overhead, startup
from tests.deploy.programs import expected, inputs, weights, write_model


def test_a_line_is_judged_by_its_median() -> None:
    line = times("a call", [1e-5, 2e-5, 9e-5], "us", 3e-5)
    assert line.median == pytest.approx(20)
    assert line.limit == pytest.approx(30)
    assert line.verdict == "within"
    assert times("a call", [4e-5], "us", 3e-5).verdict == "OVER"
    assert Line("size", (5.0,), "MB").verdict == ""
    assert table([line, Line("size", (5.0,), "MB")], "title").row_count == 2


def test_children_measure_a_model(tmp_path: Path) -> None:
    model, given = write_model(tmp_path / "model.tvmeq"), inputs(5)
    wanted = {
        "expected_z": expected(**given),
        "expected_z_again": expected(**given),
        "expected_x_again": given["x"],
        "expected_weights_again": weights(),
    }
    np.savez(tmp_path / "model.npz", **given, **wanted)
    found = startup(str(model), str(tmp_path / "model.npz"))
    assert found["target"] == "x86-64-v2"
    assert 0 < found["errors"]["z"] < 1e-5
    assert found["errors"]["weights_again"] == 0
    assert all(found[name] > 0 for name in ("numpy", "package", "tvm_ffi", "load", "first"))
    calls = overhead(str(model), str(tmp_path / "model.npz"))["calls"]
    assert 0 < np.median(calls) < 1e-3


def test_sizes_of_what_is_deployed(tmp_path: Path) -> None:
    import sys

    write_model(tmp_path / "model.tvmeq")
    model, libraries, python = sizes(tmp_path, Path(sys.executable))
    assert model.median < 1
    assert 3 < libraries.median < 20
    assert libraries.median < python.median < 60
