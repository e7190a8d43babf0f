"""Lookups of names: one for each name under way, and none that holds up another or the end."""

import asyncio
import errno
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.adapters.publishers.conftest import AddressBook

from spawn.adapters.publishers.webhook import address_guard, name_lookup
from spawn.adapters.publishers.webhook.address_guard import MAX_AGE_S, RESOLUTION_S, AddressGuard
from spawn.adapters.publishers.webhook.name_lookup import LookupsExhausted, NameLookups
from spawn.domain.errors import Unavailable

HOST = "hooks.example"


class HangingNames:
    """Name server that does not respond for names that begin with `slow` until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.names: list[str] = []
        self.failure: Exception | None = None
        self.addresses = ["9.9.9.9"]

    def look_up(self, name: str) -> list[str]:
        self.names.append(name)
        if name.startswith("slow") and not self.released.wait(60):
            raise AssertionError("nobody has released the lookups")
        if self.failure is not None:
            raise self.failure
        return self.addresses


@pytest.fixture
def server(address_book: AddressBook) -> Iterator[HangingNames]:
    server = HangingNames()
    address_book.look_up = server.look_up
    yield server
    server.released.set()


async def test_callers_share_the_lookup_of_a_name(server: HangingNames) -> None:
    lookups = NameLookups()
    callers = [asyncio.create_task(lookups.look_up("slow.example")) for _ in range(8)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.sleep(0)
    server.released.set()
    async with asyncio.timeout(30):
        ended = await asyncio.gather(*callers, return_exceptions=True)
    assert ended[1:] == [("9.9.9.9",)] * 7
    assert server.names == ["slow.example"]


@pytest.mark.parametrize("failure", [socket.gaierror(socket.EAI_FAIL, "bad"), MemoryError()])
async def test_a_lookup_that_fails_is_tried_again(server: HangingNames, failure: Exception) -> None:
    lookups, server.failure = NameLookups(), failure
    async with asyncio.timeout(30):
        with pytest.raises(type(failure)):
            await lookups.look_up("quick.example")
        server.failure = None
        assert await lookups.look_up("quick.example") == ("9.9.9.9",)


async def test_names_that_hang_hold_up_no_other(server: HangingNames) -> None:
    lookups = NameLookups()
    names = [f"slow{number}.example" for number in range(100)]
    hanging = [asyncio.create_task(lookups.look_up(name)) for name in names]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert await lookups.look_up("quick.example") == ("9.9.9.9",)
    assert not any(task.done() for task in hanging)
    server.released.set()
    await asyncio.gather(*hanging)


async def test_slow_names_have_half_of_the_lookups(
    server: HangingNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_lookup, "MAX_LOOKUPS", 4)
    monkeypatch.setattr(name_lookup, "SLOW_LOOKUP_S", 0.0)
    lookups, names = NameLookups(), [f"slow{number}.example" for number in range(4)]
    first = [asyncio.create_task(lookups.look_up(name)) for name in names]
    await asyncio.sleep(0)
    with pytest.raises(LookupsExhausted):
        await lookups.look_up("quick.example")
    server.released.set()
    await asyncio.gather(*first)
    server.released.clear()
    second = [asyncio.create_task(lookups.look_up(name)) for name in names]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert await lookups.look_up("quick.example") == ("9.9.9.9",)
    server.released.set()
    ended = await asyncio.gather(*second, return_exceptions=True)
    assert [isinstance(one, LookupsExhausted) for one in ended] == [False, False, True, True]


def test_the_process_ends_while_a_lookup_is_under_way() -> None:
    program = """
import asyncio, socket, time, uvloop
from spawn.adapters.publishers.webhook.name_lookup import NameLookups
socket.getaddrinfo = lambda *_, **__: time.sleep(300)
async def main():
    try:
        async with asyncio.timeout(0.01):
            await NameLookups().look_up("slow.example")
    except TimeoutError:
        print("given up")
uvloop.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "given up\n"


class TestLastAddresses:
    @pytest.fixture
    async def advance(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
        """Advance the clock of the event loop."""
        loop, offset_s = asyncio.get_running_loop(), 0.0
        read_time_s = loop.time

        def advance(seconds: float) -> None:
            nonlocal offset_s
            offset_s += seconds

        monkeypatch.setattr(loop, "time", lambda: read_time_s() + offset_s)
        monkeypatch.setattr(address_guard, "PATIENCE_S", 0.01)
        return advance

    async def test_they_are_used_while_the_next_lookup_hangs(
        self,
        server: HangingNames,
        advance: Callable[[float], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        guard = AddressGuard(())
        server.released.set()
        assert await guard.resolve("slow.example") == ("9.9.9.9",)
        server.released.clear()
        advance(RESOLUTION_S + 1)
        async with asyncio.timeout(30):
            assert await guard.resolve("slow.example") == ("9.9.9.9",)
        # The next deliveries do not wait for it.
        with monkeypatch.context() as patience:
            patience.setattr(address_guard, "PATIENCE_S", 1000.0)
            async with asyncio.timeout(30):
                assert await guard.resolve("slow.example") == ("9.9.9.9",)
        guard.forget("slow.example")
        assert await guard.resolve("slow.example") == ("9.9.9.9",)
        advance(MAX_AGE_S)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await guard.resolve("slow.example")
        assert server.names == ["slow.example"] * 2

    @pytest.mark.parametrize(
        ("addresses", "expected"), [(["8.8.8.8"], ("8.8.8.8",)), (["10.0.0.1"], None), ([], None)]
    )
    async def test_a_lookup_that_ends_late_replaces_them(
        self,
        server: HangingNames,
        advance: Callable[[float], None],
        addresses: list[str],
        expected: tuple[str, ...] | None,
    ) -> None:
        """A receiver behind a slow name server would not be found again after it moved."""
        guard = AddressGuard(())
        server.released.set()
        await guard.resolve("slow.example")
        server.released.clear()
        server.addresses = addresses
        advance(RESOLUTION_S + 1)
        assert await guard.resolve("slow.example") == ("9.9.9.9",)
        server.released.set()
        renewals = asyncio.all_tasks() - {asyncio.current_task()}
        async with asyncio.timeout(30):
            await asyncio.gather(*renewals)
        # Only what is stored counts now.
        server.failure = socket.gaierror(socket.EAI_AGAIN, "no response")
        guard.forget("slow.example")
        if expected:
            assert await guard.resolve("slow.example") == expected
        else:
            with pytest.raises(Unavailable, match="cannot be resolved"):
                await guard.resolve("slow.example")

    @pytest.mark.parametrize(
        ("failure", "is_used"),
        [
            (socket.gaierror(socket.EAI_AGAIN, "no response"), True),
            (socket.gaierror(socket.EAI_MEMORY, "no memory"), True),
            (socket.gaierror(socket.EAI_FAIL, "failed"), True),
            (OSError(errno.EMFILE, "too many open files"), True),
            (socket.gaierror(socket.EAI_NONAME, "no such name"), False),
            (socket.gaierror(socket.EAI_NODATA, "no address"), False),
        ],
    )
    async def test_they_are_used_unless_a_name_server_says_that_there_are_none(
        self,
        server: HangingNames,
        advance: Callable[[float], None],
        failure: OSError,
        *,
        is_used: bool,
    ) -> None:
        guard = AddressGuard(())
        await guard.resolve(HOST)
        server.failure = failure
        advance(RESOLUTION_S + 1)
        if is_used:
            assert await guard.resolve(HOST) == ("9.9.9.9",)
        else:
            with pytest.raises(Unavailable, match="cannot be resolved"):
                await guard.resolve(HOST)

    async def test_a_name_without_a_lookup_left_is_unresolved(
        self, server: HangingNames, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(name_lookup, "MAX_LOOKUPS", 0)
        with pytest.raises(Unavailable, match="cannot be resolved"):
            await AddressGuard(()).resolve(HOST)
        assert server.names == []

    async def test_a_forbidden_address_is_no_last_address(
        self, address_book: AddressBook, advance: Callable[[float], None]
    ) -> None:
        addresses: list[Any] = [["10.0.0.1", "9.9.9.9", "127.0.0.1", "9.9.9.8"], ["10.0.0.1"]]
        address_book.look_up = lambda _name: addresses.pop(0)
        guard = AddressGuard(())
        assert await guard.resolve(HOST) == ("9.9.9.9", "9.9.9.8")
        advance(RESOLUTION_S + 1)
        with pytest.raises(Unavailable, match="has no address that webhooks may reach"):
            await guard.resolve(HOST)
