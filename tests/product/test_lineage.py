"""Lineage and quality of a service that is killed agree with its actions."""

import json
import socket
from collections.abc import Callable

import httpx
import pytest
import tenacity
from tests.product.service import Service
from tests.product.test_imports import read_lineage, wait_until_ended

pytestmark = [pytest.mark.real, pytest.mark.slow]

MakeService = Callable[..., Service]
NDJSON = {"Content-Type": "application/x-ndjson"}


def submit_import(service: Service, content: bytes) -> str:
    response = httpx.post(
        f"{service.url}/v1/ops/imports", content=content, headers=NDJSON, timeout=60
    )
    job: str = response.json()["job_id"]
    return job


def test_an_export_of_a_killed_process_is_aborted_at_the_next_start(
    service_in: MakeService,
) -> None:
    service = service_in()
    service.start()
    text = "x" * 9_000
    lines = [
        json.dumps({"project_name": f"P{n}", "total_amount": 1, "description": text}) + "\n"
        for n in range(2_000)
    ]
    wait_until_ended(service, submit_import(service, "".join(lines).encode()))
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"GET /v1/data/projects HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 200")
        assert [e["eventType"] for e in read_lineage(service, activity="export")] == ["START"]
        service.kill()
    service.start()
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(30),
        reraise=True,
    ):
        with attempt:
            run_events = read_lineage(service, activity="export")
            assert [event["eventType"] for event in run_events] == ["ABORT", "START"]
    reason = run_events[0]["run"]["facets"]["errorMessage"]["message"]
    assert reason == "the process ended before the run did"


def test_quality_measurements_and_level_changes_survive_a_kill(service_in: MakeService) -> None:
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
    change_events = httpx.get(f"{service.url}/v1/events?type=spawn.quality.breached.v1").json()[
        "events"
    ]
    assert len(change_events) == 1
