"""One bounded, retried and guarded question to an ontology server."""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
import uvloop
from tests.adapters.ontology.conftest import Script, Time, arriving

from spawn.adapters.ontology.circuit_breaker import BreakerLimits, BreakerOpen, BreakerState
from spawn.adapters.ontology.client import ATTEMPTS, RegistryClient, Transient
from spawn.domain.errors import NotFound, RegistryError
from spawn.domain.schemas.document_parser import MAX_DOCUMENT_BYTES

PATH = "/schemas/project_schema"


@pytest.fixture
async def client(server: Script, time: Time) -> AsyncIterator[RegistryClient]:
    made = RegistryClient(
        "http://user:secret@ontology.test/base/",
        timeout_s=2.0,
        transport=httpx.MockTransport(server),
        limits=BreakerLimits(failures=4, window_s=60.0, open_s=10.0),
        monotonic=time.monotonic,
        sleep=time.sleep,
    )
    yield made
    await made.close()


async def test_the_document_comes_with_its_validator_and_lifetime(
    client: RegistryClient, server: Script
) -> None:
    server.says(200, b"{}", ETag='"1"', Cache_Control="public, max-age=120")
    reply = await client.get(PATH)
    assert (reply.document, reply.etag, reply.max_age_s) == (b"{}", '"1"', 120.0)
    (request,) = server.requests
    assert request.url.path == "/base/schemas/project_schema"
    assert "if-none-match" not in request.headers


async def test_the_etag_is_asked_with_and_304_has_no_document(
    client: RegistryClient, server: Script
) -> None:
    server.says(304, Cache_Control="max-age=5")
    reply = await client.get(PATH, etag='"1"')
    assert (reply.document, reply.max_age_s) == (None, 5.0)
    assert server.requests[0].headers["if-none-match"] == '"1"'


@pytest.mark.parametrize(
    ("control", "max_age_s"),
    [
        ("", 60.0),
        ("max-age=0", 0.0),
        ("no-store", 0.0),
        ("no-cache, max-age=100", 0.0),
        ("Max-Age=7", 7.0),
        ("s-maxage=9", 60.0),
        ("max-age=999999999", 86_400.0),
        ("max-age=-5", 60.0),
    ],
)
async def test_the_lifetime_follows_cache_control(
    client: RegistryClient, server: Script, control: str, max_age_s: float
) -> None:
    server.says(200, b"{}", Cache_Control=control)
    assert (await client.get(PATH)).max_age_s == max_age_s


@pytest.mark.parametrize("status", [404, 410])
async def test_absence_is_an_answer_and_not_repeated(
    client: RegistryClient, server: Script, status: int
) -> None:
    server.says(status)
    for _ in range(10):
        with pytest.raises(NotFound):
            await client.get(PATH)
    assert len(server.requests) == 10
    assert client.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_other_refusals_neither_count_nor_repeat(
    client: RegistryClient, server: Script, status: int
) -> None:
    server.says(status)
    for _ in range(10):
        with pytest.raises(RegistryError, match=str(status)):
            await client.get(PATH)
    assert len(server.requests) == 10
    assert client.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_failures_are_repeated_counted_and_stopped_by_the_breaker(
    client: RegistryClient, server: Script, time: Time, status: int
) -> None:
    server.says(status)
    with pytest.raises(Transient, match=str(status)):
        await client.get(PATH)
    assert len(server.requests) == ATTEMPTS
    # The fourth failure opens the breaker, which is not knocked at again by the retries.
    with pytest.raises(BreakerOpen):
        await client.get(PATH)
    assert len(server.requests) == ATTEMPTS + 1
    with pytest.raises(BreakerOpen):
        await client.get(PATH)
    assert len(server.requests) == ATTEMPTS + 1
    time.elapsed_s += 10.0
    server.says(200, b"{}")
    assert (await client.get(PATH)).document == b"{}"
    assert client.breaker.state is BreakerState.CLOSED


async def test_a_hiccup_is_survived_by_a_retry(client: RegistryClient, server: Script) -> None:
    answers = iter([httpx.Response(503), httpx.Response(200, content=arriving(b"{}"))])
    server.answer = lambda _: next(answers)
    assert (await client.get(PATH)).document == b"{}"


async def test_an_unreachable_server_is_named_without_addresses(
    client: RegistryClient, server: Script
) -> None:
    server.is_unreachable()
    with pytest.raises(Transient) as failure:
        await client.get(PATH)
    assert failure.value.detail == "the registry cannot be reached: connect error"


async def test_retries_end_with_the_deadline(
    client: RegistryClient, server: Script, time: Time
) -> None:
    def slow_failure(_: httpx.Request) -> httpx.Response:
        time.elapsed_s += 3.0
        return httpx.Response(503)

    server.answer = slow_failure
    with pytest.raises(RegistryError, match="within 2 s"):
        await client.get(PATH)
    assert len(server.requests) == 1


async def test_a_silent_server_is_left_at_the_deadline_and_counts() -> None:
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError(request)

    client = RegistryClient(
        "http://ontology.test",
        timeout_s=0.05,
        transport=Silent(),
        limits=BreakerLimits(failures=1),
    )
    with pytest.raises(Transient, match="did not answer"):
        await client.get(PATH)
    assert client.breaker.state is BreakerState.OPEN
    await client.close()


async def test_a_body_is_bounded_while_it_arrives(client: RegistryClient, server: Script) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    server.answer = lambda _: httpx.Response(200, content=endless())
    with pytest.raises(RegistryError, match="larger"):
        await client.get(PATH)
    assert sent <= MAX_DOCUMENT_BYTES + 65_536


async def test_a_compressed_body_is_refused_unread(client: RegistryClient, server: Script) -> None:
    server.says(200, b"\x1f\x8b...", Content_Encoding="gzip")
    with pytest.raises(RegistryError, match="compresses"):
        await client.get(PATH)
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_a_redirect_within_the_origin_is_followed(
    client: RegistryClient, server: Script
) -> None:
    def moved(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/new":
            return httpx.Response(200, content=arriving(b"{}"))
        return httpx.Response(307, headers={"Location": "/new"})

    server.answer = moved
    assert (await client.get(PATH)).document == b"{}"


@pytest.mark.parametrize(
    "target",
    [
        "http://elsewhere.test/x",
        "https://ontology.test/x",
        "http://ontology.test:8080/x",
        "//169.254.169.254/latest",
    ],
)
async def test_a_redirect_to_another_origin_is_not_followed(
    client: RegistryClient, server: Script, target: str
) -> None:
    server.says(302, Location=target)
    with pytest.raises(RegistryError, match="another host"):
        await client.get(PATH)
    assert len(server.requests) == 1


async def test_redirects_in_circles_end(client: RegistryClient, server: Script) -> None:
    server.says(302, Location="/round")
    with pytest.raises(RegistryError, match="more than 3 times"):
        await client.get(PATH)
    assert len(server.requests) == 4


async def test_credentials_go_to_the_server_and_nowhere_else(
    client: RegistryClient, server: Script
) -> None:
    server.says(200, b"{}")
    await client.get(PATH)
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert client.url == "http://ontology.test/base"


@contextmanager
def resetting_server() -> Iterator[str]:
    """A server that resets each connection as soon as it is made."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset_all() -> None:
            with suppress(OSError):  # the listener is closed at the end
                while True:
                    connection, _ = listener.accept()
                    now = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
                    connection.close()

        thread = threading.Thread(target=reset_all)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_connections_that_are_reset_are_failures_of_the_registry() -> None:
    limits = BreakerLimits(failures=1000, window_s=60.0, open_s=10.0)

    async def ask(url: str) -> None:
        client = RegistryClient(url, timeout_s=5.0, limits=limits, sleep=Time().sleep)
        # The connection is lost before or after it is first looked at: each way comes up.
        for _ in range(300):
            with pytest.raises(Transient, match="cannot be reached"):
                await client.get(PATH)
        await client.close()

    with resetting_server() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask(url))
