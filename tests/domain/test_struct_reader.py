"""The struct reader reports every invalid field, and reads what annotations declare."""

import json
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from spawn.domain.errors import MAX_ERRORS, InvalidInput
from spawn.domain.json_tokens import parse_token
from spawn.domain.struct_reader import (
    MAX_ITEMS,
    TokenReader,
    collect_members,
    compile_reader,
    line_reader,
    prose_reader,
    read_string,
    series_reader,
)

pytestmark = pytest.mark.core


class Kind(StrEnum):
    SOLAR = "solar"
    WIND = "wind"


class Plant(msgspec.Struct, frozen=True):
    name: str
    kind: Kind = Kind.SOLAR
    share: Decimal = Decimal(1)
    opened_on: date | None = None


class Portfolio(msgspec.Struct, frozen=True):
    plants: tuple[Plant, ...]
    rates: float | tuple[float, ...] = 0.0
    labels: dict[str, str] = {}
    kinds: frozenset[Kind] = frozenset()
    is_open: bool = False
    count: int = 0


read_portfolio = compile_reader(Portfolio)


def read(reader: TokenReader, value: object) -> Any:
    return reader(parse_token(json.dumps(value).encode()), "")


def errors_of(reader: TokenReader, value: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as invalid:
        read(reader, value)
    return {error.pointer: error.code for error in invalid.value.errors}


def test_every_declared_type_is_read() -> None:
    body = {
        "plants": [{"name": "A", "kind": "wind", "share": "0.10", "opened_on": "2027-01-31"}],
        "rates": [0.05, 1],
        "labels": {"a/b": "x"},
        "kinds": ["wind", "wind"],
        "is_open": True,
        "count": 49.0,
    }
    assert read(read_portfolio, body) == Portfolio(
        plants=(Plant("A", Kind.WIND, Decimal("0.10"), date(2027, 1, 31)),),
        rates=(0.05, 1.0),
        labels={"a/b": "x"},
        kinds=frozenset({Kind.WIND}),
        is_open=True,
        count=49,
    )


def test_every_error_is_reported_with_its_pointer() -> None:
    body = {
        "plants": [{"kind": "tidal", "share": "1e3", "opened_on": "2027-02-30"}, 5],
        "rates": "high",
        "labels": {"a/b": 1, "c": 2},
        "kinds": ["wind", 1],
        "is_open": "yes",
        "count": 1.5,
        "x~y": None,
    }
    assert errors_of(read_portfolio, body) == {
        "/plants/0/name": "missing",
        "/plants/0/kind": "not_in_enum",
        "/plants/0/share": "invalid_value",
        "/plants/0/opened_on": "out_of_range",
        "/plants/1": "wrong_type",
        "/rates": "wrong_type",
        "/labels/a~1b": "wrong_type",
        "/labels/c": "wrong_type",
        "/kinds/1": "wrong_type",
        "/is_open": "wrong_type",
        "/count": "wrong_type",
        "/x~0y": "unknown_field",
    }


@pytest.mark.parametrize("body", [None, [], "x", 1, True])
def test_only_an_object_is_a_struct(body: object) -> None:
    assert errors_of(read_portfolio, body) == {"": "wrong_type"}


def test_null_is_a_value_unless_it_counts_as_absent() -> None:
    nulls = {"name": None, "kind": None, "opened_on": None, "extra": None}
    assert errors_of(compile_reader(Plant), nulls) == {
        "/name": "wrong_type",
        "/kind": "wrong_type",
        "/extra": "unknown_field",
    }
    tolerant = compile_reader(Plant, null_is_absent=True)
    assert errors_of(tolerant, nulls) == {"/name": "missing", "/extra": "unknown_field"}
    assert read(tolerant, {"name": "A", "kind": None, "share": None}) == Plant("A")


def test_readers_of_fields_and_types_replace_those_of_annotations() -> None:
    long_text = "x" * 300
    assert errors_of(compile_reader(Plant), {"name": long_text}) == {"/name": "too_long"}
    types: dict[type[inspect.Type], TokenReader] = {inspect.StrType: read_string}
    assert read(compile_reader(Plant, types=types), {"name": long_text}).name == long_text
    assert read(compile_reader(Plant, {"name": line_reader(10)}), {"name": " A "}).name == "A"


@pytest.mark.parametrize("length", [MAX_ITEMS + 1, 100_000])
def test_a_series_beyond_the_limit_is_rejected_before_its_items(length: int) -> None:
    assert errors_of(read_portfolio, {"plants": [], "rates": [1] * length}) == {
        "/rates": "wrong_length"
    }
    assert errors_of(series_reader(read_string, 2), [1, 2, 3]) == {"": "too_many"}


def test_numbers_beyond_float64_are_rejected_by_index() -> None:
    huge = parse_token(b'{"plants": [], "rates": [1, 1e400, -1e400]}')
    with pytest.raises(InvalidInput) as invalid:
        read_portfolio(huge, "")
    assert [error.pointer for error in invalid.value.errors] == ["/rates/1", "/rates/2"]


def test_at_most_so_many_errors_are_reported() -> None:
    body = {"plants": [{"a": 1}] * 1000, **{f"x{i}": 1 for i in range(1000)}}
    assert len(errors_of(read_portfolio, body)) == MAX_ERRORS


def test_members_can_be_collected_beside_errors() -> None:
    errors: list[Any] = []
    token = parse_token(b'{"a": "x", "b": 1, "c": null, "d": 2}')
    readers = dict.fromkeys("abc", read_string)
    values = collect_members(token, "/at", readers, errors, required="ac", ignores_unknown=True)
    assert values == {"a": "x"}
    assert {(error.pointer, error.code) for error in errors} == {
        ("/at/b", "wrong_type"),
        ("/at/c", "missing"),
    }


def test_text_readers_trim_lines_and_bound_prose() -> None:
    assert errors_of(line_reader(3), "a\nb") == {"": "control_character"}
    assert errors_of(line_reader(3), "  ") == {"": "empty"}
    assert errors_of(line_reader(3, trims=False), " a") == {"": "not_trimmed"}
    assert read(prose_reader(3), "a\nb") == "a\nb"
    assert errors_of(prose_reader(3), "abcd") == {"": "too_long"}
    assert read(prose_reader(3), " ") == " "
    assert errors_of(prose_reader(3, allows_blank=False), " ") == {"": "empty"}
