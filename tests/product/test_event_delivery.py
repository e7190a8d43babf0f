"""No event is lost or out of order: whatever becomes of the service, or of those who listen."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.product.service import Service
from tests.product.test_durability import Ledger, load_and_kill, read_feed
from tests.product.webhooks import Event, Sink

pytestmark = pytest.mark.real

KILLS = 4


def ids(events: list[Event]) -> set[str]:
    return {event["id"] for event in events}


async def feed_of(service: Service) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        return await read_feed(client)


@pytest.mark.slow
async def test_killing_the_service_loses_no_event_of_a_webhook(tmp_path: Path) -> None:
    """Each comes once or more, in order for each project, and none that was never committed."""
    sink, ledger = Sink(tmp_path).open(), Ledger()
    service = Service(tmp_path, **sink.settings())
    try:
        for _ in range(KILLS):
            service.start()
            await load_and_kill(service, ledger, acknowledgements=150)
        service.start()
        feed = await feed_of(service)
        wanted = ids(feed)
        await asyncio.to_thread(sink.wait, lambda events: ids(events) >= wanted)
        assert ids(sink.events) == wanted
        assert ledger.acknowledged <= len(wanted)
        for subject, versions in sink.versions().items():
            assert versions == sorted(versions), subject
    finally:
        service.stop()
        sink.close()


@pytest.mark.slow
def test_a_receiver_that_was_down_catches_up_also_over_a_restart(tmp_path: Path) -> None:
    sink = Sink(tmp_path)
    service = Service(tmp_path, **sink.settings())
    try:
        for _ in range(2):
            service.start()
            with httpx.Client(base_url=service.url, timeout=30) as client:
                for number in range(30):
                    body = {"project_name": f"P{number}", "total_amount": "1"}
                    assert client.post("/v1/ops/projects", json=body).status_code == 201
                feed = client.get("/monitoring/health").json()["checks"]["feed"]
                publisher = next(one for one in feed["publishers"] if one["name"] == "sink")
                assert publisher["backlog"] >= 30
                events = client.get("/v1/events", params={"limit": 500}).json()["events"]
            service.kill()
        service.start()
        sink.open()
        sink.wait(lambda taken: ids(taken) == ids(events))
        assert len(sink.events) == len(events)
        with httpx.Client(base_url=service.url, timeout=30) as client:
            assert client.get("/v1/events/dead-letters").json()["items"] == []
    finally:
        service.stop()
        sink.close()
