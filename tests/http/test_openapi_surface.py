"""The OpenAPI document says what the record of it says, its texts apart."""

import json

import httpx
import pytest
from tests.http.openapi_surface import RECORD, surface_of, write_record


@pytest.fixture
def document(client: httpx.Client) -> dict[str, object]:
    return dict(client.get("/openapi.json").json())


def test_the_contract_changes_only_where_the_record_of_it_is_changed(
    document: dict[str, object],
) -> None:
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    surface = json.loads(json.dumps(surface_of(document)))
    assert surface["operations"].keys() == recorded["operations"].keys()
    for name, operation in recorded["operations"].items():
        assert surface["operations"][name] == operation, name
    assert surface == recorded


def test_what_is_written_as_the_record_is_read_as_the_same(
    document: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("openapi") / "surface.json"
    write_record(document, path)
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(
        json.dumps(surface_of(document))
    )
