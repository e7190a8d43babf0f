"""No event is lost or out of order, if the service or the receiver fails."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.product.service import Service
from tests.product.test_durability import AcknowledgedWrites, load_and_kill, read_feed
from tests.product.webhooks import Event, WebhookSink

from spawn.testing.intensity import rounds

pytestmark = pytest.mark.real

KILLS = rounds(2, 4)


def event_ids(events: list[Event]) -> set[str]:
    return {event["id"] for event in events}


async def read_service_feed(service: Service) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        return await read_feed(client)


@pytest.mark.slow
async def test_killing_the_service_loses_no_event_of_a_webhook(tmp_path: Path) -> None:
    """Each event arrives at least once, in order for each project, and only if committed."""
    sink, writes = WebhookSink(tmp_path).open(), AcknowledgedWrites()
    service = Service(tmp_path, **sink.settings())
    try:
        for _ in range(KILLS):
            service.start()
            await load_and_kill(service, writes, acknowledgements=rounds(80, 150))
        service.start()
        feed = await read_service_feed(service)
        expected_ids = event_ids(feed)
        await asyncio.to_thread(sink.wait, lambda events: event_ids(events) >= expected_ids)
        assert event_ids(sink.events) == expected_ids
        assert writes.count <= len(expected_ids)
        for subject, versions in sink.versions().items():
            assert versions == sorted(versions), subject
    finally:
        service.stop()
        sink.close()


@pytest.mark.slow
def test_a_receiver_that_was_down_catches_up_even_after_a_restart(tmp_path: Path) -> None:
    sink = WebhookSink(tmp_path)
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
        sink.wait(lambda received: event_ids(received) == event_ids(events))
        assert len(sink.events) == len(events)
        with httpx.Client(base_url=service.url, timeout=30) as client:
            assert client.get("/v1/events/dead-letters").json()["items"] == []
    finally:
        service.stop()
        sink.close()
