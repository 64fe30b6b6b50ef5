"""JSON from a file that nobody vouches for, and checks of its fields.

In: bytes. Out: data in JSON's types, and its fields in the types that were asked for. Refused, as
an `ArtifactError` that names the field: text that is not UTF-8 or not JSON, a key given twice,
numbers that are no whole numbers of 64 bits, keys that are missing or unknown, any other type.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeVar

from tvm_equi.errors import ArtifactError

MAX_INTEGER = 2**63 - 1
MAX_NAME = 255
"""Characters of a name."""

Item = TypeVar("Item")


def canonical_json(data: Any) -> bytes:
    """The one JSON text of some data: keys sorted, no spaces, UTF-8.

    Args:
        data: in JSON's types.
    """
    text = json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", errors="surrogatepass")


def is_canonical(text: bytes, data: Any) -> bool:
    """Whether a text is the one that `canonical_json` writes.

    Args:
        text: that was parsed.
        data: that came out.
    """
    try:
        return canonical_json(data) == text
    except RecursionError:  # what is just shallow enough to be read may be too deep to be written
        return False


def parse_json(where: str, data: bytes) -> Any:
    """The data of a JSON text.

    Args:
        where: names the text in errors.
        data: UTF-8.

    Raises:
        ArtifactError: see the module.
    """

    def refuse(number: str) -> NoReturn:
        raise ArtifactError(f"{where}: expected whole numbers of 64 bits, got {number[:24]}")

    def integer(text: str) -> int:
        if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
            refuse(text)
        return int(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise ArtifactError(f"{where}: {shown(twice)}: expected the key once, got it twice")
        return found

    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_int=integer,
            parse_float=refuse,
            parse_constant=refuse,
        )
        if b"\\u" in data:  # which may be half of a surrogate pair, and that is no text
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except ValueError as error:
        raise ArtifactError(f"{where}: expected JSON in UTF-8, got: {str(error)[:200]}") from error
    except RecursionError as error:
        raise ArtifactError(f"{where}: expected JSON, got lists within lists too deep") from error


def shown(value: Any) -> str:
    """A value in an error, in a few characters whatever it is.

    Args:
        value: in JSON's types.
    """
    match value:
        case None:
            return "null"
        case str():
            text = ascii(value[:60])
            return text if len(value) <= 60 and len(text) <= 120 else f"{text[:120]}..."
        case bool() | int():
            return str(value).lower()
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"an object with {len(value)} keys"
        case _:
            return type(value).__name__


def listed(names: Collection[str], most: int = 8) -> str:
    """Names in an error, the first few of them.

    Args:
        names: in order.
        most: of them that are listed.
    """
    first = ", ".join(list(names)[:most]) or "none"
    return first if len(names) <= most else f"{first} and {len(names) - most} more"


def as_object(where: str, value: Any, keys: Collection[str] | None = None) -> Mapping[str, Any]:
    """A JSON object.

    Args:
        where: names the field in errors.
        value: of the field.
        keys: that it must have, and no others; None for any.

    Raises:
        ArtifactError: it is none, or a key is missing or unknown.
    """
    if not isinstance(value, dict):
        raise ArtifactError(f"{where}: expected an object, got {shown(value)}")
    if keys is not None:
        missing, unknown = sorted(set(keys) - value.keys()), sorted(value.keys() - set(keys))
        if missing:
            raise ArtifactError(f"{where}: expected {listed(missing)}, got none")
        if unknown:
            wanted = ", ".join(sorted(keys))
            raise ArtifactError(f"{where}: expected {wanted} only, got {shown(unknown[0])}")
    return value


def as_list(where: str, value: Any, item: Callable[[str, Any], Item]) -> tuple[Item, ...]:
    """A JSON list.

    Args:
        where: names the field in errors.
        value: of the field.
        item: reads an item.

    Raises:
        ArtifactError: it is none, or an item is refused.
    """
    if not isinstance(value, list):
        raise ArtifactError(f"{where}: expected a list, got {shown(value)}")
    return tuple(item(f"{where}[{number}]", each) for number, each in enumerate(value))


def as_text(where: str, value: Any) -> str:
    """A text.

    Args:
        where: names the field in errors.
        value: of the field.

    Raises:
        ArtifactError: it is none.
    """
    if not isinstance(value, str):
        raise ArtifactError(f"{where}: expected a text, got {shown(value)}")
    return value


def as_name(pattern: re.Pattern[str], what: str) -> Callable[[str, Any], str]:
    """Reads texts that match a pattern from end to end.

    Args:
        pattern: ASCII only.
        what: the pattern in words, for errors.
    """

    def name(where: str, value: Any) -> str:
        text = as_text(where, value)
        if len(text) > MAX_NAME or not text.isascii() or not pattern.fullmatch(text):
            raise ArtifactError(f"{where}: expected {what}, got {shown(text)}")
        return text

    return name


def as_choice(where: str, value: Any, choices: Collection[str]) -> str:
    """One of a few texts.

    Args:
        where: names the field in errors.
        value: of the field.
        choices: there are.

    Raises:
        ArtifactError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ArtifactError(
            f"{where}: expected one of {', '.join(map(repr, choices))}, got {shown(value)}"
        )
    return value


def as_count(where: str, value: Any) -> int:
    """A whole number that is not negative.

    Args:
        where: names the field in errors.
        value: of the field.

    Raises:
        ArtifactError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        raise ArtifactError(f"{where}: expected a number from 0 to 2^63 - 1, got {shown(value)}")
    return value


def check_unique(where: str, names: Collection[str]) -> None:
    """Refuses names that come twice.

    Args:
        where: names the field in errors.
        names: in order.

    Raises:
        ArtifactError: a name comes twice.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ArtifactError(f"{where}: expected {shown(name)} once, got it twice")
        seen.add(name)
