"""Schema discovery over HTTP."""

import httpx
import pytest
from tests.http.conftest import Start

SCHEMAS = "/v1/governance/schemas"


def test_active_schema_is_served_with_columns_and_its_own_document(client: httpx.Client) -> None:
    items = client.get(SCHEMAS).json()["items"]
    assert [(item["schema_id"], item["version"], item["state"]) for item in items] == [
        ("project_schema", 0, "active"),
        ("facility_schema", 0, "active"),
    ]
    active = client.get(f"{SCHEMAS}/project_schema")
    assert active.status_code == 200
    names = {column["name"] for column in active.json()["columns"] if column["governed"]}
    assert "capacity_mw" in names
    assert active.json()["document"]["columns"]
    version = client.get(active.json()["url"])
    assert version.json()["fingerprint"] == active.json()["fingerprint"]
    etag = active.headers["etag"]
    again = client.get(f"{SCHEMAS}/project_schema", headers={"if-none-match": etag})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "/nonsense",
        "/nonsense/versions",
        "/project_schema/versions/99",
        "/project_schema/versions/00",
        "/project_schema/versions/x",
    ],
)
def test_unknown_schema_or_version_is_not_found(client: httpx.Client, path: str) -> None:
    assert client.get(SCHEMAS + path).status_code == 404


def test_candidates_are_empty_without_a_new_version_in_the_registry(client: httpx.Client) -> None:
    refreshed = client.post(f"{SCHEMAS}/project_schema/refresh")
    assert (refreshed.status_code, refreshed.json()["items"]) == (200, [])
    assert client.get(f"{SCHEMAS}/project_schema/candidates").json()["items"] == []


def test_refresh_with_an_unreachable_server_is_502(start: Start) -> None:
    service = start(ontology_url="http://127.0.0.1:9", ontology_timeout_s=0.2)
    with service.client() as client:
        response = client.post(f"{SCHEMAS}/project_schema/refresh")
        assert (response.status_code, response.json()["code"]) == (502, "registry_error")
