"""Acknowledged writes are complete and unique, even if the process is killed."""

import asyncio
import collections
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.product.service import Service

from spawn.testing.intensity import rounds

pytestmark = pytest.mark.real

WRITERS = 16


class AcknowledgedWrites:
    """Project names by project and version, as the service acknowledged them."""

    def __init__(self) -> None:
        self.names: dict[str, dict[int, str]] = collections.defaultdict(dict)
        self.count = 0
        self._target_count = 0
        self._is_target_reached = asyncio.Event()

    def record(self, body: dict[str, Any]) -> None:
        self.names[body["project_id"]][body["version"]] = body["project_name"]
        self.count += 1
        if self.count >= self._target_count:
            self._is_target_reached.set()

    async def wait_for_more(self, acknowledgements: int) -> None:
        """Wait for so many more acknowledgements."""
        self._target_count = self.count + acknowledgements
        self._is_target_reached.clear()
        await asyncio.wait_for(self._is_target_reached.wait(), 60)


async def write_until_disconnected(
    client: httpx.AsyncClient, writes: AcknowledgedWrites, writer: int
) -> None:
    """Create projects and rename each once, until the connection breaks."""
    number = 0
    try:
        while True:
            number += 1
            response = await client.post(
                "/v1/ops/projects",
                json={"project_name": f"w{writer}-{number}", "total_amount": f"{number}.25"},
            )
            assert response.status_code == 201, response.text
            writes.record(response.json())
            patch_response = await client.patch(
                f"/v1/ops/projects/{response.json()['project_id']}",
                json={"project_name": f"w{writer}-{number}-renamed"},
                headers={"If-Match": response.headers["ETag"]},
            )
            assert patch_response.status_code == 200, patch_response.text
            writes.record(patch_response.json())
    except httpx.TransportError:
        return  # the process is gone: the outcome of the request is unknown


async def load_and_kill(
    service: Service, writes: AcknowledgedWrites, acknowledgements: int
) -> None:
    """Write with many clients; kill the process after so many acknowledgements."""
    async with httpx.AsyncClient(
        base_url=service.url, timeout=30, limits=httpx.Limits(max_connections=WRITERS)
    ) as client:
        writers = [
            asyncio.create_task(write_until_disconnected(client, writes, writer))
            for writer in range(WRITERS)
        ]
        await writes.wait_for_more(acknowledgements)
        service.kill()
        await asyncio.gather(*writers)


async def read_feed(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    parameters: dict[str, str] = {"limit": "500"}
    while True:
        page = (await client.get("/v1/events", params=parameters)).raise_for_status().json()
        if not page["events"]:
            return events
        events += page["events"]
        parameters["after"] = page["next"]


def check_feed(events: list[dict[str, Any]]) -> dict[str, int]:
    """Check that events are unique and gapless; return the newest version of each project."""
    assert len({event["id"] for event in events}) == len(events)
    newest: dict[str, int] = {}
    for event in events:
        subject, sequence = event["subject"], int(event["sequence"])
        assert sequence == newest.get(subject, 0) + 1, f"{subject} jumped to {sequence}"
        newest[subject] = sequence
        after = event["data"]["after"]
        assert after["project_name"].endswith("-renamed") == (sequence == 2)
        assert "total_amount" in after
    return newest


async def check_ledger(
    client: httpx.AsyncClient, writes: AcknowledgedWrites, newest: dict[str, int]
) -> None:
    for project_id, versions in writes.names.items():
        assert newest[f"projects/{project_id}"] >= max(versions)
        history = (await client.get(f"/v1/ops/projects/{project_id}/history")).raise_for_status()
        history_names = {
            item["version"]: item["document"]["project_name"] for item in history.json()["items"]
        }
        assert history_names.items() >= versions.items()
        now = (await client.get(f"/v1/ops/projects/{project_id}")).raise_for_status().json()
        assert now["version"] == max(history_names)
        assert now["project_name"] == history_names[now["version"]]


async def kill_and_check(service: Service, kills: int) -> None:
    random_source = random.Random(kills)
    writes = AcknowledgedWrites()
    for _ in range(kills):
        service.start()
        await load_and_kill(service, writes, random_source.randint(50, rounds(200, 400)))
    service.start()
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        newest = check_feed(await read_feed(client))
        await check_ledger(client, writes, newest)
    assert len(writes.names) > kills


async def test_a_kill_under_load_loses_no_acknowledged_write(
    service_in: Callable[..., Service],
) -> None:
    await kill_and_check(service_in(), kills=rounds(2, 4))


async def test_sixteen_writers_have_one_winner_per_version_in_files_that_are_private(
    service_in: Callable[..., Service], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    service = service_in(SPAWN_STORAGE_URL=f"duckdb:///{data}/spawn.duckdb")
    service.start()
    rounds = 12
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        response = await client.post(
            "/v1/ops/projects", json={"project_name": "Raced", "total_amount": 1}
        )
        path, etag = response.headers["Location"], response.headers["ETag"]
        for number in range(rounds):
            responses = await asyncio.gather(
                *(
                    client.patch(
                        path,
                        json={"description": f"{number}/{writer}"},
                        headers={"If-Match": etag},
                    )
                    for writer in range(WRITERS)
                )
            )
            codes = sorted(one.status_code for one in responses)
            assert codes == [200] + [412] * (WRITERS - 1)
            winner = next(one for one in responses if one.status_code == 200)
            assert winner.json()["version"] == number + 2
            now = await client.get(path)
            assert now.json()["description"] == winner.json()["description"]
            etag = winner.headers["ETag"]
        history = (await client.get(f"{path}/history")).json()["items"]
        assert [item["version"] for item in history] == list(range(1, rounds + 2))
    check_privacy(data)


async def test_sigterm_finishes_requests_in_flight(service_in: Callable[..., Service]) -> None:
    service = service_in()
    service.start()
    writes = AcknowledgedWrites()
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        writers = [
            asyncio.create_task(write_until_shutdown(client, writes, writer))
            for writer in range(WRITERS)
        ]
        await writes.wait_for_more(60)
        code = await asyncio.to_thread(service.stop)
        await asyncio.gather(*writers)
    assert code == 0
    # The shutdown made a checkpoint, so there is no log.
    assert not (service.folder / "spawn.duckdb.wal").exists()
    service.start()
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        await check_ledger(client, writes, check_feed(await read_feed(client)))


def check_privacy(data: Path) -> None:
    """Check that the files of a running service are private to its user."""
    names = {path.name for path in data.iterdir()}
    assert {"spawn.duckdb", "spawn.duckdb.wal", "spawn.duckdb.mark", "spawn.duckdb.spool"} <= names
    assert [path for path in (data, *data.rglob("*")) if path.stat().st_mode & 0o077] == []


async def write_until_shutdown(
    client: httpx.AsyncClient, writes: AcknowledgedWrites, writer: int
) -> None:
    """Create projects until the service responds 503 or closes the connection."""
    number = 0
    while True:
        number += 1
        try:
            response = await client.post(
                "/v1/ops/projects",
                json={"project_name": f"w{writer}-{number}", "total_amount": "1"},
            )
        except httpx.TransportError:
            return
        if response.status_code == 503:
            return
        assert response.status_code == 201, response.text
        writes.record(response.json())
