"""The packages that JAX needs, looked for before anything imports them.

In: nothing. Out: nothing, or an error that says what to install.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from tvm_equi.errors import MissingPackageError

NEEDED = {"jax": (0, 9, 1), "jaxlib": (0, 9, 1), "jax-tvm-ffi": (0, 1, 3)}
"""Oldest versions that serve: jax-tvm-ffi speaks a version of XLA's interface that others lack."""


@lru_cache(maxsize=1)
def check_packages() -> None:
    """Refuses to go on without the packages of the extra `jax`.

    Raises:
        MissingPackageError: one is missing, or too old.
    """
    for name, oldest in NEEDED.items():
        wanted = ".".join(map(str, oldest))
        try:
            found = version(name)
        except PackageNotFoundError as error:
            raise MissingPackageError(
                f"tvm_equi.jax: expected {name} {wanted} or newer, got none; "
                "pip install 'tvm_equi[jax]'"
            ) from error
        if release(found) < oldest:
            raise MissingPackageError(
                f"tvm_equi.jax: expected {name} {wanted} or newer, got {found}; "
                "pip install --upgrade 'tvm_equi[jax]'"
            )


def release(text: str) -> tuple[int, ...]:
    """The leading numbers of a version.

    Args:
        text: such as "0.10.2.dev1".

    Example:
        >>> release("0.10.2.dev1")
        (0, 10, 2)
    """
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
