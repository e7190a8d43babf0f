"""Imports into a real file: killed and resumed, by command line and over HTTP."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity
from tests.lineage.standard_client import validate_event
from tests.product.service import Service

from spawn.testing.intensity import rounds

pytestmark = [pytest.mark.real, pytest.mark.slow]

MakeService = Callable[..., Service]
ROWS = 12_000
KILLS = rounds(2, 4)


def rows(count: int) -> bytes:
    """Return rows of so many keyed projects, every hundredth without an amount."""
    lines = []
    for number in range(count):
        row = {
            "project_name": f"Project {number}",
            "total_amount": None if number % 100 == 99 else f"{number}.50",
            "external_ref": {"source": "desk", "id": f"P{number}"},
        }
        lines.append(json.dumps(row) + "\n")
    return "".join(lines).encode()


def get_job(service: Service, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = httpx.get(f"{service.url}/v1/jobs/{job_id}", timeout=30).json()
    return job


def wait_for_progress(service: Service, job_id: str, beyond: int) -> dict[str, Any]:
    """Return the job once it has processed more than `beyond` bytes or has ended."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.005),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    ):
        with attempt:
            job = get_job(service, job_id)
            assert job["progress"]["done"] > beyond or job["status"] == "succeeded"
    return job


def wait_until_ended(service: Service, job_id: str) -> dict[str, Any]:
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(120),
        reraise=True,
    ):
        with attempt:
            job = get_job(service, job_id)
            assert job["status"] not in {"queued", "running"}
    return job


def list_projects(service: Service) -> list[dict[str, Any]]:
    projects: list[dict[str, Any]] = []
    parameters: dict[str, str | int] = {"limit": 500}
    while True:
        page = httpx.get(f"{service.url}/v1/ops/projects", params=parameters, timeout=30).json()
        projects += page["items"]
        if page["next"] is None:
            return projects
        parameters["after"] = page["next"]


def read_lineage(service: Service, **filters: str) -> list[dict[str, Any]]:
    """Return the filtered events, newest run first."""
    response = httpx.get(f"{service.url}/lineage", params=filters, timeout=30)
    return [validate_event(event) for event in response.json()["items"]]


def test_an_import_survives_repeated_kills_as_one_run(service_in: MakeService) -> None:
    service = service_in()
    service.start()
    response = httpx.post(
        f"{service.url}/v1/ops/imports",
        content=rows(ROWS),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=60,
    )
    job_id = response.json()["job_id"]
    done = 0
    for _ in range(KILLS):
        job = wait_for_progress(service, job_id, done)
        done = job["progress"]["done"]
        service.kill()
        service.start()
        # Committed rows are neither lost nor imported again.
        assert get_job(service, job_id)["progress"]["done"] >= done
        (start,) = read_lineage(service, run=job_id)[-1:]
        assert start["eventType"] == "START"
    job = wait_until_ended(service, job_id)
    assert job["status"] == "succeeded"
    counts = httpx.get(f"{service.url}{job['result_url']}", timeout=30).json()
    assert (counts["rows"], counts["accepted"], counts["quarantined"]) == (ROWS, 11_880, 120)
    names = [project["project_name"] for project in list_projects(service)]
    assert len(names) == len(set(names)) == 11_880
    complete, start_again = read_lineage(service)
    assert start_again == start
    assert (complete["eventType"], complete["run"]["runId"]) == ("COMPLETE", job_id)
    assert complete["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 11_880
    (quarantined,) = complete["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert quarantined["actual"] == "120 of 12000 rows quarantined"


def run_command(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spawn.entrypoints.cli", *arguments],
        cwd=folder,
        env={"PATH": "", **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_opens_the_file_or_connects_to_the_service(
    service_in: MakeService, tmp_path: Path
) -> None:
    storage = {"SPAWN_STORAGE_URL": f"duckdb:///{tmp_path}/spawn.duckdb"}
    (tmp_path / "rows.ndjson").write_bytes(rows(300))
    file_result = run_command(tmp_path, "import", "rows.ndjson", **storage)
    assert file_result.stdout.startswith("300 rows: 297 accepted, 0 unchanged, 3 quarantined"), (
        file_result
    )
    service = service_in(**storage)
    service.start()
    service_result = run_command(tmp_path, "import", "rows.ndjson", **storage)
    assert service_result.stdout.startswith("300 rows: 0 accepted, 297 unchanged, 3 quarantined"), (
        service_result
    )
    assert f"connecting to {service.url}" in service_result.stderr
    over_http = run_command(tmp_path, "export", **storage).stdout
    doctor_result = run_command(tmp_path, "doctor", **storage, SPAWN_PORT=str(service.port))
    assert f"served at {service.url}" in doctor_result.stdout
    check_export_without_an_address(tmp_path, storage)
    service.stop()
    assert not (tmp_path / "spawn.duckdb.serving").exists()
    assert run_command(tmp_path, "export", **storage).stdout == over_http
    assert len(over_http.splitlines()) == 297


def check_export_without_an_address(folder: Path, storage: dict[str, str]) -> None:
    """Check that a file in use whose service has left no address is reported in one line."""
    address = folder / "spawn.duckdb.serving"
    address.rename(folder / "hidden")
    result = run_command(folder, "export", **storage)
    (folder / "hidden").rename(address)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.count("\n") == 1
    assert "SPAWN_URL" in result.stderr
