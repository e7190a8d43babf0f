"""Services on one NATS stream lose and repeat no event, whichever of them or the broker dies."""

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.adapters.publishers.nats_server import NatsServer, running_nats_server
from tests.product.service import Service
from tests.product.test_durability import read_feed

pytestmark = pytest.mark.real

STREAM = "SPAWN"


def create_projects(service: Service, number: int) -> None:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        for n in range(number):
            body = {"project_name": f"P{n}", "total_amount": "1"}
            assert client.post("/v1/ops/projects", json=body).status_code == 201


async def read_feed_ids(service: Service) -> list[str]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        return [event["id"] for event in await read_feed(client)]


async def read_stream_ids(server: NatsServer, number: int) -> list[str]:
    """Return the ids of all messages, once the stream has this number of them."""
    client, context = await server.context()
    async with asyncio.timeout(120):
        while (await context.stream_info(STREAM)).state.messages < number:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # the stream has no signal for its length
    last = (await context.stream_info(STREAM)).state.last_seq
    messages = [await context.get_msg(STREAM, n) for n in range(1, last + 1)]
    await client.close()
    return [msgspec.json.decode(message.data or b"")["id"] for message in messages]


@pytest.mark.slow
async def test_broker_and_services_killed_in_turn_lose_and_repeat_nothing(tmp_path: Path) -> None:
    for name in ("nats", "a", "b"):
        (tmp_path / name).mkdir()
    with running_nats_server(tmp_path / "nats") as server:
        settings = {
            "SPAWN_PUBLIC_URL": "https://spawn.example",
            "SPAWN_EVENTS_URL": f"{server.url}/desk#stream={STREAM}&start=oldest",
        }
        services = [Service(tmp_path / name, **settings) for name in ("a", "b")]
        try:
            for service in services:
                service.start()
                create_projects(service, 10)
            services[0].kill()
            server.stop()
            create_projects(services[1], 10)
            services[0].start()
            create_projects(services[0], 10)
            services[1].kill()
            server.start()
            services[1].start()
            feeds = [await read_feed_ids(service) for service in services]
            assert [len(feed) for feed in feeds] == [20, 20]
            ids = await read_stream_ids(server, 40)
        finally:
            for service in services:
                service.stop()
    assert sorted(ids) == sorted(feeds[0] + feeds[1])
    assert len(set(ids)) == 40
