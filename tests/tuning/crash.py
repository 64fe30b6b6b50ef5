"""A library whose kernel ends the process that calls it, or never returns."""

import subprocess
from pathlib import Path

SOURCE = """
#include <stdlib.h>
#include <unistd.h>
int __tvm_ffi_tvm_equi_kernel(void *self, void *arguments, int count, void *result) {
  %s;
  return 0;
}
"""


def crashing(path: Path, action: str = "abort()") -> Path:
    """Writes such a library."""
    source = path.with_suffix(".c")
    source.write_text(SOURCE % action)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    return path
