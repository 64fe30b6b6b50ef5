"""Whether records still hold."""

import re
from pathlib import Path

import pytest

from tests.kernels import kinds
from tests.tuning.databases import write_database
from tvm_equi.schedule import databases, records
from tvm_equi.schedule.targets import host_family
from tvm_equi.tuning.verify import verify

KERNEL = kinds()["conv uvu"]
FAMILY = "x86-64-v2"


def test_right_stale_and_illegal(tmp_path: Path) -> None:
    write_database(tmp_path, KERNEL, [({}, 2.0), ({"row_tile": 4}, 1.0)], FAMILY)
    (verdict,) = verify(tmp_path, FAMILY)
    assert (verdict.problem, verdict.is_run) == ("", bool(host_family()))
    assert verdict.record.point["row_tile"] == 4
    path = tmp_path / FAMILY / records.RECORDS
    text = path.read_text()
    for old, new, problem in (
        ("row_tile", "row_till", "expected decisions among .*'row_till'"),
        ('\\"row_tile\\": [2, 4', '\\"row_tile\\": [2, 5', "row_tile: expected a power of two"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        (verdict,) = verify(tmp_path, FAMILY)
        assert re.search(problem, verdict.problem), verdict.problem


@pytest.mark.parametrize("family", ["x86-64-v3", "x86-64-v4"])
def test_shipped_records_are_legal(family: str) -> None:
    """Building them all takes minutes: `tvm-equi schedules verify schedules`."""
    from tvm_equi.algebra.kernel import Kernel
    from tvm_equi.schedule import space
    from tvm_equi.schedule.targets import cpu_target

    found = databases.entries(records.shipped_folder() / family)
    assert found
    for entry in found.values():
        kernel = Kernel.from_plan(entry.best.plan)
        assert kernel.structure() == entry.best.structure.kernel
        dtype = entry.best.structure.dtype
        assert space.is_legal_point(kernel, dtype, cpu_target(family), entry.best.point)
