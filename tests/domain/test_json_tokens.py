"""Bodies are parsed strictly, and numbers keep their source text."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.json_tokens import MAX_DEPTH, NumberToken, format_token, parse_object
from spawn.testing.strategies import json_values

pytestmark = pytest.mark.core


def nested(levels: int) -> bytes:
    """Return an object with this number of levels, itself included."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_a_number_keeps_its_exact_text() -> None:
    tokens = parse_object(b'{"a": 0.10, "b": 1E400, "c": 12345678901234567890123}')
    assert tokens == {"a": "0.10", "b": "1E400", "c": "12345678901234567890123"}
    assert all(type(token) is NumberToken for token in tokens.values())


def test_a_string_of_digits_is_not_a_number() -> None:
    assert type(parse_object(b'{"a": "5"}')["a"]) is str


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"   ", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": .5}', "not JSON"),
        (b'{"a": +1}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": "\t"}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"{} {}", "follows"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [-Infinity]}', "Infinity"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (b'{"a": 1, "a": 1}', "'a' occurs twice"),
        (b'{"x": [{"b": 1, "c": 2, "b": 3}]}', "'b' occurs twice"),
        (rb'{"a": "x\u0000y"}', "U+0000"),
        (rb'{"x": [{"\u0000": 1}]}', "U+0000"),
        (rb'{"a": "\ud800"}', "surrogate"),
        (rb'{"\udc00": 1}', "surrogate"),
        (b'{"a": ' + b"9" * 81 + b"}", "longer than 80"),
        (nested(MAX_DEPTH + 1), "deeper than 32"),
        (b"[" * 100_000, "deeper than 32"),
        (b'{"a":' * 100_000, "deeper than 32"),
    ],
)
def test_a_body_that_is_not_one_valid_document_is_malformed(body: bytes, message: str) -> None:
    with pytest.raises(MalformedBody, match=message.replace("+", r"\+")):
        parse_object(body)


def test_nesting_up_to_the_limit_is_read() -> None:
    assert list(parse_object(nested(MAX_DEPTH))) == ["a"]


def test_many_brackets_side_by_side_are_not_nesting() -> None:
    assert len(parse_object(json.dumps({"a": [[] for _ in range(500)]}).encode())) == 1


def test_an_escaped_pair_of_surrogates_is_a_character() -> None:
    assert parse_object(rb'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}


def test_an_escaped_backslash_before_u0000_is_text() -> None:
    assert parse_object(rb'{"a": "\\u0000"}') == {"a": r"\u0000"}


@pytest.mark.parametrize("body", [b"[]", b"1", b'"a"', b"null", b"true"])
def test_a_root_other_than_an_object_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidInput) as invalid:
        parse_object(body)
    assert [(e.pointer, e.code) for e in invalid.value.errors] == [("", "wrong_type")]


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), json_values())
)
def test_a_document_round_trips_through_tokens(document: dict[str, object]) -> None:
    body = json.dumps(document)
    assert json.loads(format_token(parse_object(body.encode()))) == json.loads(body)


@given(st.binary(max_size=60))
def test_no_bytes_raise_any_other_error(body: bytes) -> None:
    with contextlib.suppress(MalformedBody, InvalidInput):
        parse_object(body)
