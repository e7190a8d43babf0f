"""Schema discovery, introspection and the pull feed."""

import json
import re

import httpx
import pytest
from cloudevents.core.formats.json import JSONFormat
from tests.http.conftest import WIND, Start

SCHEMAS = "/v1/governance/schemas"


def test_active_schema_is_served_with_columns_and_its_own_document(client: httpx.Client) -> None:
    listed = client.get(SCHEMAS).json()["items"]
    assert [(item["schema_id"], item["state"]) for item in listed] == [("project_schema", "active")]
    active = client.get(f"{SCHEMAS}/project_schema")
    assert active.status_code == 200
    names = {column["name"] for column in active.json()["columns"] if column["governed"]}
    assert "capacity_mw" in names
    assert active.json()["document"]["columns"]
    one = client.get(active.json()["url"])
    assert one.json()["fingerprint"] == active.json()["fingerprint"]
    tag = active.headers["etag"]
    again = client.get(f"{SCHEMAS}/project_schema", headers={"if-none-match": tag})
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


def test_candidates_are_empty_where_the_registry_offers_nothing_new(client: httpx.Client) -> None:
    refreshed = client.post(f"{SCHEMAS}/project_schema/refresh")
    assert (refreshed.status_code, refreshed.json()["items"]) == (200, [])
    assert client.get(f"{SCHEMAS}/project_schema/candidates").json()["items"] == []


def test_refresh_against_an_absent_server_is_502(start: Start) -> None:
    service = start(ontology_url="http://127.0.0.1:9", ontology_timeout_s=0.2)
    with service.client() as client:
        answer = client.post(f"{SCHEMAS}/project_schema/refresh")
        assert (answer.status_code, answer.json()["code"]) == (502, "registry_error")


def test_tables_behind_the_store_are_shown(client: httpx.Client) -> None:
    tables = client.get("/v1/admin/tables").json()["items"]
    assert tables
    name = tables[0]["name"]
    assert client.get(f"/v1/admin/tables/{name}").json()["name"] == name
    assert client.get("/v1/admin/tables/nonsense").status_code == 404


def test_log_level_can_be_changed_and_nonsense_cannot(client: httpx.Client) -> None:
    assert client.put("/v1/admin/log-level", json={"level": "WARNING"}).status_code == 200
    for body in ({"level": "LOUD"}, {"level": 3}, {}, {"level": "INFO", "x": 1}):
        assert client.put("/v1/admin/log-level", json=body).status_code == 422


def test_feed_tells_each_change_once_in_order_as_cloud_events(start: Start) -> None:
    service = start(public_url="https://spawn.example")
    with service.client() as client:
        made = client.post("/v1/ops/projects", json=WIND)
        where = made.headers["location"]
        client.patch(where, json={"dscr": 2}, headers={"if-match": "*"})
        step = {"to": "MANDATED", "reason": "signed"}
        client.post(f"{where}/transitions", json=step, headers={"if-match": "*"})
        first = client.get("/v1/events", params={"limit": 2}).json()
        rest = client.get("/v1/events", params={"after": first["next"]}).json()
        level = client.get("/v1/events", params={"after": rest["next"]}).json()
    events = first["events"] + rest["events"]
    assert [event["type"] for event in events] == [
        "spawn.project.created.v1",
        "spawn.project.amended.v1",
        "spawn.project.transitioned.v1",
    ]
    assert [event["sequence"] for event in events] == ["0000000001", "0000000002", "0000000003"]
    assert len({event["id"] for event in events}) == 3
    for event in events:
        assert event["specversion"] == "1.0"
        assert event["source"] == "https://spawn.example"
        assert event["subject"] == f"projects/{made.json()['project_id']}"
        assert event["dataschema"].startswith("https://spawn.example/v1/governance/schemas/")
    assert events[1]["data"]["before_version"] == 1
    assert events[1]["data"]["changed"] == ["dscr"]
    assert events[1]["data"]["after"]["dscr"] == 2
    assert level["events"] == []
    assert level["next"] == rest["next"]


def test_the_feed_is_read_by_the_cloud_events_sdk_in_either_form(client: httpx.Client) -> None:
    client.post("/v1/ops/projects", json=WIND)
    page = client.get("/v1/events").json()
    batch = client.get("/v1/events", headers={"accept": "application/cloudevents-batch+json"})
    assert batch.headers["content-type"] == "application/cloudevents-batch+json"
    assert batch.json() == page["events"]
    assert f"after={page['next']}" in batch.headers["link"]
    for event in page["events"]:
        read = JSONFormat().read(None, json.dumps(event))
        assert read.get_id() == event["id"]
        assert read.get_datacontenttype() == "application/json"
        assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in event)
        assert None not in event.values()
        assert re.fullmatch(r"[0-9]{10}", event["sequence"])


def test_feed_is_filtered_by_type_and_subject(client: httpx.Client) -> None:
    made = client.post("/v1/ops/projects", json=WIND)
    where = made.headers["location"]
    client.patch(where, json={"dscr": 3}, headers={"if-match": "*"})
    subject = f"projects/{made.json()['project_id']}"
    one = client.get(
        "/v1/events", params={"subject": subject, "type": "spawn.project.amended.v1"}
    ).json()
    assert [event["sequence"] for event in one["events"]] == ["0000000002"]
    answer = client.get("/v1/events", params={"subject": subject, "limit": 1})
    again = client.get(answer.links["next"]["url"])
    assert [event["sequence"] for event in again.json()["events"]] == ["0000000002"]


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({"after": "nonsense"}, 400, "cursor_invalid"),
        ({"after": "0.1"}, 410, "cursor_expired"),
        ({"type": "created"}, 422, "invalid_input"),
        ({"subject": "everything"}, 422, "invalid_input"),
        ({"from": "1"}, 422, "invalid_input"),
    ],
)
def test_feed_refuses_what_it_cannot_continue(
    client: httpx.Client, parameters: dict[str, str], status: int, code: str
) -> None:
    answer = client.get("/v1/events", params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
