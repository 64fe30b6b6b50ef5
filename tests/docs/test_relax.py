"""The code of docs/relax.md runs as it is pasted."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "relax.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(2))
def test_code_runs(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(BLOCKS) == 2
    exec(compile(BLOCKS[number], "docs/relax.md", "exec"), {})
    last = capsys.readouterr().out.strip().splitlines()[-1]
    if number == 0:
        assert last == "torch.Size([100, 16])"
    else:
        assert float(re.findall(r"\d[\d.e-]*", last)[0]) < 1e-5
