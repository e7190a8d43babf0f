"""Schema documents are external data: whitelisted, bounded, or rejected by path."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.core_columns import CORE_BY_NAME, RESERVED_NAMES
from spawn.domain.schemas.document_parser import (
    MAX_COLUMNS,
    MAX_DOCUMENT_BYTES,
    compute_fingerprint,
    is_schema_id,
    read_schema,
    restore_schema,
)
from spawn.testing.strategies import json_values

pytestmark = pytest.mark.core

FIRST = {
    "name": "project_schema",
    "description": "Projects",
    "columns": [
        {"name": "project_id", "type": "VARCHAR", "description": "", "required": True},
        {"name": "project_name", "type": "VARCHAR(255)", "required": True},
        {"name": "total_amount", "type": "DOUBLE", "required": True},
        {"name": "maturity_years", "type": "INTEGER", "required": True},
        {"name": "expected_tri", "type": "FLOAT", "description": "TRI in percent"},
        {"name": "cod_date", "type": "VARCHAR"},
        {"name": "status", "type": "TEXT", "required": True},
        {"name": "region", "type": "VARCHAR"},
        {"name": "created_at", "type": "TIMESTAMP"},
    ],
}


def raw(document: object) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def versioned(*columns: object, **members: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"id": "project_schema", "version": 3, "columns": list(columns)}
    return base | members


def column(**members: Any) -> Column:
    """The one column of a document with one."""
    (found,) = read_schema(raw(versioned({"name": "a", "type": "string", **members}))).columns
    return found


def errors_of(document: object, **options: Any) -> set[tuple[str, str]]:
    with pytest.raises(InvalidInput) as exception:
        read_schema(raw(document), **options)
    return {(error.pointer, error.code) for error in exception.value.errors}


def column_errors(**members: Any) -> set[tuple[str, str]]:
    found = errors_of(versioned({"name": "a", "type": "string", **members}))
    return {(pointer.removeprefix("/columns/0"), code) for pointer, code in found}


def test_a_full_column_is_read_with_typed_constraints() -> None:
    found = column(
        name="capacity_mw",
        type="decimal(12, 3)",
        description="Installed",
        required=True,
        default=1.5,
        minimum=0.001,
        maximum=5000,
        semantic="https://example.org/capacity",
        unit="MW",
        aliases=["power"],
        deprecated=True,
        sunset="2030-01-01",
    )
    assert found == Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=12, scale=3),
        description="Installed",
        required=True,
        default=Decimal("1.5"),
        minimum=Decimal("0.001"),
        maximum=Decimal(5000),
        semantic="https://example.org/capacity",
        unit="MW",
        aliases=("power",),
        deprecated=True,
        sunset=date(2030, 1, 1),
    )


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("VARCHAR", "string"),
        ("varchar(50)", "string(50)"),
        ("TEXT", "string"),
        ("string(10)", "string(10)"),
        ("INT", "integer"),
        ("Integer", "integer"),
        ("BIGINT", "bigint"),
        ("DECIMAL(18,4)", "decimal(18,4)"),
        ("numeric( 10 , 2 )", "decimal(10,2)"),
        ("DECIMAL (9)", "decimal(9,0)"),
        ("decimal", "decimal(18,6)"),
        ("DOUBLE", "double"),
        ("double precision", "double"),
        ("FLOAT", "double"),
        ("number", "double"),
        ("BOOLEAN", "boolean"),
        ("DATE", "date"),
        ("TIMESTAMP", "timestamp"),
        ("timestamp with time zone", "timestamp"),
    ],
)
def test_types_of_both_generations_are_known(text: str, canonical: str) -> None:
    assert str(column(type=text).type) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "blob",
        "",
        "string; drop table projects",
        "varchar(10) default (select 1)",
        "decimal(39,2)",
        "decimal(5,6)",
        "decimal(0)",
        "decimal(1,2,3)",
        "string(0)",
        "string(10001)",
        "string(1,2)",
        "integer(4)",
        "date()",
        "string" + " " * 90,
        "\u017ftring",  # a long s lowers to no ASCII letter
    ],
)
def test_any_other_type_is_rejected(text: str) -> None:
    ((pointer, code),) = column_errors(type=text)
    assert pointer == "/type"
    assert code in {"unknown_type", "out_of_range"}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "1a",
        "_a",
        "a-b",
        "a b",
        "a" * 64,
        "é",
        "a\n",
        'a" VARCHAR); DROP TABLE journal; --',
        "select*",
    ],
)
def test_a_name_outside_the_whitelist_is_rejected(name: str) -> None:
    assert column_errors(name=name) == {("/name", "invalid_identifier")}
    assert column_errors(aliases=["ok", name]) == {("/aliases/1", "invalid_identifier")}
    assert ("/id", "invalid_identifier") in errors_of(versioned(id=name))
    assert not is_schema_id(name)


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES | {"x_anything"}))
def test_a_reserved_name_is_rejected(name: str) -> None:
    assert column_errors(name=name) == {("/name", "structural_name")}
    assert column_errors(aliases=[name]) == {("/aliases/0", "structural_name")}


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"type": None}, ("/type", "missing")),
        ({"name": None}, ("/name", "missing")),
        ({"type": 5}, ("/type", "wrong_type")),
        ({"required": "yes"}, ("/required", "wrong_type")),
        ({"description": "x" * 4001}, ("/description", "too_long")),
        ({"pattern": "^(a+)+$"}, ("/pattern", "unsafe_pattern")),
        ({"pattern": "a" * 201}, ("/pattern", "unsafe_pattern")),
        ({"type": "integer", "pattern": "a"}, ("/pattern", "not_applicable")),
        ({"type": "integer", "minimum": 3, "maximum": 2}, ("/maximum", "inconsistent")),
        ({"type": "integer", "minimum": "3"}, ("/minimum", "wrong_type")),
        ({"type": "integer", "minimum": 2.5}, ("/minimum", "wrong_type")),
        ({"minimum": "a"}, ("/minimum", "not_applicable")),
        ({"type": "boolean", "enum": [True]}, ("/enum", "not_applicable")),
        ({"enum": []}, ("/enum", "too_many")),
        ({"enum": ["a", "a"]}, ("/enum", "duplicate")),
        ({"enum": ["a", 1]}, ("/enum/1", "wrong_type")),
        ({"enum": ["a", None]}, ("/enum/1", "wrong_type")),
        ({"enum": ["a", "B"], "pattern": "[a-z]"}, ("/enum/1", "inconsistent")),
        ({"enum": ["a"], "default": "b"}, ("/default", "inconsistent")),
        ({"type": "string(2)", "default": "abc"}, ("/default", "inconsistent")),
        ({"type": "integer", "default": "3"}, ("/default", "wrong_type")),
        ({"type": "date", "default": "tomorrow"}, ("/default", "not_a_date")),
        ({"semantic": "javascript"}, ("/semantic", "not_an_iri")),
        ({"semantic": "https://a b"}, ("/semantic", "not_an_iri")),
        ({"unit": "M\nW"}, ("/unit", "control_character")),
        ({"aliases": "b"}, ("/aliases", "wrong_type")),
        ({"aliases": [f"b{i}" for i in range(21)]}, ("/aliases", "too_many")),
        ({"sunset": "soon"}, ("/sunset", "not_a_date")),
    ],
)
def test_an_invalid_member_of_a_column_is_reported(
    members: dict[str, Any], error: tuple[str, str]
) -> None:
    assert column_errors(**members) == {error}


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (b"garbage", ("", "malformed")),
        (b"\xff\xfe", ("", "malformed")),
        (b"[" * 100_000, ("", "malformed")),
        (b'{"a": 1, "a": 2}', ("", "malformed")),
        (b"[]", ("", "wrong_type")),
        (b" " * (MAX_DOCUMENT_BYTES + 1), ("", "too_long")),
        (versioned(version=-1), ("/version", "out_of_range")),
        (versioned(version="3"), ("/version", "wrong_type")),
        (versioned(version=2**31), ("/version", "out_of_range")),
        (versioned(version=1.5), ("/version", "wrong_type")),
        (versioned(columns=None), ("/columns", "missing")),
        (versioned(columns={}), ("/columns", "wrong_type")),
        (versioned(7), ("/columns/0", "wrong_type")),
        (versioned(*[{}] * (MAX_COLUMNS + 1)), ("/columns", "too_many")),
        (versioned(name="x'; drop table projects; --"), ("/name", "invalid_identifier")),
        (versioned(name="<script>"), ("/name", "invalid_identifier")),
        (versioned(**{"@context": "x" * 70_000}), ("/@context", "too_long")),
        (
            versioned(unknown=float("1e300"), version=3, description=5),
            ("/description", "wrong_type"),
        ),
    ],
)
def test_an_invalid_document_is_rejected_by_path(document: object, error: tuple[str, str]) -> None:
    assert errors_of(document) == {error}


def test_a_document_of_another_schema_is_rejected() -> None:
    assert errors_of(versioned(), schema_id="other") == {("/id", "other_schema")}


def test_names_and_aliases_are_unique_across_columns() -> None:
    one, two = {"name": "a", "type": "date"}, {"name": "b", "type": "date"}
    assert errors_of(versioned(one, one)) == {("/columns/1/name", "duplicate")}
    for alias in ["b", "dscr", "expected_tri"]:
        assert errors_of(versioned({**one, "aliases": [alias]}, two)) == {("/columns", "duplicate")}
    shared = {"aliases": ["c"]}
    assert errors_of(versioned({**one, **shared}, {**two, **shared})) == {("/columns", "duplicate")}


def test_a_core_column_is_described_and_keeps_its_type() -> None:
    schema = read_schema(
        raw(versioned({"name": "total_amount", "type": "decimal(18,2)", "description": "Capex"}))
    )
    (found,) = schema.columns
    core = CORE_BY_NAME["total_amount"]
    assert (found.type, found.required, found.minimum) == (core.type, True, Decimal(0))
    assert found.description == "Capex"
    assert schema.governed == ()


def test_a_core_column_may_be_tightened() -> None:
    schema = read_schema(
        raw(
            versioned(
                {"name": "sector", "type": "string", "required": True, "enum": ["Solar", "Wind"]},
                {"name": "maturity_years", "type": "integer", "maximum": 30},
            )
        )
    )
    sector, maturity = schema.columns
    assert (sector.required, sector.enum) == (True, ("Solar", "Wind"))
    assert (maturity.minimum, maturity.maximum) == (Decimal("0.5"), 30)


@pytest.mark.parametrize(
    ("members", "minimum"),
    [
        ({"type": "integer"}, "0.5"),
        ({"type": "bigint", "minimum": 1, "maximum": 99}, "0.5"),
        ({"type": "integer", "minimum": 2}, "2"),
        ({"type": "decimal(4,1)", "minimum": 1}, "1"),
        ({"type": "double"}, "0.5"),
    ],
)
def test_a_former_definition_of_a_core_column_restricts_nothing(
    members: dict[str, Any], minimum: str
) -> None:
    (column,) = read_schema(raw(versioned({"name": "maturity_years", **members}))).columns
    assert column.type == CORE_BY_NAME["maturity_years"].type
    assert (column.minimum, column.maximum) == (Decimal(minimum), 99)


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"name": "dscr", "type": "string"}, "type"),
        ({"name": "project_name", "type": "integer"}, "type"),
        ({"name": "cod_date", "type": "timestamp"}, "type"),
        ({"name": "total_amount", "type": "decimal", "minimum": -1}, "minimum"),
        ({"name": "maturity_years", "type": "integer", "maximum": 100}, "maximum"),
        ({"name": "maturity_years", "type": "integer", "minimum": 0}, "minimum"),
        ({"name": "maturity_years", "type": "string"}, "type"),
        ({"name": "dscr", "type": "integer"}, "type"),
        ({"name": "currency_code", "type": "string", "default": "EUR"}, "default"),
        ({"name": "status", "type": "string", "enum": ["OPEN", "SHUT"]}, "enum"),
        ({"name": "status_reason", "type": "string", "required": True}, "required"),
    ],
)
def test_a_core_column_is_never_redefined(members: dict[str, Any], member: str) -> None:
    assert errors_of(versioned(members)) == {(f"/columns/0/{member}", "core_redefined")}


def test_statements_that_change_nothing_are_named() -> None:
    """The domain keeps its own definition of a core column, and says so."""
    document = versioned(
        {"name": "project_name", "type": "string(900)", "required": True},
        {"name": "total_amount", "type": "decimal(22,4)", "required": False},
        {"name": "maturity_years", "type": "integer"},
        {"name": "sector", "type": "string"},
        {"name": "zone", "type": "string", "uniqe": True, "x-owner": "desk", "required": False},
        {"name": "basin", "type": "string", "sunset": "2030-01-01"},
        unique=[["project_name"]],
        **{"$schema": "https://example.org/meta"},
    )
    schema = read_schema(raw(document))
    assert schema.ineffective == (
        "/unique: no such member has an effect.",
        "/columns/0/type: project_name stays a string(500).",
        "/columns/1/required: total_amount stays required.",
        "/columns/4/uniqe: no such member has an effect.",
        "/columns/5/sunset: basin is not deprecated, so nobody is warned.",
    )
    many = versioned(**{f"m{n}": 1 for n in range(50)})
    assert len(read_schema(raw(many)).ineffective) == 21
    assert read_schema(raw(FIRST)).ineffective == ()


def test_rules_of_a_document_without_a_version_are_named_as_ineffective() -> None:
    limit = {"name": "aa", "type": "string(9)", "enum": ["A"], "unit": "MW", "note": "x"}
    default = {"name": "cap", "type": "integer", "minimum": 5, "aliases": ["kap"], "default": 7}
    document = {"name": "project_schema", "columns": [limit, default], "owner": "us"}
    assert read_schema(raw(document)).ineffective == (
        "/owner: no such member has an effect.",
        *(
            f"/columns/{place}: it has no effect in a document without a version."
            for place in ("0/enum", "0/unit")
        ),
        "/columns/0/note: no such member has an effect.",
        *(
            f"/columns/{place}: it has no effect in a document without a version."
            for place in ("1/minimum", "1/aliases", "1/default")
        ),
    )
    assert read_schema(raw({**document, "version": 1})).ineffective == (
        "/owner: no such member has an effect.",
        "/columns/0/note: no such member has an effect.",
    )


@pytest.mark.parametrize("number", ["1e-99999999", "-4e-400", "0.00001e-330"])
def test_a_double_that_would_become_zero_is_out_of_range(number: str) -> None:
    text = f'{{"name": "k", "type": "double", "default": {number}}}'
    document = f'{{"id": "project_schema", "version": 1, "columns": [{text}]}}'.encode()
    with pytest.raises(InvalidInput) as failure:
        read_schema(document)
    (error,) = failure.value.errors
    assert (error.pointer, error.code) == ("/columns/0/default", "out_of_range")
    assert read_schema(document.replace(number.encode(), b"-0.0e5")).columns[0].default == 0


def test_a_first_generation_document_is_converted() -> None:
    schema = read_schema(raw(FIRST), default_version=7, schema_id="project_schema")
    assert (schema.id, schema.version, schema.name) == ("project_schema", 7, "project_schema")
    assert [c.name for c in schema.governed] == ["region"]
    by_name = {c.name: c for c in schema.columns}
    assert "project_id" not in by_name
    assert by_name["expected_irr"].description == "TRI in percent"
    # What the first generation demanded of a core attribute is not what the core demands.
    assert not by_name["maturity_years"].required
    assert by_name["total_amount"].type == CORE_BY_NAME["total_amount"].type


def test_a_first_generation_document_gets_the_default_version() -> None:
    one, two = read_schema(raw(FIRST)), read_schema(raw(FIRST), default_version=2)
    assert (one.version, two.version) == (1, 2)
    assert one.fingerprint == two.fingerprint == compute_fingerprint(raw(FIRST))


def test_a_hostile_name_of_the_first_generation_is_rejected() -> None:
    document = {**FIRST, "name": "project_schema; DROP TABLE projects"}
    assert ("/name", "invalid_identifier") in errors_of(document, schema_id="project_schema")


def test_a_version_in_the_document_overrides_the_default() -> None:
    assert read_schema(raw(versioned()), default_version=9).version == 3


def test_the_context_is_stored_as_received() -> None:
    context = {"@vocab": "https://schema.org/", "a": {"@id": "b"}}
    schema = read_schema(raw(versioned(**{"@context": context})))
    assert schema.context is not None
    assert json.loads(bytes(schema.context)) == context


def test_a_rejected_document_keeps_its_name_and_fingerprint() -> None:
    hostile = raw(versioned({"name": "A B", "type": "blob"}))
    recalled = restore_schema(hostile, schema_id="project_schema", version=3)
    mark = compute_fingerprint(hostile)
    assert recalled == Schema(
        id="project_schema", version=3, name="project_schema", fingerprint=mark
    )
    sound = restore_schema(raw(FIRST), schema_id="project_schema", version=5)
    assert (sound.version, len(sound.governed)) == (5, 1)


MEMBERS = ["id", "name", "version", "columns", "description", "@context"]
COLUMN_MEMBERS = ["name", "type", "required", "default", "enum", "minimum", "maximum", "pattern"]


@given(
    st.dictionaries(st.sampled_from(MEMBERS), json_values(), max_size=4),
    st.lists(
        st.dictionaries(
            st.sampled_from([*COLUMN_MEMBERS, "aliases", "semantic", "unit", "sunset"]),
            json_values() | st.sampled_from(["a", "date", "decimal(5,2)", "dscr", "integer"]),
        ),
        max_size=3,
    ),
)
def test_any_document_is_read_or_rejected_with_pointers(
    members: dict[str, Any], columns: list[dict[str, Any]]
) -> None:
    document = {"id": "p", "version": 1, "columns": columns, **members}
    try:
        schema = read_schema(raw(document))
    except InvalidInput as exception:
        assert exception.errors  # noqa: PT017  # either outcome is right; the claim is on this one
    else:
        assert is_schema_id(schema.id)
        assert all(is_schema_id(column.name) for column in schema.columns)
