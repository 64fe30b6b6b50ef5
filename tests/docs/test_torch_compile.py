"""The examples of the page about torch.compile run, and print what the page says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.backends import registry

from tvm_equi.dynamo import backend

PAGE = Path(__file__).parents[2] / "docs" / "torch_compile.md"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The backend under its name, as the entry point of an installed package gives it."""
    registry._lazy_import()
    monkeypatch.setitem(registry._BACKENDS, "tvm_equi", None)
    monkeypatch.setitem(registry._COMPILER_FNS, "tvm_equi", backend)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("registered")
def test_examples_run() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    text = PAGE.read_text(encoding="utf-8")
    torch.manual_seed(0)
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(example, names)
    printed = re.findall(r"```\n\n((?:    .*\n)+)", text)[0]
    wanted = "\n".join(line[4:] for line in printed.splitlines())
    assert str(names["report"]) == wanted
