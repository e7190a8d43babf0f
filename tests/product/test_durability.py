"""What was acknowledged is there, whole and once, whatever happens to the process."""

import asyncio
import collections
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.product.service import Service

pytestmark = pytest.mark.real

WRITERS = 16


class Ledger:
    """What the service acknowledged: for each project, each version's name."""

    def __init__(self) -> None:
        self.names: dict[str, dict[int, str]] = collections.defaultdict(dict)
        self.acknowledged = 0
        self._target = 0
        self._reached = asyncio.Event()

    def note(self, body: dict[str, Any]) -> None:
        self.names[body["project_id"]][body["version"]] = body["project_name"]
        self.acknowledged += 1
        if self.acknowledged >= self._target:
            self._reached.set()

    async def grows_by(self, acknowledgements: int) -> None:
        """Wait until so many more answers have come."""
        self._target = self.acknowledged + acknowledgements
        self._reached.clear()
        await asyncio.wait_for(self._reached.wait(), 60)


async def write_until_refused(client: httpx.AsyncClient, ledger: Ledger, writer: int) -> None:
    """Create projects and rename each once, until the connection breaks."""
    number = 0
    try:
        while True:
            number += 1
            made = await client.post(
                "/v1/ops/projects",
                json={"project_name": f"w{writer}-{number}", "total_amount": f"{number}.25"},
            )
            assert made.status_code == 201, made.text
            ledger.note(made.json())
            renamed = await client.patch(
                f"/v1/ops/projects/{made.json()['project_id']}",
                json={"project_name": f"w{writer}-{number}-renamed"},
                headers={"If-Match": made.headers["ETag"]},
            )
            assert renamed.status_code == 200, renamed.text
            ledger.note(renamed.json())
    except httpx.TransportError:
        return  # the process is gone: what was in flight is unknown, as for any client


async def load_and_kill(service: Service, ledger: Ledger, acknowledgements: int) -> None:
    """Write with many clients; kill the process once so many more answers have come."""
    async with httpx.AsyncClient(
        base_url=service.url, timeout=30, limits=httpx.Limits(max_connections=WRITERS)
    ) as client:
        writers = [
            asyncio.create_task(write_until_refused(client, ledger, writer))
            for writer in range(WRITERS)
        ]
        await ledger.grows_by(acknowledgements)
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
    """Every event once, per project in order without a gap; the newest version of each."""
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


async def check_ledger(client: httpx.AsyncClient, ledger: Ledger, newest: dict[str, int]) -> None:
    for project_id, versions in ledger.names.items():
        assert newest[f"projects/{project_id}"] >= max(versions)
        history = (await client.get(f"/v1/ops/projects/{project_id}/history")).raise_for_status()
        recorded = {
            item["version"]: item["document"]["project_name"] for item in history.json()["items"]
        }
        assert recorded.items() >= versions.items()
        now = (await client.get(f"/v1/ops/projects/{project_id}")).raise_for_status().json()
        assert now["version"] == max(recorded)
        assert now["project_name"] == recorded[now["version"]]


async def kill_and_check(service: Service, kills: int) -> None:
    draw = random.Random(kills)
    ledger = Ledger()
    for _ in range(kills):
        service.start()
        await load_and_kill(service, ledger, draw.randint(50, 400))
    service.start()
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        newest = check_feed(await read_feed(client))
        await check_ledger(client, ledger, newest)
    assert len(ledger.names) > kills


async def test_kill_in_mid_load_loses_nothing_acknowledged(
    service_in: Callable[..., Service],
) -> None:
    await kill_and_check(service_in(), kills=3)


@pytest.mark.slow
async def test_twenty_kills_in_mid_load_lose_nothing_acknowledged(
    service_in: Callable[..., Service],
) -> None:
    await kill_and_check(service_in(), kills=20)


async def test_sixteen_writers_on_one_project_have_one_winner_a_version(
    service_in: Callable[..., Service],
) -> None:
    service = service_in()
    service.start()
    rounds = 12
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        made = await client.post(
            "/v1/ops/projects", json={"project_name": "Raced", "total_amount": 1}
        )
        path, etag = made.headers["Location"], made.headers["ETag"]
        for number in range(rounds):
            answers = await asyncio.gather(
                *(
                    client.patch(
                        path,
                        json={"description": f"{number}/{writer}"},
                        headers={"If-Match": etag},
                    )
                    for writer in range(WRITERS)
                )
            )
            codes = sorted(answer.status_code for answer in answers)
            assert codes == [200] + [412] * (WRITERS - 1)
            winner = next(answer for answer in answers if answer.status_code == 200)
            assert winner.json()["version"] == number + 2
            now = await client.get(path)
            assert now.json()["description"] == winner.json()["description"]
            etag = winner.headers["ETag"]
        history = (await client.get(f"{path}/history")).json()["items"]
        assert [item["version"] for item in history] == list(range(1, rounds + 2))


async def test_sigterm_finishes_what_is_in_flight(service_in: Callable[..., Service]) -> None:
    service = service_in()
    service.start()
    ledger = Ledger()
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        writers = [
            asyncio.create_task(write_until_refused_or_busy(client, ledger, writer))
            for writer in range(WRITERS)
        ]
        await ledger.grows_by(200)
        code = await asyncio.to_thread(service.stop)
        await asyncio.gather(*writers)
    assert code == 0
    # It has left a checkpoint: the log is part of the file.
    assert not (service.folder / "spawn.duckdb.wal").exists()
    service.start()
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        await check_ledger(client, ledger, check_feed(await read_feed(client)))


def test_what_is_written_is_for_the_services_user_alone(
    service_in: Callable[..., Service], tmp_path: Path
) -> None:
    service = service_in(SPAWN_STORAGE_URL=f"duckdb:///{tmp_path}/data/spawn.duckdb")
    service.start()
    body = {"project_name": "Private", "total_amount": "1"}
    assert httpx.post(f"{service.url}/v1/ops/projects", json=body).status_code == 201
    data = tmp_path / "data"
    names = {path.name for path in data.iterdir()}
    assert {"spawn.duckdb", "spawn.duckdb.wal", "spawn.duckdb.mark", "spool"} <= names
    assert [path for path in (data, *data.rglob("*")) if path.stat().st_mode & 0o077] == []


async def write_until_refused_or_busy(
    client: httpx.AsyncClient, ledger: Ledger, writer: int
) -> None:
    """Create projects until the service closes its doors, politely or at transport level."""
    number = 0
    while True:
        number += 1
        try:
            made = await client.post(
                "/v1/ops/projects",
                json={"project_name": f"w{writer}-{number}", "total_amount": "1"},
            )
        except httpx.TransportError:
            return
        if made.status_code == 503:
            return
        assert made.status_code == 201, made.text
        ledger.note(made.json())
