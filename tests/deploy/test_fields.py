"""JSON that nobody vouches for, and its fields."""

import re
import time
from collections.abc import Callable

import pytest

from tvm_equi.deploy import fields
from tvm_equi.errors import ArtifactError


@pytest.mark.parametrize(
    "data", [None, [], {}, "é\n\x00", -(2**63) + 1, 2**63 - 1, [{"a": [True]}]]
)
def test_canonical_json_reads_back(data: object) -> None:
    text = fields.canonical_json(data)
    assert fields.parse_json("file", text) == data
    assert fields.canonical_json(fields.parse_json("file", text)) == text


def test_canonical_json_is_one_text() -> None:
    assert fields.canonical_json({"b": [1, 2], "a": "é"}) == '{"a":"é","b":[1,2]}'.encode()
    assert fields.canonical_json('"\\/\b\f\n\r\t\0\x1f\x7f\u2028') == (
        rb'"\"\\/\b\f\n\r\t\u0000\u001f' + "\x7f\u2028".encode() + b'"'
    )
    assert not fields.is_canonical(b'{"a": 1}', {"a": 1})


DEEP = 200_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected JSON in UTF-8, got: Expecting value"),
        (b"\xff", "expected JSON in UTF-8, got: 'utf-8' codec can't decode byte 0xff"),
        (b'{"a":1}x', "expected JSON in UTF-8, got: Extra data"),
        (b"\xef\xbb\xbf{}", "expected JSON in UTF-8, got: Unexpected UTF-8 BOM"),
        (b'{"a":1,"a":2}', "'a': expected the key once, got it twice"),
        (b'[{"b":{"c":1,"c":1}}]', "'c': expected the key once, got it twice"),
        (rb'["\ud800"]', "expected JSON in UTF-8, got: 'utf-8' codec can't encode character"),
        (b"[NaN]", "expected whole numbers of 64 bits, got NaN"),
        (b"[-Infinity]", "expected whole numbers of 64 bits, got -Infinity"),
        (b"[1.0]", "expected whole numbers of 64 bits, got 1.0"),
        (b"[1e400]", "expected whole numbers of 64 bits, got 1e400"),
        (b"[9223372036854775808]", "expected whole numbers of 64 bits, got 92233720368547758"),
        (b"[-99999999999999999999]", "expected whole numbers of 64 bits, got -99999999999"),
        (b"1" * 100_000, f"expected whole numbers of 64 bits, got {'1' * 24}"),
        (b"[" * DEEP, "expected JSON, got lists within lists too deep"),
        (b'{"a":' * DEEP, "expected JSON, got lists within lists too deep"),
        (b"[" * DEEP + b"]" * DEEP, "expected JSON, got lists within lists too deep"),
    ],
)
def test_texts_that_are_refused(text: bytes, message: str) -> None:
    with pytest.raises(ArtifactError) as error:
        fields.parse_json("file", text)
    assert str(error.value).startswith(f"file: {message}")
    assert len(str(error.value)) < 300


def test_a_key_twice_among_many_is_found_soon() -> None:
    keys = ",".join(f'"{number}":0' for number in range(100_000))
    start = time.process_time()
    with pytest.raises(ArtifactError, match=r"'last': expected the key once, got it twice"):
        fields.parse_json("here", f'{{{keys},"last":0,"last":0}}'.encode())
    assert time.process_time() - start < 20  # minutes, where each key is compared with each


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (12, "12"),
        ("a\n\u0661", r"'a\n\u0661'"),
        ("x" * 100, f"{'x' * 60!r}..."),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "an object with 1 keys"),
    ],
)
def test_shown(value: object, text: str) -> None:
    assert fields.shown(value) == text


def test_listed() -> None:
    assert fields.listed([]) == "none"
    assert fields.listed("abcdefgh") == "a, b, c, d, e, f, g, h"
    assert fields.listed("abcdefghij") == "a, b, c, d, e, f, g, h and 2 more"


_word = fields.as_name(re.compile(r"[a-z\d]+"), "a word")


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (fields.as_object, [], "expected an object, got a list of 0"),
        (fields.as_text, 1, "expected a text, got 1"),
        (_word, "", "expected a word, got ''"),
        (_word, "ab\n", r"expected a word, got 'ab\n'"),
        (_word, "\u0661", r"expected a word, got '\u0661'"),  # \d alone would take it
        (fields.as_count, True, "expected a number from 0 to 2^63 - 1, got true"),
        (fields.as_count, -1, "expected a number from 0 to 2^63 - 1, got -1"),
        (fields.as_count, 2**63, "expected a number from 0 to 2^63 - 1, got 9223372036854775808"),
        (fields.as_count, "1", "expected a number from 0 to 2^63 - 1, got '1'"),
        (lambda w, v: fields.as_choice(w, v, ("a", "b")), "c", "expected one of 'a', 'b', got 'c'"),
        (
            lambda w, v: fields.as_choice(w, v, ("a", "b")),
            ["a"],
            "expected one of 'a', 'b', got a l",
        ),
        (lambda w, v: fields.as_list(w, v, _word), "ab", "expected a list, got 'ab'"),
        (lambda w, v: fields.as_object(w, v, ("a", "b")), {"a": 1}, "expected b, got none"),
        (lambda w, v: fields.as_object(w, v, "a"), {"a": 1, "c": 1}, "expected a only, got 'c'"),
        (fields.check_unique, ["a", "b", "a"], "expected 'a' once, got it twice"),
    ],
)
def test_fields_that_are_refused(
    read: Callable[[str, object], object], value: object, message: str
) -> None:
    with pytest.raises(ArtifactError) as error:
        read("file: field", value)
    assert str(error.value).startswith(f"file: field: {message}")


def test_an_item_is_named_by_its_number() -> None:
    assert fields.as_list("file", ["a", "1"], _word) == ("a", "1")
    with pytest.raises(ArtifactError, match=r"^file\[1\]: expected a word, got 'B'$"):
        fields.as_list("file", ["a", "B"], _word)
