"""Lineage and quality of a service that is killed: what is recorded agrees with what was done."""

import json
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import tenacity
from tests.lineage.oracle import check
from tests.product.service import Service
from tests.product.test_imports import ended, moved_on, rows

pytestmark = [pytest.mark.real, pytest.mark.slow]

MakeService = Callable[..., Service]
NDJSON = {"Content-Type": "application/x-ndjson"}


def events(service: Service, **wanted: str) -> list[dict[str, Any]]:
    """The events that are wanted, newest run first."""
    answer = httpx.get(f"{service.url}/lineage", params=wanted, timeout=30)
    return [check(event) for event in answer.json()["items"]]


def ordered(service: Service, content: bytes) -> str:
    answer = httpx.post(
        f"{service.url}/v1/ops/imports", content=content, headers=NDJSON, timeout=60
    )
    job: str = answer.json()["job_id"]
    return job


def test_an_import_killed_in_the_middle_is_one_run_that_completes(service_in: MakeService) -> None:
    service = service_in()
    service.start()
    job_id = ordered(service, rows(12_000))
    for _ in range(2):
        moved_on(service, job_id, 0)
        service.kill()
        service.start()
        (begun,) = events(service, run=job_id)[-1:]
        assert begun["eventType"] == "START"
    assert ended(service, job_id)["status"] == "succeeded"
    complete, begun_still = events(service)
    assert begun_still == begun
    assert (complete["eventType"], complete["run"]["runId"]) == ("COMPLETE", job_id)
    assert complete["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 11_880
    (quarantined,) = complete["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert quarantined["actual"] == "120 of 12000 rows quarantined"


def test_an_export_that_dies_with_its_process_is_settled_at_the_next_start(
    service_in: MakeService,
) -> None:
    service = service_in()
    service.start()
    text = "x" * 9_000
    lines = [
        json.dumps({"project_name": f"P{n}", "total_amount": 1, "description": text}) + "\n"
        for n in range(2_000)
    ]
    ended(service, ordered(service, "".join(lines).encode()))
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"GET /v1/data/projects HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 200")
        assert [e["eventType"] for e in events(service, activity="export")] == ["START"]
        service.kill()
    service.start()
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(30),
        reraise=True,
    ):
        with attempt:
            found = events(service, activity="export")
            assert [event["eventType"] for event in found] == ["ABORT", "START"]
    reason = found[0]["run"]["facets"]["errorMessage"]["message"]
    assert reason == "the process ended before the run did"


def test_measured_quality_and_its_turns_survive_a_kill(service_in: MakeService) -> None:
    service = service_in(SPAWN_QUALITY_INTERVAL_S="0", SPAWN_FRESHNESS_S="0.000001")
    service.start()
    body = {"project_name": "Dam", "total_amount": "1.00"}
    httpx.post(f"{service.url}/v1/ops/projects", json=body).raise_for_status()
    quality = f"{service.url}/v1/governance/quality"
    report = httpx.post(f"{quality}/runs", timeout=30).json()
    assert report["broken"] == ["freshness.last_change"]
    service.kill()
    service.start()
    assert httpx.get(quality).json() == report
    assert httpx.post(f"{quality}/runs", timeout=30).json()["run"] == 2
    told = httpx.get(f"{service.url}/v1/events?type=spawn.quality.breached.v1").json()["events"]
    assert len(told) == 1
