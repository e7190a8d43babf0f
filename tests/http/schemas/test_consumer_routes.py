"""Consumers of schema versions, and the registry's list, over HTTP."""

from datetime import UTC, datetime

import httpx
import pytest
import tenacity
from tests.http.conftest import Start

CONSUMERS = "/v1/governance/consumers"
BODY = {"contact": "mailto:reporting@bank.example", "schema_version": 0}


def test_a_consumer_is_registered_listed_and_removed(client: httpx.Client) -> None:
    created = client.put(f"{CONSUMERS}/reporting", json=BODY)
    assert (created.status_code, created.headers["location"]) == (201, f"{CONSUMERS}/reporting")
    expected = {
        "name": "reporting",
        "schema_id": "project_schema",
        "owner": "local",
        "sunset": None,
        **BODY,
    }
    version = client.get("/v1/governance/schemas/project_schema").json()
    assert (version["consumers"], version["sunset"]) == ([expected], None)
    expected |= {"last_used_on": None}
    assert created.json() == expected
    assert client.put(f"{CONSUMERS}/reporting", json=BODY).status_code == 200
    assert client.get(f"{CONSUMERS}/reporting").json() == expected
    assert client.get(CONSUMERS).json()["items"] == [expected]
    assert client.get(CONSUMERS, params={"schema_version": "0"}).json()["items"] == [expected]
    assert client.get(CONSUMERS, params={"schema_version": "1"}).json()["items"] == []
    assert client.delete(f"{CONSUMERS}/reporting").status_code == 200
    assert client.get(f"{CONSUMERS}/reporting").status_code == 404
    assert client.delete(f"{CONSUMERS}/reporting").status_code == 404
    versions = client.get(f"{CONSUMERS}/reporting/history").json()["items"]
    assert [(one["version"], one["actor"]) for one in versions] == [(1, "local"), (2, "local")]
    assert client.get(f"{CONSUMERS}/nobody/history").status_code == 404


def test_a_consumer_shows_the_last_use_of_its_owners_key(start: Start) -> None:
    service = start(auth="keys")
    with service.client() as client:
        client.headers["Authorization"] = f"Bearer {service.key}"
        client.get(CONSUMERS)
        today = datetime.now(UTC).date().isoformat()
        client.put(f"{CONSUMERS}/reporting", json=BODY)
        for attempt in tenacity.Retrying(stop=tenacity.stop_after_delay(20)):
            with attempt:  # the day is recorded in the background
                consumer = client.get(f"{CONSUMERS}/reporting").json()
                assert consumer["last_used_on"] == today
        assert client.get(CONSUMERS).json()["items"] == [consumer]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**BODY, "schema_version": 99}, "/schema_version"),
        ({**BODY, "schema_version": -1}, "/schema_version"),
        ({**BODY, "schema_version": "0"}, "/schema_version"),
        ({**BODY, "contact": "the desk"}, "/contact"),
        ({"schema_version": 0}, "/contact"),
        ({**BODY, "owner": "me"}, "/owner"),
    ],
)
def test_an_invalid_consumer_is_rejected_by_field(
    client: httpx.Client, body: dict[str, object], pointer: str
) -> None:
    response = client.put(f"{CONSUMERS}/wrong", json=body)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_the_list_of_the_ontology_server_is_shown_with_what_follows_it(
    client: httpx.Client,
) -> None:
    listed = client.get("/v1/governance/registry").json()
    (item,) = listed["items"]
    assert (item["schema_id"], item["followed_by"]) == ("project_schema", "project")
    assert item["active_version"] == 0


def test_an_ontology_server_that_does_not_respond_is_502(start: Start) -> None:
    service = start(ontology_url="http://127.0.0.1:9", ontology_timeout_s=0.2)
    with service.client() as client:
        response = client.get("/v1/governance/registry")
        assert (response.status_code, response.json()["code"]) == (502, "registry_error")
