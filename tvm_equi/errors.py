"""The exception tree, and the wording of errors about choices.

In: nothing of the package. Out: one root, `TvmEquiError`, so that a caller can catch whatever the
package raises; a class that has a builtin counterpart also inherits it. Messages read
`<where>: <argument>: expected <what was expected>, got <what came>[; <next step>]`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TvmEquiError(Exception):
    """Root of every error that the package raises on purpose."""


class GraphError(TvmEquiError, ValueError):
    """A graph of tensor products is not well formed, or its values do not fit together."""


class UnsupportedError(TvmEquiError, NotImplementedError):
    """The request is meaningful, but nothing here implements it."""


class ScheduleError(TvmEquiError):
    """A schedule rule took a kernel and could not schedule it, or a config is not legal for it."""


class RecordError(TvmEquiError):
    """A database of tuned records is malformed, in use, or cannot be written."""


class TuningError(TvmEquiError):
    """A tuning run cannot start or go on: nothing to measure on, or no worker answers."""


class ArtifactError(TvmEquiError):
    """A library could not be built, stored, checked or loaded."""


class MissingPackageError(TvmEquiError, ImportError):
    """An optional package is missing, or too old."""


class ArgumentError(TvmEquiError, ValueError):
    """An argument has the right type and a value that is not allowed."""


class ArgumentTypeError(TvmEquiError, TypeError):
    """An argument has the wrong type."""


class IndexRangeError(TvmEquiError, IndexError):
    """An index names a row that does not exist."""


def unknown_choice(where: str, argument: str, choices: Iterable[str], got: object) -> str:
    """The message about a value outside a closed set: the valid ones and the nearest spelling.

    Args:
        where: the function or class that was called.
        argument: the name of its argument.
        choices: every valid value.
        got: the value that came.

    Returns:
        The text for an `ArgumentError`.

    Example:
        >>> unknown_choice("Linear", "layout", ["mul_ir", "ir_mul"], "mulir")
        "Linear: layout: expected one of 'ir_mul', 'mul_ir', got 'mulir'; did you mean 'mul_ir'?"
    """
    valid = sorted(choices)
    nearest = difflib.get_close_matches(str(got), valid, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    listed = ", ".join(repr(choice) for choice in valid)
    return f"{where}: {argument}: expected one of {listed}, got {got!r}{hint}"
