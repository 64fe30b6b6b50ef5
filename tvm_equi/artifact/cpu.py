"""Which instructions of a CPU compiled code may use, so that it is not run where they are missing.

In: a target's name. Out: names of CPU features, as Linux lists them. On systems that list none,
only the kind of machine is compared.
"""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from pathlib import Path

from tvm_equi.errors import ArtifactError

_V2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
_V3 = f"{_V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
_V4 = f"{_V3} avx512bw avx512cd avx512dq avx512f avx512vl"
LEVELS = {"x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}
"""Source: System V psABI, x86-64 supplement, table 3.1; names of Linux."""

_CODEGEN = re.compile(
    r"abm|adx|aes|amx|avx|bmi|f16c|fma|gfni|lzcnt|movbe|popcnt|sha_ni|sse|ssse|vaes|vpclmul|asimd|sve"
)
"""Features that decide what a compiler emits."""


@lru_cache(maxsize=1)
def host_features() -> frozenset[str]:
    """The features of this CPU that matter to a compiler; empty where the system lists none."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    text = info.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def required_features(target: str) -> list[str]:
    """The features that code for a target may use.

    Args:
        target: "host" or an x86-64 level.
    """
    if target in LEVELS:
        return sorted(LEVELS[target].split())
    return sorted(feature for feature in host_features() if _CODEGEN.match(feature))


def check_cpu(where: str, machine: str, features: list[str]) -> None:
    """Refuses code that this CPU cannot run.

    Args:
        where: names the artifact.
        machine: what the code was compiled for, e.g. "x86_64".
        features: that the code may use.

    Raises:
        ArtifactError: with what is missing and what to do.
    """
    if machine != platform.machine():
        raise ArtifactError(f"{where}: machine: expected {machine}, got {platform.machine()}")
    available = host_features()
    missing = sorted(set(features) - available) if available else []
    if missing:
        raise ArtifactError(
            f"{where}: CPU: expected {', '.join(missing)}, which this CPU does not have; "
            "compile again here, or with target='x86-64-v2' or 'x86-64-v3' where it was compiled"
        )
