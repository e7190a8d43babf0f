"""The OpenAPI document says what the record of it says, its texts apart."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.http.conftest import Service
from tests.http.openapi_surface import RECORD, surface_of, write_record


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, object]:
    with service.client() as client:
        return dict(client.get("/openapi.json").json())


@pytest.fixture(scope="module")
def surface(document: dict[str, object]) -> Any:
    return json.loads(json.dumps(surface_of(document)))


def test_the_contract_changes_only_where_the_record_of_it_is_changed(
    document: dict[str, object], surface: Any
) -> None:
    assert str(document["openapi"]).startswith("3.1")
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert surface["operations"].keys() == recorded["operations"].keys()
    for name, operation in recorded["operations"].items():
        assert surface["operations"][name] == operation, name
    assert surface == recorded


def test_what_is_written_as_the_record_is_read_as_the_same(
    document: dict[str, object], surface: Any, tmp_path: Path
) -> None:
    path = tmp_path / "surface.json"
    write_record(document, path)
    assert json.loads(path.read_text(encoding="utf-8")) == surface
