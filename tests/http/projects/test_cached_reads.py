"""Cached responses, which are served before routing, equal those of the routes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Start

PROJECTS = "/v1/ops/projects"
SOLAR = {**WIND, "sector": "solar"}
BYPASS_CACHE = {"accept": "application/json;q=0.9"}
"""An Accept value that only the route can negotiate, so the cache is bypassed."""


@pytest.fixture(params=["memory://", "duckdb"])
def client(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> Iterator[httpx.Client]:
    url = f"duckdb:///{tmp_path}/spawn.duckdb" if request.param == "duckdb" else request.param
    with start(storage_url=url).client() as client:
        yield client


def create(client: httpx.Client, body: dict[str, Any]) -> str:
    answer = client.post(PROJECTS, json=body)
    assert answer.status_code == 201
    return answer.headers["location"]


def comparable(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {n: v for n, v in answer.headers.items() if n not in {"date", "x-request-id"}}
    return answer.status_code, headers, answer.content


@pytest.mark.parametrize("gzip", ["identity", "gzip"])
def test_cached_responses_equal_those_of_the_routes(client: httpx.Client, gzip: str) -> None:
    client.headers["accept-encoding"] = gzip
    project = create(client, WIND)
    for path in (project, project.removeprefix("/v1"), f"{PROJECTS}?sector=wind&limit=1"):
        first = client.get(path)
        tag = first.headers["etag"]
        for headers in ({}, {"if-none-match": tag}, {"if-none-match": f'"x", {tag}'}):
            cached_response = client.get(path, headers=headers)
            assert comparable(cached_response) == comparable(
                client.get(path, headers=BYPASS_CACHE | headers)
            )
        assert cached_response.status_code == 304
    problem = client.get(project, headers={"if-none-match": "no tag"})
    assert problem.status_code == 400


def test_page_is_cached_until_a_write_changes_it(client: httpx.Client) -> None:
    create(client, WIND)
    path = f"{PROJECTS}?sector=wind&sort=-total_amount"
    before = client.get(path)
    create(client, SOLAR)
    assert comparable(client.get(path)) == comparable(before)
    larger = create(client, {**WIND, "total_amount": "999000000.00"})
    items = client.get(path).json()["items"]
    assert items[0]["project_id"] == larger.rpartition("/")[2]
    assert len(items) == 2
    tag = client.get(larger).headers["etag"]
    patch = {"project_name": "Renamed"}
    client.patch(larger, json=patch, headers={"if-match": tag}).raise_for_status()
    assert client.get(path).json()["items"][0]["project_name"] == "Renamed"
    assert client.get(larger).json()["project_name"] == "Renamed"


def test_cached_responses_are_counted_under_their_routes(client: httpx.Client) -> None:
    project = create(client, WIND)
    for path in (project, f"{PROJECTS}?limit=1"):
        for _ in range(3):
            client.get(path).raise_for_status()
    metrics = client.get("/monitoring/metrics").text
    for route in (f"{PROJECTS}/{{project_id}}", PROJECTS):
        labels = f'http_request_method="GET",http_response_status_code="200",http_route="{route}"'
        assert f"http_server_request_duration_seconds_count{{{labels}}} 3.0" in metrics


def test_other_paths_are_left_to_their_routes(client: httpx.Client) -> None:
    project = create(client, WIND)
    assert client.get(f"{project}/history").json()["items"][0]["version"] == 1
    assert client.get(f"{project}?fields=sector").json()["sector"] == "wind"
    assert client.get(f"{project[:-1]}x").status_code == 404
    assert client.get(f"{PROJECTS}x").status_code == 404
    assert client.get(f"{PROJECTS}?limit=0").status_code == 422
