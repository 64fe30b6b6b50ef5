"""A saved artifact in a fresh process."""

from pathlib import Path

import pytest
import torch

import tvm_equi
from tvm_equi.demo.model import Settings, interaction_graph
from tvm_equi.demo.reload import energy_in_fresh_process
from tvm_equi.demo.structures import molecule
from tvm_equi.errors import ArtifactError

SMALL = Settings(num_channels=2, num_layers=1, max_degree=1, num_hidden=3, num_basis=2)


def test_same_energy(tmp_path: Path) -> None:
    artifact = tvm_equi.compile(interaction_graph(SMALL), derivatives=0)
    path = artifact.save(tmp_path / "model.tvmeq")
    structure = molecule(SMALL.cutoff).to(torch.float32)
    with torch.no_grad():
        expected = float(artifact(**structure.inputs()))
    assert energy_in_fresh_process(path, structure, tmp_path) == expected


def test_no_artifact(tmp_path: Path) -> None:
    structure = molecule(SMALL.cutoff).to(torch.float32)
    with pytest.raises(ArtifactError, match="demo: reload: expected the artifact to load, got"):
        energy_in_fresh_process(tmp_path, structure, tmp_path)
