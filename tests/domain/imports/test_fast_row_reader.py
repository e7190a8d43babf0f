"""The fast row reader makes the same documents as the row reader."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spawn.domain.aggregates import encode_state
from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.imports.fast_row_reader import MAX_CACHED_BYTES, FastRowReader, FastRowResult
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.json_tokens import parse_object
from spawn.domain.projects.project import build_reservation_id, list_changed_fields
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.validator import compile_schema

pytestmark = pytest.mark.core

PROJECT_ID = "01890000-0000-7000-8000-000000000001"


def column(name: str, type_name: TypeName, **more: Any) -> Column:
    parameters = {k: more.pop(k) for k in ("precision", "scale", "max_length") if k in more}
    return Column(name=name, type=ColumnType(type_name, **parameters), **more)


GOVERNED = (
    column("capacity_mw", TypeName.DECIMAL, precision=18, scale=2, minimum=Decimal(0)),
    column("fee_amount", TypeName.DECIMAL, precision=22, scale=4),
    column("lanes", TypeName.INTEGER, minimum=1, maximum=12, aliases=("tracks",)),
    column("cells", TypeName.BIGINT),
    column("load_factor", TypeName.DOUBLE),
    column("green", TypeName.BOOLEAN),
    column("opened_on", TypeName.DATE),
    column("metered_at", TypeName.TIMESTAMP),
    column("grade", TypeName.STRING, enum=("A", "B", "ÅÄÖ")),
    column("permit", TypeName.STRING, pattern="[A-Z]{2}-[0-9]{3}", max_length=6),
    column("note", TypeName.STRING, max_length=20),
    column("origin", TypeName.STRING, default="import"),
    column("old_code", TypeName.STRING, deprecated=True),
)
SCHEMA = Schema(id="project_schema", version=1, name="P", fingerprint="1" * 64, governed=GOVERNED)
STRICT = Schema(
    id="project_schema",
    version=2,
    name="P",
    fingerprint="2" * 64,
    columns=(
        column("sector", TypeName.STRING, enum=("wind", "solar")),
        column("total_amount", TypeName.DECIMAL, precision=22, scale=4),
    ),
    governed=(column("grade", TypeName.STRING, required=True),),
)
PLAIN = {
    "project_name": "Río Verde",
    "total_amount": "61911967.08",
    "currency_code": "EUR",
    "country_code": "ESP",
    "subdivision_code": "ES-GA",
    "sector": "wind",
    "maturity_years": 18,
    "dscr": 1.35,
    "description": "Built for a test",
}

texts = st.one_of(
    st.text(max_size=24),
    st.sampled_from(["EUR", "JPY", "XAU", "ESP", "ES", "wind", " wind", "", "A", "ÅÄÖ", "AB-123"]),
    st.sampled_from(["PROPOSED", "OPERATION", "ACTIVE", "FINANCIAL_CLOSE", "SUSPENDED"]),
    st.sampled_from(["2030-02-28", "2030-02-29", "2031-01-01", "2030-01-31T12:00:00+01:00"]),
    st.sampled_from(["1.10", "-0", "0.00", "1e3", "NaN", "999999999999999999.9999", "0.12345"]),
)
numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-2, 120),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.sampled_from(
        ["-0", "-0.0", "1e2", "1E400", "0.1000000000", "49.0", "100000000", "01", "1."]
    ),
)
references = st.fixed_dictionaries(
    {"source": st.sampled_from(["erp", " erp", ""]), "id": st.sampled_from(["1", "a:b", "é/1"])}
)
json_values = st.one_of(
    texts.map(json.dumps),
    texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
    numbers.map(str),
    references.map(lambda reference: json.dumps(reference, ensure_ascii=False)),
    st.sampled_from(["null", "true", "false", "[]", "{}", '[{"name":"A","share":"100"}]', "nul"]),
)
VALUES = {
    "project_name": ('"Ålesund"', '" padded "', '"a\\u00e9"', '"tab\\tbed"'),
    "total_amount": ("104000000", '"0.5"', "0", '"-0"', "1e6", '"7.125"'),
    "currency_code": ('"JPY"', '"KWD"', '"USD"'),
    "country_code": ('"PT"', '"PRT"', '"ES"'),
    "subdivision_code": ('"PT-13"', '"ES-GA"', '"es-ga"'),
    "maturity_years": ("1", "49.0", "17.50", "1.85e1", "0.5", "17.125", "99", "100"),
    "dscr": ("-1.5", "0", "1.30000000", "9999999999", "10000000000"),
    "expected_irr": ("0.0953", "-1", "-0.0", "1e-2"),
    "status": ('"PROPOSED"', '"OPERATION"', '"ACTIVE"', '"FINANCIAL_CLOSE"'),
    "financial_close_date": ('"2024-02-29"', '"2030-01-01"'),
    "cod_date": ('"2025-06-30"', '"2031-01-01"'),
    "end_date": ('"2049-12-31"', '"2025-06-30"'),
    "external_ref": ('{"source":"erp","id":"1"}', '{"source":" erp","id":"a:b"}'),
    "capacity_mw": ("120.5", "0", "-1"),
    "fee_amount": ("12.5", '"12.50"', '"-3"'),
    "lanes": ("4", "12", "13"),
    "cells": ("9223372036854775807", "9223372036854775808"),
    "load_factor": ("0.31", "1e-3", "5"),
    "green": ("true", "false"),
    "opened_on": ('"2031-05-01"', '"2031-5-1"'),
    "metered_at": ('"2030-01-31T12:00:00+01:00"', '"2030-01-31T12:00:00Z"'),
    "grade": ('"A"', '"ÅÄÖ"', '"D"'),
    "permit": ('"ES-001"', '"ES-1"'),
    "note": ('"a note"', '"a note that is too long by far"', '"non\u00a0breaking"'),
    "origin": ('"desk"', "null"),
    "old_code": ('"7"', "null"),
    "tracks": ("4",),
    "expected_tri": ("9.5",),
    "sponsors": ("null", '[{"name":"A","share":"100"}]'),
    "spv": ("null", '{"name":"Dam SA"}'),
    "milestones": ("[]", '[{"milestone_id":"m","title":"M","kind":"CONDITION_PRECEDENT"}]'),
    "x_note": ("1", "null"),
    "version": ("null", "1"),
    "unknown": ("null", "1"),
}
"""Field values, most of them valid."""


@st.composite
def a_member(draw: st.DrawFn) -> tuple[str, str]:
    name = draw(st.sampled_from(sorted(VALUES)))
    is_listed = draw(st.integers(0, 3)) > 0
    return name, draw(st.sampled_from(VALUES[name]) if is_listed else json_values)


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """A plain row with some of its members changed, added or duplicated, spaced at random."""
    plain = {**PLAIN, "grade": "B"}
    members = [(name, json.dumps(value, ensure_ascii=False)) for name, value in plain.items()]
    changes = draw(st.lists(a_member(), max_size=4))
    if draw(st.integers(0, 9)):
        changed = dict(changes)
        members = [pair for pair in members if pair[0] not in changed] + [*changed.items()]
    else:
        members += changes
    colon = draw(st.sampled_from([":", ": ", " : ", "\t:"]))
    text = ", ".join(f'"{name}"{colon}{value}' for name, value in members)
    frame = draw(st.sampled_from(["{%s}\n", "{%s}", " {%s} \r\n", "{%s}}"]))
    return frame.replace("%s", text).encode(errors="replace")


def read_by_row_reader(schema: Schema, row: bytes) -> FastRowResult | None:
    """Return the row reader's result, or None for a rejected row."""
    try:
        tokens = parse_object(row)
    except (MalformedBody, InvalidInput):
        return None
    result = RowReader(compile_schema(schema), None).read(tokens, PROJECT_ID)
    project = result.project
    if project is None or result.warnings:
        return None
    reference = project.external_ref
    return FastRowResult(
        encode_state("project", project, schema),
        list_changed_fields(None, project),
        project.status_reason,
        result.key,
        None if reference is None else build_reservation_id(reference),
        result.has_currency,
    )


READERS = {schema.version: FastRowReader(compile_schema(schema)) for schema in (SCHEMA, STRICT)}


# The first rows are slow to draw; on a busy machine slow data generation is not a failure.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(row=rows(), schema=st.sampled_from([SCHEMA, STRICT]))
@example(row=b'{"project_name":"A","total_amount":1,"total_amount":2}', schema=SCHEMA)
@example(row=b'{"project_name":"A","total_amount":1,"lanes" :2,"lanes":2}', schema=SCHEMA)
@example(row=b'{"project_name":"A","total_amount":1,"lanes":2,"tracks":2}', schema=SCHEMA)
@example(row=b'{"project_name":"A","total_amount":"1.001"}', schema=SCHEMA)
@example(row=b'{"project_name":"A","total_amount":-1,"grade":"A"}', schema=STRICT)
@example(row=b'{"project_name":"A","total_amount":1}', schema=STRICT)
@example(row=b'{"project_name":"A","total_amount":1,"maturity_years":true}', schema=SCHEMA)
@example(row=b'{"project_name":"A","total_amount":1,"note":"\xff"}', schema=SCHEMA)
@example(row=b'{"project_name":"A","total_amount":1,"old_code":"a"}', schema=SCHEMA)
@example(row=b'{"project_name":"A","total_amount":1,"version":null}', schema=SCHEMA)
@example(
    row=b'{"project_name":"A","total_amount":1,"cod_date":"2030-01-02","end_date":"2030-01-01"}',
    schema=SCHEMA,
)
@example(
    row=b'{"project_name":"A","total_amount":1,"status":"FINANCIAL_CLOSE","milestones":'
    b'[{"milestone_id":"m","title":"M","kind":"CONDITION_PRECEDENT"}]}',
    schema=SCHEMA,
)
def test_a_plain_row_gives_the_same_document_as_the_row_reader(row: bytes, schema: Schema) -> None:
    result = READERS[schema.version].read(row, PROJECT_ID)
    assert result is None or result == read_by_row_reader(schema, row)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"total_amount": 104000000},
        {"status": "OPERATION", "cod_date": "2024-01-01", "end_date": "2049-01-01"},
        {"country_code": "ES", "expected_irr": 0.0953},
        {"country_code": "PT", "subdivision_code": "PT-13"},
        {"country_code": None, "subdivision_code": None},
        {"external_ref": {"source": "erp", "id": "7/b"}},
        {"capacity_mw": 120.5, "fee_amount": "12.5", "lanes": 4, "permit": "ES-001"},
        {
            "metered_at": None,
            "opened_on": "2031-05-01",
            "note": "ÅÄÖ",
            "load_factor": 0.31,
        },
    ],
)
def test_plain_rows_are_read_by_the_fast_reader(more: dict[str, Any]) -> None:
    row = json.dumps({**PLAIN, **more}, ensure_ascii=False).encode()
    # Twice: the second time from the cache.
    results = [READERS[1].read(row, PROJECT_ID) for _ in range(2)]
    assert results[0] is not None
    assert results == [read_by_row_reader(SCHEMA, row)] * 2


@pytest.mark.parametrize(
    "more", [{"country_code": "PT"}, {"country_code": None}, {"subdivision_code": "es-ga"}]
)
def test_a_subdivision_of_another_country_is_left_to_the_row_reader(more: dict[str, Any]) -> None:
    reader = FastRowReader(compile_schema(SCHEMA))
    valid = json.dumps(PLAIN, ensure_ascii=False).encode()
    assert reader.read(valid, PROJECT_ID) is not None
    # The valid row has filled the cache of texts, and must not vouch for this one.
    row = json.dumps({**PLAIN, **more}, ensure_ascii=False).encode()
    assert reader.read(row, PROJECT_ID) is None


def test_the_text_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spawn.domain.imports.fast_row_reader.MAX_CACHED_TEXTS", 3)
    reader = FastRowReader(compile_schema(SCHEMA))
    for number in range(9):
        long = {"description": "d" * (MAX_CACHED_BYTES * number)}
        row = json.dumps({**PLAIN, **long}, ensure_ascii=False).encode()
        assert reader.read(row, PROJECT_ID) == read_by_row_reader(SCHEMA, row)
    sizes = {name: len(field.cached_texts) for name, field in reader._fields.items()}
    assert sizes["description"] == 1
    assert max(sizes.values()) <= 3
