"""The page about examples lists every script."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_script_is_listed() -> None:
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`python -m examples\.(\w+)`", page))
    scripts = {
        path.stem
        for path in (ROOT / "examples").glob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
    assert listed == scripts
    for name in scripts:
        assert list((ROOT / "tests").rglob(f"test_{name}.py")), name
