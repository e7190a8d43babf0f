"""Published JSON Schemas accept what the service accepts, and have only valid keywords."""

import random
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from tests.domain.schemas import json_schema_laws
from tests.domain.schemas.json_schema_laws import compile_json_schema, read_exactly

from spawn.domain.json_tokens import parse_object
from spawn.domain.schema_version import Column, ColumnType, RetiredColumn, TypeName
from spawn.domain.schemas.json_schema import UNEXPRESSED_RULES, SchemaUse
from spawn.domain.schemas.linear_regex import compile_pattern, format_ecma_pattern
from spawn.domain.schemas.validator import SchemaValidator, compile_schema
from spawn.testing.builders import a_schema

pytestmark = pytest.mark.core

TEXT = ColumnType(TypeName.STRING)
WIDE = ColumnType(TypeName.DECIMAL, precision=38, scale=10)
DIGITS = Decimal("1234567890123456789012345678.0123456789")
INPUT, PATCH, OUTPUT = SchemaUse.INPUT, SchemaUse.PATCH, SchemaUse.OUTPUT


def property_of(column: Column, use: SchemaUse = OUTPUT, name: str = "") -> dict[str, Any]:
    schema = compile_schema(a_schema((column,))).json_schema(use)
    found: dict[str, Any] = schema["properties"][name or column.name]
    return found


def accepts(validator: SchemaValidator, use: SchemaUse, *members: str) -> bool:
    """Whether the published schema accepts a body; the service must judge alike."""
    base = () if use is PATCH else ('"project_name":"A","total_amount":1',)
    body = "{" + ",".join((*base, *members)) + "}"
    is_valid = compile_json_schema(validator, use).is_valid(read_exactly(body))
    try:
        validator.read(parse_object(body.encode()), partial=use is PATCH)
    except Exception:  # noqa: BLE001  # any rejection
        assert not is_valid, body
        return False
    assert is_valid, body
    return True


@pytest.mark.parametrize("seeds", [range(start, start + 12) for start in (0, 12, 24, 36)])
def test_a_body_is_valid_exactly_if_the_service_accepts_it(seeds: range) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        assert json_schema_laws.find_difference(json_schema_laws.write_schema(rng), rng) is None


@pytest.mark.parametrize(
    ("pattern", "published"),
    [
        (r"[0-9]+\$", r"^(?:[0-9]+\$)$"),
        (r"\S+", r"^(?:[^\t-\r ]+)$"),
        (r"^\d{2}\w?$", r"^(?:[0-9]{2}[0-9A-Z_a-z]?)$"),
        (r"^a|b$", r"^(?:a|b)$"),
        (r"a\\$", r"^(?:a\\)$"),
        (r"\-/\]", r"^(?:-/\])$"),
        (r"[\]\-^]", r"^(?:[\-\]\^])$"),
        (r".", r"^(?:[^\n\r])$"),
        (r"[\s\S]", r"^(?:[\s\S])$"),
        (r"(a|b){2,}(c?)?", r"^(?:(?:a|b){2,}(?:c?)?)$"),
    ],
)
def test_a_pattern_is_published_in_ecma_262(pattern: str, published: str) -> None:
    assert format_ecma_pattern(pattern) == published
    column = Column(name="price_tag", type=TEXT, pattern=pattern)
    assert property_of(column)["pattern"] == property_of(column, INPUT)["pattern"] == published


def test_a_published_pattern_matches_the_same_texts_in_other_engines() -> None:
    texts = [
        "",
        "a",
        "5$",
        "$",
        "\n",
        "\u2028",
        "\u00a0",
        "é",
        "😀",
        "ab",
        "a|b",
        "\\",
        "a\\",
        "^",
        "٣",
    ]
    for pattern in json_schema_laws.PATTERNS:
        matches, published = compile_pattern(pattern), format_ecma_pattern(pattern)
        rust = jsonschema_rs.validator_for({"pattern": published})
        python = re.compile(published.removesuffix("$") + r"\Z")
        for text in texts:
            assert rust.is_valid(text) == bool(python.match(text)) == matches(text), (pattern, text)


@pytest.mark.parametrize(
    ("type_", "bound", "keyword"),
    [
        (TypeName.DATE, date(2000, 1, 1), "2000-01-01"),
        (TypeName.TIMESTAMP, datetime(2000, 1, 1, tzinfo=UTC), "2000-01-01T00:00:00Z"),
    ],
)
def test_bounds_of_dates_are_annotations_and_words(
    type_: TypeName, bound: Any, keyword: str
) -> None:
    column = Column(name="permit_on", type=ColumnType(type_), minimum=bound, maximum=bound)
    for use in SchemaUse:
        found = property_of(column, use)
        assert not {"minimum", "maximum"} & found.keys()
        assert found["x-minimum"] == found["x-maximum"] == keyword
        assert found["description"] == f"Not before {keyword} and not after {keyword}."
        compile_json_schema(compile_schema(a_schema((column,))), use)


def test_an_alias_accepts_what_its_column_accepts() -> None:
    type_ = ColumnType(TypeName.DECIMAL, precision=20, scale=1)
    column = Column(name="q_amount", type=type_, aliases=("c",), required=True)
    validator = compile_schema(a_schema((column,)))
    for value in ('"10"', "10", "10.5", '"10.5"'):
        assert accepts(validator, INPUT, f'"c":{value}')
        assert accepts(validator, PATCH, f'"c":{value}')
    assert accepts(validator, INPUT, '"q_amount":null', '"c":1')
    assert not accepts(validator, INPUT, '"q_amount":1', '"c":1')
    assert not accepts(validator, PATCH, '"q_amount":1', '"c":1')
    assert not accepts(validator, INPUT, '"c":null')
    assert not accepts(validator, INPUT)
    assert not accepts(validator, PATCH, '"c":null')
    assert property_of(column, INPUT, "c")["description"] == "Alias of q_amount."


def test_null_restores_a_default_but_not_a_core_one() -> None:
    column = Column(name="grade", type=TEXT, enum=("A", "B"), required=True, default="B")
    validator = compile_schema(a_schema((column,)))
    assert accepts(validator, INPUT, '"grade":null', '"currency_code":null')
    assert accepts(validator, PATCH, '"grade":null')
    assert not accepts(validator, PATCH, '"currency_code":null')


def test_wide_numbers_keep_every_digit() -> None:
    column = Column(name="volume", type=WIDE, default=DIGITS, enum=(DIGITS, Decimal("0.1")))
    text = json_schema_laws.ENCODER.encode(property_of(column, INPUT)).decode()
    assert f'"enum":[{DIGITS},0.1,null]' in text
    assert f'"default":{DIGITS}' in text
    assert f'"maximum":{"9" * 28}.{"9" * 10}' in text
    big = Column(name="count", type=ColumnType(TypeName.BIGINT), maximum=2**53 + 1)
    assert f'"maximum":{2**53 + 1}' in json_schema_laws.ENCODER.encode(property_of(big)).decode()


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("10", True),
        ("10.0", True),
        ("20.50", True),
        ("20.5", True),
        ("20", False),
        ("020.5", False),
    ],
)
def test_an_enumeration_of_amounts_lists_their_texts(text: str, is_valid: bool) -> None:  # noqa: FBT001
    type_ = ColumnType(TypeName.DECIMAL, precision=6, scale=2)
    column = Column(name="fee_amount", type=type_, enum=(Decimal(10), Decimal("20.5")))
    assert accepts(compile_schema(a_schema((column,))), INPUT, f'"fee_amount":"{text}"') == is_valid


def test_a_restricted_code_lists_every_accepted_text() -> None:
    column = compile_schema(a_schema()).fields["country_code"]
    restricted = a_schema((msgspec.structs.replace(column, enum=("ESP", "PRT")),), governed=())
    validator = compile_schema(restricted)
    assert validator.json_schema(OUTPUT)["properties"]["country_code"]["enum"] == [
        "ESP",
        "PRT",
        None,
    ]
    assert accepts(validator, INPUT, '"country_code":"ES"')
    assert not accepts(validator, INPUT, '"country_code":"FRA"')


def test_a_removed_column_is_still_accepted() -> None:
    column = Column(name="old", type=TEXT, aliases=("older",))
    schema = a_schema((), retired=(RetiredColumn(column=column, since=2),))
    assert accepts(compile_schema(schema), INPUT, '"old":5', '"older":null')


def test_a_body_names_the_rules_beyond_its_schema() -> None:
    for use in (INPUT, PATCH):
        description = compile_schema(a_schema()).json_schema(use)["description"]
        assert all(rule in description for rule in UNEXPRESSED_RULES)


def test_a_listed_instant_may_be_written_with_another_offset() -> None:
    listed = datetime(2024, 1, 1, tzinfo=UTC)
    column = Column(name="t", type=ColumnType(TypeName.TIMESTAMP), enum=(listed,))
    validator = compile_schema(a_schema((column,)))
    for text in ("2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", "2024-01-01T00:00:00.000Z"):
        assert accepts(validator, INPUT, f'"t":"{text}"')
    assert property_of(column, INPUT)["x-enum"] == ["2024-01-01T00:00:00Z"]
    assert "2024-01-01T00:00:00Z" in property_of(column)["enum"]


@pytest.mark.parametrize(
    ("text", "is_accepted"),
    [
        ("2024-01-01T00:00:00Z", True),
        ("2024-01-01t00:00:00z", True),
        ("2024-01-01 00:00:00Z", False),
    ],
)
def test_an_instant_has_the_form_of_the_format(text: str, is_accepted: bool) -> None:  # noqa: FBT001  # a parameter of the test
    column = Column(name="t", type=ColumnType(TypeName.TIMESTAMP))
    validator = compile_schema(a_schema((column,)))
    assert accepts(validator, INPUT, f'"t":"{text}"') is is_accepted
    # A cell or a query value is written by people, who may leave a blank.
    assert validator.read_value("t", "2024-01-01 00:00:00Z") == datetime(2024, 1, 1, tzinfo=UTC)
