"""The report as people read it."""

from tvm_equi.models.report import Entry, Report

ENTRIES = (
    Entry("", "Linear", "swapped", ""),
    Entry("layers.0.tp", "TensorProduct", "fused", "with the gather and sum in layers.0"),
    Entry("layers.0.fc", "FullyConnectedNet", "left", "[bold] is not markup here"),
)


def test_summary() -> None:
    assert Report(ENTRIES).summary == (
        "tvm_equi.accelerate: 1 swapped, 1 fused, 1 left; not compared with the originals"
    )
    assert Report(ENTRIES, 3e-16).summary.endswith("error against the originals 3.0e-16")


def test_modules_that_were_not_compared_are_counted() -> None:
    entries = (*ENTRIES, Entry("block", "Block", "fused", "by its hook; not compared"))
    assert Report(entries, 3e-16).summary.endswith("3.0e-16; 1 not compared")


def test_table() -> None:
    lines = str(Report(ENTRIES, 0.0)).splitlines()
    text = "\n".join(lines)
    for entry in ENTRIES:
        (line,) = [line for line in lines if entry.kind in line]
        assert (entry.path or "(the model)") in line
        assert entry.status in line
        assert entry.note in line
    assert all(line == line.rstrip() for line in lines)
    assert text.count("tvm_equi.accelerate") == 1


def test_nothing_to_report() -> None:
    assert str(Report(())) == Report(()).summary


def test_entries_of_a_status() -> None:
    assert Report(ENTRIES).of("fused") == (ENTRIES[1],)
