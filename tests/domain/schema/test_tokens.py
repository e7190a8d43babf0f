"""Bodies are read strictly, and numbers keep the text they were written with."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.json_tokens import MAX_DEPTH, Number, read_object, write_token
from spawn.testing.strategies import json_values

pytestmark = pytest.mark.core


def nested(levels: int) -> bytes:
    """An object of so many levels, itself included."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_a_number_keeps_its_exact_text() -> None:
    tokens = read_object(b'{"a": 0.10, "b": 1E400, "c": 12345678901234567890123}')
    assert tokens == {"a": "0.10", "b": "1E400", "c": "12345678901234567890123"}
    assert all(type(token) is Number for token in tokens.values())


def test_a_string_of_digits_is_no_number() -> None:
    assert type(read_object(b'{"a": "5"}')["a"]) is str


@pytest.mark.parametrize(
    ("body", "said"),
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
def test_what_is_not_one_sound_document_is_malformed(body: bytes, said: str) -> None:
    with pytest.raises(MalformedBody, match=said.replace("+", r"\+")):
        read_object(body)


def test_nesting_up_to_the_limit_is_read() -> None:
    assert list(read_object(nested(MAX_DEPTH))) == ["a"]


def test_many_brackets_side_by_side_are_no_nesting() -> None:
    assert len(read_object(json.dumps({"a": [[] for _ in range(500)]}).encode())) == 1


def test_an_escaped_pair_of_surrogates_is_a_character() -> None:
    assert read_object(rb'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}


def test_an_escaped_backslash_before_u0000_is_text() -> None:
    assert read_object(rb'{"a": "\\u0000"}') == {"a": r"\u0000"}


@pytest.mark.parametrize("body", [b"[]", b"1", b'"a"', b"null", b"true"])
def test_another_value_than_an_object_is_refused_at_the_root(body: bytes) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_object(body)
    assert [(e.pointer, e.code) for e in refusal.value.errors] == [("", "wrong_type")]


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), json_values())
)
def test_what_is_read_and_written_again_says_the_same(document: dict[str, object]) -> None:
    body = json.dumps(document)
    assert json.loads(write_token(read_object(body.encode()))) == json.loads(body)


@given(st.binary(max_size=60))
def test_no_bytes_cause_any_other_error(body: bytes) -> None:
    with contextlib.suppress(MalformedBody, InvalidInput):
        read_object(body)
