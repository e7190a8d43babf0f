"""HTTP routes of lineage and exports."""

import asyncio
import csv
import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity
from tests.adapters.publishers.receiver import Receiver
from tests.http.conftest import WIND, Service, Start
from tests.lineage.standard_client import validate_event

LINEAGE = "/lineage"
MAPPING = {
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "cost"},
        {"attribute": "country_code", "column": "land", "whitespace": "collapse"},
    ],
    "checks": [{"sum_of": ["a1", "a2"], "equals": "cost", "on_failure": "warn"}],
    "key": {"source": "desk", "column": "id"},
}
ROWS = b"id,name,cost,land,a1,a2\n1,Dam,10,ESP,4,6\n2,Road,10,PRT,4,5\n3,,10,ESP,5,5\n"


def eventually(look: Callable[[], None]) -> None:
    """Look again until it holds."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(20),
        reraise=True,
    ):
        with attempt:
            look()


def imported(client: httpx.Client, rows: bytes = ROWS, name: str = "desk") -> str:
    """Import rows through a mapping; the id of the import."""
    client.put(f"/v1/ops/import-mappings/{name}", json=MAPPING)
    answer = client.post(
        f"/v1/ops/imports?mapping={name}", content=rows, headers={"content-type": "text/csv"}
    )
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["job_id"]

    def ended() -> None:
        assert client.get(f"/v1/jobs/{job}").json()["status"] in {"succeeded", "failed"}

    eventually(ended)
    return job


def events(client: httpx.Client, **wanted: Any) -> list[dict[str, Any]]:
    """Every event that is wanted, checked, page by page."""
    found: list[dict[str, Any]] = []
    url: Any = httpx.URL(LINEAGE, params=wanted)
    while url:
        answer = client.get(url)
        assert answer.status_code == 200, answer.text
        found += [validate_event(event) for event in answer.json()["items"]]
        url = answer.links.get("next", {}).get("url")
    return found


def states(found: list[dict[str, Any]]) -> list[str]:
    return [event["eventType"] for event in found]


@pytest.fixture
def service(start: Start) -> Service:
    return start()


def test_import_has_two_valid_openlineage_events(client: httpx.Client) -> None:
    import_id = imported(client)
    complete, begun = events(client, run=import_id)
    assert states([complete, begun]) == ["COMPLETE", "START"]
    assert complete["job"] == {**complete["job"], "namespace": "spawn-projects"}
    assert complete["producer"].startswith("http://127.0.0.1:")
    counts = client.get(f"/v1/ops/imports/{import_id}").json()
    assert (counts["warnings"], counts["failed_checks"]) == (1, {"cost": 1})
    asserted = complete["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [one["actual"] for one in asserted] == [
        "1 of 3 rows quarantined",
        "1 of 3 rows differ",
    ]
    lineage = complete["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert lineage["country_code"]["inputFields"][0]["field"] == "land"


def test_an_import_names_the_run_of_its_pipeline(client: httpx.Client) -> None:
    parent = "airflow/nightly.load/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
    headers = {"content-type": "application/x-ndjson", "openlineage-parent-id": parent}
    line = json.dumps(WIND).encode() + b"\n"
    job = client.post("/v1/ops/imports", content=line, headers=headers).json()["job_id"]
    (start,) = [one for one in events(client, run=job) if one["eventType"] == "START"]
    facet = start["run"]["facets"]["parent"]
    assert facet["job"] == {"namespace": "airflow", "name": "nightly.load"}
    assert facet["run"] == {"runId": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"}
    headers["openlineage-parent-id"] = "nightly.load"
    rejected = client.post("/v1/ops/imports", content=line, headers=headers)
    assert rejected.status_code == 422
    assert rejected.json()["errors"][0]["pointer"] == "/OpenLineage-Parent-Id"


def test_failed_import_has_its_reason(client: httpx.Client) -> None:
    fail, _ = events(client, run=imported(client, b"id,name\n1,x\n"))
    assert fail["eventType"] == "FAIL"
    assert "lacks a1" in fail["run"]["facets"]["errorMessage"]["message"]


def test_export_has_every_project_and_records_a_run(client: httpx.Client) -> None:
    client.post("/v1/ops/projects", json=WIND)
    imported(client)
    answer = client.get("/v1/data/projects", params={"nested": "json"})
    assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    documents = [json.loads(line) for line in answer.text.splitlines()]
    assert documents == client.get("/v1/ops/projects").json()["items"]
    table = client.get("/v1/data/projects", headers={"accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["project_name"] for row in rows] == ["Sierra Wind II", "Dam", "Road"]
    complete, _ = events(client, job="export.projects.csv")
    moved = complete["outputs"][0]["outputFacets"]["outputStatistics"]
    assert (moved["rowCount"], moved["size"]) == (3, len(table.content))
    assert states(events(client, job="export.projects.ndjson")) == ["COMPLETE", "START"]


def test_export_without_projects_is_empty_and_unknown_dataset_is_not_found(
    client: httpx.Client,
) -> None:
    assert client.get("/v1/data/projects").content == b""
    problem = client.get("/v1/data/nothing")
    assert (problem.status_code, problem.json()["code"]) == (404, "not_found")
    assert client.get("/v1/data/projects", headers={"accept": "image/png"}).status_code == 406


def test_head_request_exports_nothing(client: httpx.Client) -> None:
    head = client.head("/v1/data/projects")
    assert head.headers["content-type"].startswith("application/x-ndjson")
    assert events(client) == []


def test_export_is_aborted_when_the_client_disconnects(
    client: httpx.Client, service: Service
) -> None:
    text = "x" * 9_000
    rows = b"".join(
        json.dumps({"project_name": f"P{n}", "total_amount": 1, "description": text}).encode()
        + b"\n"
        for n in range(1_500)
    )
    answer = client.post(
        "/v1/ops/imports", content=rows, headers={"content-type": "application/x-ndjson"}
    )
    eventually(
        lambda: _is(client.get(f"/v1/jobs/{answer.json()['job_id']}").json()["status"], "succeeded")
    )
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"GET /v1/data/projects HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 200")
    eventually(lambda: _is(states(events(client, activity="export")), ["ABORT", "START"]))
    abort, _ = events(client, activity="export")
    assert abort["run"]["facets"]["errorMessage"]["message"].startswith("the client disconnected")


def _is(value: object, wanted: object) -> None:
    assert value == wanted


def test_events_are_filtered_and_paged_newest_run_first(client: httpx.Client) -> None:
    ids = [imported(client, ROWS.replace(b"Dam", f"Dam {n}".encode())) for n in range(3)]
    client.get("/v1/data/projects")
    found = events(client, limit=1)
    assert [event["run"]["runId"] for event in found[2:]] == [
        run_id for run_id in ids[::-1] for _ in range(2)
    ]
    assert len(events(client, activity="import", limit=2)) == 6
    assert len(events(client, dataset="projects", state="complete")) == 8
    assert events(client, state="failed") == []
    middle = events(client, run=ids[1])[1]["eventTime"]
    assert len(events(client, since=middle, activity="import")) == 4
    assert len(events(client, until=middle)) == 2
    unknown = "0190b5a0-0000-7000-8000-000000000001"
    assert events(client, run=unknown) == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("state=done", "/state"),
        ("activity=copy", "/activity"),
        ("since=yesterday", "/since"),
        ("until=2026-03-01T12:00:00", "/until"),
        ("run=1", "/run"),
        ("job=", "/job"),
        ("format=xml", "/format"),
        ("limit=0", "/limit"),
        ("colour=red", "/colour"),
    ],
)
def test_invalid_parameter_is_rejected_by_its_pointer(
    client: httpx.Client, query: str, pointer: str
) -> None:
    problem, shown = (
        client.get(f"{LINEAGE}?{query}", headers={"accept": accepted})
        for accepted in ("application/json", "text/html")
    )
    assert problem.status_code == shown.status_code == 422
    assert problem.json()["errors"][0]["pointer"] == pointer
    assert f"<code>{pointer}</code>" in shown.text


def test_a_cursor_belongs_to_its_filter(client: httpx.Client) -> None:
    for _ in range(2):
        client.get("/v1/data/projects")
    cursor = client.get(f"{LINEAGE}?limit=1").json()["next"]
    answer = client.get(f"{LINEAGE}?limit=1&state=failed&after={cursor}")
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_invalid")


def test_the_graph_joins_datasets_and_runs(client: httpx.Client) -> None:
    import_id = imported(client)
    client.get("/v1/data/projects")
    graph = client.get(f"{LINEAGE}/graph").json()
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert nodes[f"run:{import_id}"]["state"] == "complete"
    into = [edge for edge in graph["edges"] if edge["target"] == "dataset:projects"]
    assert into == [{"source": f"run:{import_id}", "target": "dataset:projects", "rows": 2}]
    only = client.get(f"{LINEAGE}/graph?activity=export").json()
    assert {node["type"] for node in only["nodes"]} == {"dataset", "run"}
    assert len(only["nodes"]) == 3


def test_page_shows_a_diagram_and_each_run_in_detail(client: httpx.Client) -> None:
    html = {"accept": "text/html"}
    empty = client.get(LINEAGE, headers=html)
    assert "No runs yet" in empty.text
    hostile = MAPPING | {"key": {"source": "desk", "column": "<script>"}}
    client.put("/v1/ops/import-mappings/hostile", json=hostile)
    rows = ROWS.replace(b"id,", b"<script>,", 1)
    answer = client.post(
        "/v1/ops/imports?mapping=hostile", content=rows, headers={"content-type": "text/csv"}
    )
    eventually(
        lambda: _is(client.get(f"/v1/jobs/{answer.json()['job_id']}").json()["status"], "succeeded")
    )
    client.get("/v1/data/projects")
    shown = client.get(LINEAGE, headers=html)
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert shown.text.count("<rect") == 5
    assert "import.hostile" in shown.text
    detail = client.get(f"{LINEAGE}?run={answer.json()['job_id']}", headers=html).text
    assert "&lt;script&gt;" in detail
    assert "<script" not in detail + shown.text
    assert "white space collapsed" in detail
    assert "1 of 3 rows differ" in detail
    unknown = "0190b5a0-0000-7000-8000-000000000001"
    assert client.get(f"{LINEAGE}?run={unknown}", headers=html).status_code == 404
    assert client.get(f"{LINEAGE}?format=html").text == shown.text
    assert client.get(f"{LINEAGE}?format=json", headers=html).json()["items"]


def test_feed_has_lineage_events_only_if_requested_by_type(client: httpx.Client) -> None:
    imported(client)
    types = [event["type"] for event in client.get("/v1/events").json()["events"]]
    assert types == ["spawn.project.created.v1"] * 2
    named = client.get("/v1/events?type=spawn.lineage.completed.v1").json()["events"]
    assert [event["data"]["after"]["state"] for event in named] == ["complete"]


async def test_lineage_is_posted_when_the_collector_is_back_even_after_a_restart(
    start: Start, tmp_path: Path
) -> None:
    collector = Receiver()
    settings: dict[str, Any] = {
        "storage_url": f"duckdb:///{tmp_path}/store.duckdb",
        "openlineage_url": collector.url,
    }
    service = await asyncio.to_thread(lambda: start(**settings))
    with service.client() as client:
        import_id = await asyncio.to_thread(imported, client)
    await asyncio.to_thread(service.stop)
    await collector.come_back()
    await asyncio.to_thread(lambda: start(**settings))
    posted = [validate_event(event) for event in await collector.events(2)]
    assert [(event["eventType"], event["run"]["runId"]) for event in posted] == [
        ("START", import_id),
        ("COMPLETE", import_id),
    ]
    await collector.go_away()
