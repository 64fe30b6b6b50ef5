"""What the commands say of a graph."""

import json
from pathlib import Path

from tests.cli.test_app import run


def test_inspect_says_what_was_pruned(tmp_path: Path) -> None:
    fields = {"irreps_in1": "2x0e", "irreps_in2": "1o", "irreps_out": "2x1o+2x1e"}
    paths = [[0, 0, 0, "uvu", True], [0, 0, 1, "uvu", True]]
    file = tmp_path / "spec.json"
    file.write_text(json.dumps({"tensor_product": {**fields, "instructions": paths}}))
    shown = " ".join(run("inspect", file).split())
    assert "pruned out: path 2x0e x 1x1o -> 2x1e: forbidden by parity" in shown
    assert "input x: 2x0e" in shown
    assert "outputs: out" in shown
