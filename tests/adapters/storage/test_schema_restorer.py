"""Stored documents are read in pieces exactly as they are read whole."""

import json
from typing import Any

import pytest

from spawn.adapters.embedded.schema_restorer import SchemaRestorer, share_columns
from spawn.adapters.ontology.bundled import load_bundled_document
from spawn.domain.schemas.document_parser import read_schema, restore_schema

BUNDLED: dict[str, Any] = json.loads(load_bundled_document())
ZONE = {"name": "zone", "type": "string", "aliases": ["area"]}


def variants() -> list[dict[str, Any]]:
    columns = BUNDLED["columns"]
    return [
        BUNDLED,
        {**BUNDLED, "version": 2, "name": "Other"},
        {**BUNDLED, "version": 3, "columns": [*columns[1:], columns[0]]},
        {**BUNDLED, "version": 4, "columns": [*columns, {**ZONE, "unknown": 1}], "extra": [1e2]},
        {**BUNDLED, "version": 5, "quality": [{"complete": "sector"}]},
        {**BUNDLED, "version": 6, "@context": {"zone": "http://a/zone", "ü": None}},
        {**BUNDLED, "version": 7, "über": 1},
        # Invalid: two columns of a name, an alias that is taken, a type that does not exist.
        {**BUNDLED, "version": 8, "columns": [ZONE, ZONE]},
        {**BUNDLED, "version": 9, "columns": [ZONE, {**ZONE, "name": "area", "aliases": []}]},
        {**BUNDLED, "version": 10, "columns": [{**ZONE, "aliases": ["sector"]}]},
        {**BUNDLED, "version": 11, "columns": [{**ZONE, "type": "none"}]},
        {**BUNDLED, "version": 12, "columns": 1},
        {"name": "first", "columns": [{"name": "expected_tri", "type": "FLOAT"}]},
        {**BUNDLED, "id": "another", "version": 13},
    ]


@pytest.mark.parametrize("document", variants(), ids=lambda d: str(d.get("version")))
def test_a_document_in_pieces_is_the_same_schema(document: dict[str, Any]) -> None:
    restorer = SchemaRestorer("project")
    encoded = json.dumps(document, ensure_ascii=False).encode()
    expected = restore_schema(encoded, schema_id="project_schema", version=20)
    for _ in range(2):
        restorer.restore(load_bundled_document(), schema_id="project_schema", version=0)
        assert restorer.restore(encoded, schema_id="project_schema", version=20) == expected


def test_equal_columns_of_successive_versions_are_one_object() -> None:
    first = read_schema(load_bundled_document())
    changed_columns = [dict(column) for column in BUNDLED["columns"]]
    changed_columns[3]["description"] = "Another text."
    second = read_schema(json.dumps({**BUNDLED, "columns": changed_columns}).encode())
    shared_schema = share_columns(second, first)
    assert shared_schema == second
    same = [a is b for a, b in zip(first.columns, shared_schema.columns, strict=True)]
    assert same.count(False) == 1
