"""What the benchmarks of whole models share."""

import pytest
import torch

from bench.models.measure import Line, differences, peak_bytes, race, table


def test_differences_are_relative_to_the_largest_value() -> None:
    wanted = {"forces": torch.tensor([1.0, -4.0]), "zero": torch.zeros(2)}
    found = {"forces": torch.tensor([1.0, -3.0]), "zero": torch.tensor([0.0, 0.5])}
    assert differences(found, wanted) == {"forces": 0.25, "zero": 0.5}


def test_differences_refuse_other_names_and_shapes() -> None:
    with pytest.raises(ValueError, match=r"found: expected \['energy'\], got \['forces'\]"):
        differences({"forces": torch.zeros(1)}, {"energy": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"energy: expected \[1\], got \[2\]"):
        differences({"energy": torch.zeros(2)}, {"energy": torch.zeros(1)})


def test_race_takes_turns() -> None:
    order: list[str] = []

    def call(name: str) -> dict[str, torch.Tensor]:
        order.append(name)
        return {}

    found = race({name: lambda name=name: call(name) for name in "ab"}, rounds=2)
    assert order == ["a", "a", "b", "b", *["a", "b"] * 2]
    assert found["a"].calls == 2


def test_peak_counts_what_a_call_holds() -> None:
    def call() -> dict[str, torch.Tensor]:
        return {"values": torch.ones(8_000_000).square()}

    assert 30e6 < peak_bytes(call) < 100e6


def test_table_has_a_ratio_and_differences() -> None:
    calls = {name: lambda: {} for name in ("default", "ours")}
    line = Line("water", "forces", race(calls, 1), {"ours": {"energy": 1e-7}}, {"ours": 1_000_000})
    found = table("title", [line])
    assert found.row_count == 1
    assert [column.header for column in found.columns][4:] == [
        "x default",
        "default, MB",
        "ours, MB",
        "largest relative difference",
    ]
