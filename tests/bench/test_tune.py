"""Which kernels are tuned, and in which groups."""

import json
from dataclasses import asdict
from pathlib import Path

from bench.schedules import Entry
from bench.tune import HEAVY_PLAN, groups, wanted

GOOD = Entry("mace", "rows", "forward", 0, "plan")
BAD = Entry("mace", "edges", "double backward", 1, "plan")
HEAVY = Entry("nequip", "rows", "forward", 0, "p" * (HEAVY_PLAN + 1))
FOUND = [GOOD, BAD, HEAVY]


def test_again_takes_the_kernels_whose_records_gain_nothing(tmp_path: Path) -> None:
    ratios = zip(FOUND, (1.3, 0.9, 1.01), strict=True)
    path = tmp_path / "tuned.json"
    path.write_text(json.dumps({"kernels": [{**asdict(e), "ratio": r} for e, r in ratios]}))
    assert wanted(FOUND, path) == [BAD, HEAVY]
    assert wanted(FOUND, None) == FOUND


def test_heavy_kernels_are_tuned_apart() -> None:
    other = Entry("nequip", "rows", "forward", 0, "plan")
    assert groups([GOOD, BAD, HEAVY, other]) == [[GOOD, other], [BAD], [HEAVY]]
