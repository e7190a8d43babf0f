"""A service whose store fails reports it, and ends if only a restart helps."""

import asyncio
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import duckdb
import httpx
import pytest
import tenacity
from tests.adapters.storage.failing_engine import FailingEngine
from tests.http.conftest import WIND, Service
from tests.loopback import free_port

from spawn.adapters.memory.store import MemoryStore
from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.settings import Settings

PROJECTS = "/v1/ops/projects"
FATAL = duckdb.FatalException("FATAL Error: Failed to create checkpoint because of error: gone")
SCRIPT = Path(__file__).with_name("failing_service.py")


def until(look: Any) -> Any:
    """Look again until it raises nothing; return its value."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((AssertionError, httpx.HTTPError)),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    )(look)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FailingEngine:
    engine = FailingEngine()
    engine.install(monkeypatch)
    return engine


@pytest.fixture
def client(engine: FailingEngine, tmp_path: Path) -> Iterator[httpx.Client]:
    del engine  # installed before the service starts
    service = Service(storage_url=f"duckdb:///{tmp_path}/s.duckdb").start()
    with service.client() as client:
        yield client
    service.stop()


def test_service_is_not_ready_while_its_file_cannot_be_reopened_and_ready_again_after(
    client: httpx.Client, engine: FailingEngine
) -> None:
    client.post(PROJECTS, json=WIND)
    engine.connect_failure = duckdb.IOException(
        f'IO Error: Cannot open file "/data/s.duckdb": {os.strerror(errno.EIO)}'
    )
    engine.failures["append_now"] = FATAL
    assert client.post(PROJECTS, json=WIND).status_code == 503

    def not_ready() -> None:
        response = client.get("/monitoring/ready")
        assert response.status_code == 503
        assert "Check its owner and permissions" in response.json()["checks"]["storage"]["detail"]

    until(not_ready)
    assert client.get("/monitoring/live").status_code == 200
    engine.failures.clear()
    engine.connect_failure = None

    def ready() -> None:
        assert client.get("/monitoring/ready").status_code == 200

    until(ready)
    assert client.post(PROJECTS, json=WIND).status_code == 201


def test_service_with_damaged_data_is_not_ready_and_names_the_remedy(
    client: httpx.Client, engine: FailingEngine
) -> None:
    client.post(PROJECTS, json=WIND)
    engine.failures["from journal"] = duckdb.IOException(
        "IO Error: Corrupt database file: computed checksum 1 does not match stored checksum 2"
    )
    response = client.get(f"{PROJECTS}?limit=7")
    assert (response.status_code, response.json()["code"]) == (503, "storage_damaged")
    engine.failures.clear()

    def not_ready() -> None:
        response = client.get("/monitoring/ready")
        assert response.status_code == 503
        assert "the last backup" in response.json()["checks"]["storage"]["detail"]

    until(not_ready)


async def test_liveness_follows_the_store() -> None:
    settings = Settings(storage_url="memory://", auth="off")
    async with open_composition(settings) as composition:
        transport = httpx.ASGITransport(app=cast("Any", composition.app))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            assert (await client.get("/monitoring/live")).status_code == 200
            composition.health.failure_reason = "The disk is gone."
            response = await client.get("/monitoring/live")
            assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
            assert (await client.get("/monitoring/ready")).status_code == 503


def test_service_ends_once_its_store_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = asyncio.Event()

    async def wait_until_failed(_: MemoryStore) -> str:
        await failed.wait()
        return "The disk is gone."

    monkeypatch.setattr(MemoryStore, "wait_until_failed", wait_until_failed)
    service = Service().start()
    assert service.loop is not None
    service.loop.call_soon_threadsafe(failed.set)
    service.join()
    assert service.failure_reason == "The disk is gone."


def build_environment(port: int, database: Path) -> dict[str, str]:
    """Return the environment of a service of its own process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
    return environment | {
        "SPAWN_PORT": str(port),
        "SPAWN_AUTH": "off",
        "SPAWN_STORAGE_URL": f"duckdb:///{database}",
    }


@pytest.mark.real
@pytest.mark.slow
def test_process_ends_with_its_own_exit_code_and_the_reason(tmp_path: Path) -> None:
    port, trigger = free_port(), tmp_path / "disk-is-gone"
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), str(trigger)],
        env=build_environment(port, tmp_path / "s.duckdb"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: httpx.get(f"{url}/monitoring/live", timeout=30).raise_for_status())
            trigger.touch()
            response = httpx.post(f"{url}{PROJECTS}", json=WIND, timeout=30)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()  # or a failure here would wait for it without end
    assert process.returncode == 4
    *lines, sentence = errors.splitlines()
    assert sentence.startswith("spawn: The disk did not confirm a write")
    records = [json.loads(line) for line in lines]
    cause = next(record for record in records if "operation" in record)
    # The folder is synced before the first change of a log is acknowledged, the mark later.
    assert cause["cause"].endswith("NotSynced: [Errno 5] Input/output error")
    assert any(record["level"] == "CRITICAL" for record in records)
    # The sync of the mark fails before or after the change: a change that was confirmed is kept.
    assert (response.status_code, response.json().get("code")) in {
        (201, None),
        (503, "unavailable"),
    }
    service = Service(storage_url=f"duckdb:///{tmp_path}/s.duckdb").start()
    with service.client() as client:
        stored = client.get(PROJECTS).json()["items"]
    service.stop()
    assert len(stored) >= (response.status_code == 201)


@pytest.mark.real
@pytest.mark.slow
def test_process_that_lost_its_log_ends_with_everything_acknowledged_in_the_database(
    tmp_path: Path,
) -> None:
    port, database = free_port(), tmp_path / "s.duckdb"
    with subprocess.Popen(
        [sys.executable, "-m", "spawn", "serve"],
        env=build_environment(port, tmp_path / "s.duckdb"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: httpx.get(f"{url}/monitoring/ready", timeout=30).raise_for_status())
            acknowledged = httpx.post(f"{url}{PROJECTS}", json=WIND, timeout=30)
            database.with_name("s.duckdb.wal").unlink()
            response = httpx.post(f"{url}{PROJECTS}", json=WIND, timeout=30)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # or a failure here would wait for it without end
    assert (acknowledged.status_code, response.status_code) == (201, 503)
    assert process.returncode == 4
    last_line = errors.splitlines()[-1]
    assert last_line.startswith("spawn: The database or its log was removed"), errors
    assert "All changes are in the database now" in last_line, errors
    service = Service(storage_url=f"duckdb:///{database}").start()
    with service.client() as client:
        stored = client.get(PROJECTS).json()["items"]
    service.stop()
    assert stored[0]["project_id"] == acknowledged.json()["project_id"]
