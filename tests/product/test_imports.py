"""Imports into a real file: killed in the middle and resumed, by the command line and over HTTP."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity
from tests.product.service import Service

pytestmark = [pytest.mark.real, pytest.mark.slow]

MakeService = Callable[..., Service]
ROWS = 12_000
KILLS = 4


def rows(count: int) -> bytes:
    """As many keyed projects, and every hundredth without an amount."""
    lines = []
    for number in range(count):
        row = {
            "project_name": f"Project {number}",
            "total_amount": None if number % 100 == 99 else f"{number}.50",
            "external_ref": {"source": "desk", "id": f"P{number}"},
        }
        lines.append(json.dumps(row) + "\n")
    return "".join(lines).encode()


def job_of(service: Service, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = httpx.get(f"{service.url}/v1/jobs/{job_id}", timeout=30).json()
    return job


def moved_on(service: Service, job_id: str, beyond: int) -> dict[str, Any]:
    """The job, once it has done more than `beyond` bytes or has ended."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.005),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    ):
        with attempt:
            job = job_of(service, job_id)
            assert job["progress"]["done"] > beyond or job["status"] == "succeeded"
    return job


def ended(service: Service, job_id: str) -> dict[str, Any]:
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(120),
        reraise=True,
    ):
        with attempt:
            job = job_of(service, job_id)
            assert job["status"] not in {"queued", "running"}
    return job


def every_project(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    parameters: dict[str, str | int] = {"limit": 500}
    while True:
        page = httpx.get(f"{service.url}/v1/ops/projects", params=parameters, timeout=30).json()
        found += page["items"]
        if page["next"] is None:
            return found
        parameters["after"] = page["next"]


def test_an_import_killed_again_and_again_ends_as_if_it_never_was(
    service_in: MakeService,
) -> None:
    service = service_in()
    service.start()
    accepted = httpx.post(
        f"{service.url}/v1/ops/imports",
        content=rows(ROWS),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=60,
    )
    job_id = accepted.json()["job_id"]
    done = 0
    for _ in range(KILLS):
        job = moved_on(service, job_id, done)
        done = job["progress"]["done"]
        service.kill()
        service.start()
        # What was committed is neither lost nor done again.
        assert job_of(service, job_id)["progress"]["done"] >= done
    job = ended(service, job_id)
    assert job["status"] == "succeeded"
    counts = httpx.get(f"{service.url}{job['result_url']}", timeout=30).json()
    assert (counts["rows"], counts["accepted"], counts["quarantined"]) == (ROWS, 11_880, 120)
    names = [project["project_name"] for project in every_project(service)]
    assert len(names) == len(set(names)) == 11_880


def command(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spawn.entrypoints.cli", *arguments],
        cwd=folder,
        env={"PATH": "", **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_opens_the_file_itself_or_talks_to_who_serves_it(
    service_in: MakeService, tmp_path: Path
) -> None:
    storage = {"SPAWN_STORAGE_URL": f"duckdb:///{tmp_path}/spawn.duckdb"}
    (tmp_path / "rows.ndjson").write_bytes(rows(300))
    direct = command(tmp_path, "import", "rows.ndjson", **storage)
    assert direct.stdout.startswith("300 rows: 297 accepted, 0 unchanged, 3 quarantined"), direct
    service = service_in(**storage)
    service.start()
    served = command(tmp_path, "import", "rows.ndjson", **storage)
    assert served.stdout.startswith("300 rows: 0 accepted, 297 unchanged, 3 quarantined"), served
    assert f"talking to {service.url}" in served.stderr
    over_http = command(tmp_path, "export", **storage).stdout
    examined = command(tmp_path, "doctor", **storage, SPAWN_PORT=str(service.port))
    assert f"served at {service.url}" in examined.stdout
    service.stop()
    assert not (tmp_path / "spawn.duckdb.serving").exists()
    assert command(tmp_path, "export", **storage).stdout == over_http
    assert len(over_http.splitlines()) == 297


def test_a_file_in_use_by_who_left_no_word_is_told_in_one_line(
    service_in: MakeService, tmp_path: Path
) -> None:
    storage = {"SPAWN_STORAGE_URL": f"duckdb:///{tmp_path}/spawn.duckdb"}
    service = service_in(**storage)
    service.start()
    (tmp_path / "spawn.duckdb.serving").unlink()
    refused = command(tmp_path, "export", **storage)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.count("\n") == 1
    assert "SPAWN_URL" in refused.stderr
