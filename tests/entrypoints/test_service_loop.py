"""Lookups of the event loop of the service: none holds up another, or the end."""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import httpx
import pytest

from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.factory import open_publisher
from spawn.adapters.publishers.http_client import DirectTransport
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.entrypoints.service_loop import ServiceLoop
from spawn.testing.publisher_contract import SOURCE, STORE_ID, an_entry


class SilentNameServer:
    """Name server that does not respond for names that begin with `mute`."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.is_asked = threading.Semaphore(0)
        self.names: list[str] = []

    def getaddrinfo(self, host: bytes, port: int | None, **_hints: Any) -> list[Any]:
        self.names.append(host.decode())
        self.is_asked.release()
        if host.startswith(b"mute") and not self.released.wait(60):
            raise AssertionError("nobody has released the lookups")
        addresses = ("127.0.0.1", port or 0), ("::1", port or 0, 0, 0)
        return [
            (socket.AF_UNSPEC, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", one) for one in addresses
        ]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentNameServer]:
    server = SilentNameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    yield server
    server.released.set()


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=ServiceLoop) as runner:
        runner.run(main)


def test_names_that_hang_hold_up_no_other_and_not_the_end(server: SilentNameServer) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport = DirectTransport(verify=None, connections=9)
        async with httpx.AsyncClient(transport=transport) as client:
            hanging = [
                asyncio.create_task(client.get(f"http://mute{number}.example/"))
                for number in range(9)
            ]
            for _ in hanging:
                assert await asyncio.to_thread(server.is_asked.acquire, timeout=30)
            async with asyncio.timeout(30):
                records = await loop.getaddrinfo("quick.example", 80, type=socket.SOCK_STREAM)
            assert records == [
                (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80)),
                (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 80, 0, 0)),
            ]
            for one in hanging:
                one.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    run(main())
    assert not server.released.is_set()
    assert sorted(server.names)[:9] == [f"mute{number}.example" for number in range(9)]


def test_a_nats_server_is_looked_up_in_the_same_way(server: SilentNameServer) -> None:
    async def main() -> None:
        options = PublisherOptions(envelope=EventEnvelope(SOURCE, "s", STORE_ID), timeout_s=0.05)
        publisher = await open_publisher("nats://mute.example/desk", options=options)
        with pytest.raises(Unavailable):
            await publisher.publish([an_entry(1)])
        await publisher.close()

    run(main())
    assert server.names == ["mute.example"]


def test_other_lookups_are_those_of_libuv(server: SilentNameServer) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        flags = socket.AI_NUMERICHOST
        (record, *_) = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM, flags=flags)
        assert record[4] == ("127.0.0.1", 80)

    run(main())
    assert server.names == []
