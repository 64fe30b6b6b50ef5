"""Which of a model file's targets is best on this machine.

In: targets of a manifest. Out: one of them. Refused, with what there is and what this CPU lacks: a
file that has no code for this machine.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tvm_equi.deploy.fields import listed
from tvm_equi.deploy.manifest import Target
from tvm_equi.errors import ArtifactError

_V2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
_V3 = f"{_V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
_V4 = f"{_V3} avx512bw avx512cd avx512dq avx512f avx512vl"
LEVELS = {"x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}
"""Source: System V psABI, x86-64 supplement, table 3.1; names of Linux."""

LOWEST = "x86-64-v2"


@lru_cache(maxsize=1)
def host_features() -> frozenset[str]:
    """The features of this CPU, as Linux names them; empty where the system lists none."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    text = info.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def needed_features(target: Target) -> frozenset[str]:
    """The CPU features that a target's code may use.

    Args:
        target: of a CPU; what is known of its level counts, whatever the file says.
    """
    return frozenset(target.features) | frozenset(LEVELS.get(target.name, "").split())


def best_cpu_target(where: str, targets: Sequence[Target]) -> Target:
    """The target that makes most of this CPU: the one that needs the most features it has.

    Where the system does not list features, it is the one that needs the fewest.

    Args:
        where: names the file in errors.
        targets: of the file.

    Raises:
        ArtifactError: this CPU can run none of them.
    """
    machine, features = platform.machine(), host_features()
    cpus = [target for target in targets if not target.is_gpu]
    fitting = [target for target in cpus if target.machine == machine]
    if not fitting:
        there = listed([f"{t.name} ({t.machine or 'GPU'})" for t in targets])
        raise ArtifactError(
            f"{where}: target: expected one for {machine}, got {there}; compile it with "
            "target='host' here, or with an x86-64 level"
        )
    if not features:
        return min(fitting, key=lambda target: len(needed_features(target)))
    runnable = [target for target in fitting if needed_features(target) <= features]
    if runnable:
        return max(runnable, key=lambda target: len(needed_features(target)))
    least = min(fitting, key=lambda target: len(needed_features(target) - features))
    lacking = listed(sorted(needed_features(least) - features), 32)
    names = [target.name for target in fitting]
    advice = "" if LOWEST in names else f"; compile it with target='{LOWEST}' too"
    raise ArtifactError(
        f"{where}: target: expected one that this CPU runs, got {listed(names)}; "
        f"for {least.name} this CPU lacks {lacking}{advice}"
    )
