"""Which instructions of a CPU compiled code may use.

In: a target's name. Out: names of CPU features, as Linux lists them, which a model file says.
"""

from __future__ import annotations

import re

from tvm_equi.deploy.targets import LEVELS, host_features

_CODEGEN = re.compile(
    r"abm|adx|aes|amx|avx|bmi|f16c|fma|gfni|lzcnt|movbe|popcnt|sha_ni|sse|ssse|vaes|vpclmul|asimd|sve"
)
"""Features that decide what a compiler emits."""


def required_features(target: str) -> list[str]:
    """The features that code for a target may use.

    Args:
        target: "host" or an x86-64 level.
    """
    if target in LEVELS:
        return sorted(LEVELS[target].split())
    return sorted(feature for feature in host_features() if _CODEGEN.match(feature))
