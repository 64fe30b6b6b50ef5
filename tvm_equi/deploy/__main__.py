"""Where the parts are, for build scripts: `python -m tvm_equi.deploy include`.

In: what is asked for. Out: paths, on one line, with `;` between them as CMake has it.
"""

from __future__ import annotations

import sys

from tvm_equi.deploy.parts import cmake_folder, find_parts
from tvm_equi.errors import TvmEquiError

USAGE = "usage: python -m tvm_equi.deploy include|libraries|cmake|cmake-parts"


def main(arguments: list[str]) -> int:
    """Prints paths.

    Args:
        arguments: "include" (our headers, those of tvm_ffi), "libraries", "cmake-parts" (both), or
            "cmake" (the folder for `tvm_equi_DIR`).

    Returns:
        The exit code.
    """
    asked = arguments[0] if len(arguments) == 1 else ""
    if asked not in ("include", "libraries", "cmake-parts", "cmake"):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        parts = find_parts()
    except TvmEquiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    paths = {
        "include": parts.includes,
        "libraries": (parts.ffi, parts.runtime),
        "cmake-parts": (*parts.includes, parts.ffi, parts.runtime),
        "cmake": (cmake_folder(),),
    }
    print(";".join(map(str, paths[asked])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
