"""On a disk that is really full, reads and lists go on and the service stays ready."""

import os
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import tenacity
from tests.adapters.storage.tmpfs import small_disk
from tests.http.conftest import WIND, Service

PROJECTS = "/v1/ops/projects"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk"),
]


def fill_up(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(65_536)):
            pass


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(AssertionError),
    wait=tenacity.wait_fixed(0.05),
    stop=tenacity.stop_after_delay(60),
    reraise=True,
)
def write_again(client: httpx.Client) -> None:
    assert client.post(PROJECTS, json=WIND).status_code == 201


def test_lists_and_readiness_survive_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes=80 * 1024 * 1024) as disk:
        service = Service(storage_url=f"duckdb:///{disk}/s.duckdb").start()
        with service.client() as client:
            count = 60
            for number in range(count):
                body = {**WIND, "project_name": f"N{number}", "description": "x" * 2_000}
                assert client.post(PROJECTS, json=body).status_code == 201
            fill_up(disk / "ballast")
            rejected = client.post(PROJECTS, json=WIND)
            assert (rejected.status_code, rejected.json()["code"]) == (503, "storage_full")
            # No page of this size was read before, so it needs the rows that were not projected.
            items = client.get(PROJECTS, params={"limit": count + 7}).json()["items"]
            assert [item["project_name"] for item in items] == [f"N{n}" for n in range(count)]
            ready = client.get("/monitoring/ready")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert client.get("/monitoring/live").status_code == 200
            (disk / "ballast").unlink()
            write_again(client)
        service.stop()
