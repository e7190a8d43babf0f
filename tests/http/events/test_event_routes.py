"""The event feed over HTTP."""

import json
import re

import httpx
import pytest
from cloudevents.core.formats.json import JSONFormat
from tests.http.conftest import WIND, Start


def test_feed_has_each_change_once_in_order_as_cloud_events(start: Start) -> None:
    service = start(public_url="https://spawn.example")
    with service.client() as client:
        created = client.post("/v1/ops/projects", json=WIND)
        where = created.headers["location"]
        client.patch(where, json={"dscr": 2}, headers={"if-match": "*"})
        step = {"to": "MANDATED", "reason": "signed"}
        client.post(f"{where}/transitions", json=step, headers={"if-match": "*"})
        first = client.get("/v1/events", params={"limit": 2}).json()
        rest = client.get("/v1/events", params={"after": first["next"]}).json()
        empty = client.get("/v1/events", params={"after": rest["next"]}).json()
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
        assert event["subject"] == f"projects/{created.json()['project_id']}"
        assert event["dataschema"].startswith("https://spawn.example/v1/governance/schemas/")
    assert events[1]["data"]["before_version"] == 1
    assert events[1]["data"]["changed"] == ["dscr"]
    assert events[1]["data"]["after"]["dscr"] == 2
    assert empty["events"] == []
    assert empty["next"] == rest["next"]


def test_the_cloud_events_sdk_reads_the_feed_in_either_form(client: httpx.Client) -> None:
    client.post("/v1/ops/projects", json=WIND)
    page = client.get("/v1/events").json()
    batch = client.get("/v1/events", headers={"accept": "application/cloudevents-batch+json"})
    assert batch.headers["content-type"] == "application/cloudevents-batch+json"
    assert batch.json() == page["events"]
    assert f"after={page['next']}" in batch.headers["link"]
    for event in page["events"]:
        cloud_event = JSONFormat().read(None, json.dumps(event))
        assert cloud_event.get_id() == event["id"]
        assert cloud_event.get_datacontenttype() == "application/json"
        assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in event)
        assert None not in event.values()
        assert re.fullmatch(r"[0-9]{10}", event["sequence"])


def test_feed_is_filtered_by_type_and_subject(client: httpx.Client) -> None:
    created = client.post("/v1/ops/projects", json=WIND)
    where = created.headers["location"]
    client.patch(where, json={"dscr": 3}, headers={"if-match": "*"})
    subject = f"projects/{created.json()['project_id']}"
    page = client.get(
        "/v1/events", params={"subject": subject, "type": "spawn.project.amended.v1"}
    ).json()
    assert [event["sequence"] for event in page["events"]] == ["0000000002"]
    response = client.get("/v1/events", params={"subject": subject, "limit": 1})
    again = client.get(response.links["next"]["url"])
    assert [event["sequence"] for event in again.json()["events"]] == ["0000000002"]


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({"after": "nonsense"}, 400, "cursor_invalid"),
        ({"after": "0.1"}, 410, "cursor_expired"),
        ({"after": "1.1@" + "0" * 32}, 400, "cursor_invalid"),
        ({"after": "newest@" + "0" * 32}, 400, "cursor_invalid"),
        ({"type": "created"}, 422, "invalid_input"),
        ({"subject": "everything"}, 422, "invalid_input"),
        ({"from": "1"}, 422, "invalid_input"),
    ],
)
def test_feed_rejects_positions_that_it_cannot_continue(
    client: httpx.Client, parameters: dict[str, str], status: int, code: str
) -> None:
    response = client.get("/v1/events", params=parameters)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_newest_is_the_position_after_which_only_later_events_come(client: httpx.Client) -> None:
    client.post("/v1/ops/projects", json=WIND)
    start = client.get("/v1/events", params={"after": "newest"}).json()
    assert start["events"] == []
    created = client.post("/v1/ops/projects", json=WIND).json()
    page = client.get("/v1/events", params={"after": start["next"]}).json()
    assert [event["subject"] for event in page["events"]] == [f"projects/{created['project_id']}"]


def test_an_event_id_names_its_store_and_is_a_cursor(client: httpx.Client) -> None:
    for _ in range(2):
        client.post("/v1/ops/projects", json=WIND)
    first, second = client.get("/v1/events", params={"limit": 2}).json()["events"]
    position, store_id = first["id"].split("@")
    assert re.fullmatch("[0-9a-f]{32}", store_id)
    assert first["storeid"] == second["storeid"] == store_id
    for cursor in (first["id"], position):
        page = client.get("/v1/events", params={"after": cursor, "limit": 1}).json()
        assert [event["id"] for event in page["events"]] == [second["id"]]


def test_events_are_given_in_the_fields_of_a_schema_version(client: httpx.Client) -> None:
    project_id = client.post("/v1/ops/projects", json=WIND).json()["project_id"]
    subject = {"subject": f"projects/{project_id}"}
    (event,) = client.get("/v1/events", params={"schema_version": "0", **subject}).json()["events"]
    assert event["dataschema"].endswith("/project_schema/versions/0")
    assert event["data"]["after"]["project_name"] == WIND["project_name"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/stream"])
@pytest.mark.parametrize(("version", "status"), [("9", 404), ("x", 422), ("00", 422), ("-1", 422)])
def test_a_schema_version_that_is_not_served_is_rejected(
    client: httpx.Client, path: str, version: str, status: int
) -> None:
    assert client.get(path, params={"schema_version": version}).status_code == status
