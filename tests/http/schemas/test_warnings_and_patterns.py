"""Effects of a schema on requests: deprecation warnings and patterns, hostile ones too."""

import json
from typing import Any

import httpx
import pytest
import tenacity
from tests.http.conftest import WIND, Service, Start
from tests.product.ontology import run_ontology_server, send_json

PROJECTS = "/v1/ops/projects"
OLD = {"name": "old_code", "type": "string", "deprecated": True, "aliases": ["former_code"]}
WARNING = '"/old_code";code=deprecated;detail="is deprecated and may go"'


def governed_by(start: Start, *columns: dict[str, Any]) -> Service:
    """A service that has adopted these columns."""
    schema = {"id": "project_schema", "version": 4, "name": "Projects", "columns": columns}
    with run_ontology_server(
        lambda handler: send_json(handler, 200, json.dumps(schema).encode())
    ) as url:
        return start(ontology_url=url)


def test_deprecated_field_is_accepted_with_a_warning_header(start: Start) -> None:
    with governed_by(start, OLD).client() as client:
        made = client.post(PROJECTS, json={**WIND, "old_code": "A1"})
        assert made.status_code == 201
        assert made.headers["spawn-warnings"] == WARNING
        assert "spawn-warnings" not in client.get(made.headers["location"]).headers
        where, tag = made.headers["location"], {"if-match": made.headers["etag"]}
        amended = client.patch(where, json={"former_code": "B2", "sector": "sea"}, headers=tag)
        assert amended.json()["old_code"] == "B2"
        assert amended.headers["spawn-warnings"].startswith('"/former_code";code=deprecated;')
        plain = client.post(PROJECTS, json=WIND)
        assert "spawn-warnings" not in plain.headers


def test_warning_is_part_of_the_response_stored_for_a_key(start: Start) -> None:
    with governed_by(start, OLD).client() as client:
        body, key = {**WIND, "old_code": "A1"}, {"idempotency-key": "once"}
        first, again = (client.post(PROJECTS, json=body, headers=key) for _ in range(2))
        assert first.headers["spawn-warnings"] == again.headers["spawn-warnings"] == WARNING
        assert first.content == again.content


def test_import_counts_and_lists_rows_that_use_a_deprecated_field(start: Start) -> None:
    lines = "".join(json.dumps({**WIND, **more}) + "\n" for more in ({}, {"old_code": "A1"}))
    headers = {"content-type": "application/x-ndjson"}
    with governed_by(start, OLD).client() as client:
        job = client.post("/v1/ops/imports", content=lines, headers=headers).json()
        for attempt in tenacity.Retrying(
            wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(20), reraise=True
        ):
            with attempt:
                assert client.get(f"/v1/jobs/{job['job_id']}").json()["status"] == "succeeded"
        result = client.get(job["result_url"]).json()
        assert (result["accepted"], result["warnings"]) == (2, 1)
        (noted,) = client.get(f"{job['result_url']}/warnings").text.splitlines()
        assert json.loads(noted)["line"] == 2
        assert json.loads(noted)["reasons"][0]["code"] == "deprecated"


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a+)+$",
        "^(a|a)*b(\\w+)*$",
        "(?=a)a",
        "(a)\\1",
        "(?i)a",
        "a{1,99999}",
        "(((a{1,256}){1,256}){1,256})",
        "a" * 201,
        "[z-a]",
        "(",
    ],
)
def test_hostile_pattern_is_not_adopted_and_health_is_degraded(start: Start, pattern: str) -> None:
    code = {"name": "asset_code", "type": "string", "pattern": pattern}
    with governed_by(start, code).client() as client:
        check = client.get("/monitoring/health").json()["checks"]["schema"]
        assert (check["status"], check["provenance"]) == ("degraded", "bundled")
        problem = client.post(PROJECTS, json={**WIND, "asset_code": "a" * 27 + "!"})
        assert problem.json()["errors"][0]["code"] == "unknown_field"
        assert client.post(PROJECTS, json=WIND).status_code == 201


def test_pattern_that_stalls_a_backtracking_engine_is_matched_in_linear_time(start: Start) -> None:
    code = {"name": "asset_code", "type": "string", "pattern": "^a*a*a*a*a*a*a*a*a*a*b$"}
    with governed_by(start, code).client() as client:
        # A backtracking engine would take longer than the request's own time-out allows.
        problem = client.post(PROJECTS, json={**WIND, "asset_code": "a" * 500})
        assert problem.json()["errors"] == [
            {
                "pointer": "/asset_code",
                "code": "pattern_mismatch",
                "detail": "must match the pattern ^a*a*a*a*a*a*a*a*a*a*b$",
            }
        ]
        assert client.post(PROJECTS, json={**WIND, "asset_code": "a" * 500 + "b"}).is_success


def test_warnings_are_documented(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path, method, status in (
        (PROJECTS, "post", "201"),
        (PROJECTS + "/{project_id}", "patch", "200"),
    ):
        headers = document["paths"][path][method]["responses"][status]["headers"]
        assert "Spawn-Warnings" in headers
