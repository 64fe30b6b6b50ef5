"""The best target of a file on a machine, and why there is none."""

import platform

import pytest

from tvm_equi.deploy import targets
from tvm_equi.deploy.manifest import Target
from tvm_equi.deploy.targets import LEVELS, best_cpu_target, needed_features
from tvm_equi.errors import ArtifactError

FAT = tuple(Target(name, "x86_64", tuple(text.split())) for name, text in LEVELS.items())
HOST = Target("host", "x86_64", (*LEVELS["x86-64-v4"].split(), "avx512_vnni"))
GPU = Target("sm_80,sm_90", architectures=("sm_80", "sm_90"))


def on(monkeypatch: pytest.MonkeyPatch, features: str, machine: str = "x86_64") -> None:
    monkeypatch.setattr(targets, "host_features", lambda: frozenset(features.split()))
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize("level", list(LEVELS))
@pytest.mark.parametrize("order", [FAT, FAT[::-1], (GPU, HOST, *FAT)])
def test_the_highest_level_that_runs(
    level: str, order: tuple[Target, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, LEVELS[level] + " mmx sse2")
    assert best_cpu_target("file", order).name == level


def test_code_for_this_very_cpu_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, LEVELS["x86-64-v4"] + " avx512_vnni amx_tile")
    assert best_cpu_target("file", (*FAT, HOST)).name == "host"


def test_a_level_needs_its_features_whatever_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    lie = Target("x86-64-v4", "x86_64", ())
    on(monkeypatch, LEVELS["x86-64-v2"])
    assert best_cpu_target("file", (lie, FAT[0])).name == "x86-64-v2"
    assert needed_features(lie) == set(LEVELS["x86-64-v4"].split())
    with pytest.raises(
        ArtifactError, match="for x86-64-v4 this CPU lacks abm, avx, avx2, avx512bw"
    ):
        best_cpu_target("file", (lie,))


def test_where_no_features_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "")
    assert best_cpu_target("file", FAT[::-1]).name == "x86-64-v2"


@pytest.mark.parametrize(
    ("features", "machine", "given", "message"),
    [
        (
            LEVELS["x86-64-v2"],
            "x86_64",
            FAT[1:],
            "file: target: expected one that this CPU runs, got x86-64-v3, x86-64-v4; for "
            "x86-64-v3 this CPU lacks abm, avx, avx2, bmi1, bmi2, f16c, fma, movbe, xsave; "
            "compile it with target='x86-64-v2' too",
        ),
        (
            "sse2",
            "x86_64",
            FAT,
            "file: target: expected one that this CPU runs, got x86-64-v2, x86-64-v3, x86-64-v4; "
            "for x86-64-v2 this CPU lacks cx16, lahf_lm, pni, popcnt, sse4_1, sse4_2, ssse3",
        ),
        (
            "asimd",
            "aarch64",
            (*FAT[:1], GPU),
            "file: target: expected one for aarch64, got x86-64-v2 (x86_64), sm_80,sm_90 (GPU); "
            "compile it with target='host' here, or with an x86-64 level",
        ),
        (
            LEVELS["x86-64-v4"],
            "x86_64",
            (GPU,),
            "file: target: expected one for x86_64, got sm_80,sm_90 (GPU); compile it with "
            "target='host' here, or with an x86-64 level",
        ),
    ],
)
def test_none(
    features: str,
    machine: str,
    given: tuple[Target, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(monkeypatch, features, machine)
    with pytest.raises(ArtifactError) as error:
        best_cpu_target("file", given)
    assert str(error.value) == message
