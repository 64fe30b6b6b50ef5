"""What the tests of torch's operators in C++ share: the library, a model, a package, a program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest
import torch

from tvm_equi.demo.model import ReferenceModel, Settings, graph_parameters, interaction_graph
from tvm_equi.export.capture import Captured, capture_graph
from tvm_equi.export.torch_ops import build_torch_ops
from tvm_equi.graph import DEFAULT_PIPELINE
from tvm_equi.nn.graph_module import GraphModule

ROOT = Path(__file__).parent.parent.parent
# Of the page.
SMALL = Settings(
    num_channels=4, num_layers=2, max_degree=2, feature_degree=1, num_basis=4, num_hidden=8
)


def once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """A folder that one of all workers fills."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            (folder / "done").touch()
    return folder


def torch_ops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built library."""
    return once(tmp_path_factory, "torch_ops", build_torch_ops)


def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of docs/deploy_pt2.md ran: model.pt2, ops/, build/energy."""
    return once(tmp_path_factory, "page", _follow_page)


def _follow_page(folder: Path) -> None:
    text = (ROOT / "docs" / "deploy_pt2.md").read_text(encoding="utf-8")
    (export, *_), (commands,) = (
        re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) for language in ("python", "sh")
    )
    assert export.startswith("# export_model.py\n")
    (folder / "export_model.py").write_text(export)
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", commands],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PATH": tools, "PYTHONPATH": str(ROOT), "TVM_EQUI": str(ROOT)},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.splitlines()[-4].startswith("energy "), done.stdout


def reference() -> ReferenceModel:
    """The page's potential with e3nn, in float64."""
    torch.manual_seed(0)
    return ReferenceModel(SMALL).double()


def captured() -> Captured:
    """The same model as a program, with the gradient to positions."""
    graph = DEFAULT_PIPELINE(interaction_graph(SMALL, "float64"))
    module = GraphModule(graph, graph_parameters(reference(), graph))
    return capture_graph(module, {"gradient": ("energy", "positions")})


def clean_environment(**variables: str) -> dict[str, str]:
    """Variables of a process that should find nothing by accident."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | variables


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a clean environment."""
    return subprocess.run(
        command, capture_output=True, text=True, env=clean_environment(**variables), timeout=300
    )


def run_python(code: str, *arguments: str, **variables: str) -> str:
    """What a fresh process of Python prints; this package is not on its path."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", code, *arguments]
    done = run(command, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout
