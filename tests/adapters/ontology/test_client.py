"""HTTP client of the ontology server: bounds, retries, circuit breaker, redirects."""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
import uvloop
from tests.adapters.ontology.conftest import ManualTime, ScriptedServer, stream_body

from spawn.adapters.ontology.circuit_breaker import CircuitLimits, CircuitOpen, CircuitState
from spawn.adapters.ontology.client import MAX_ATTEMPTS, RegistryClient, TransientRegistryError
from spawn.domain.errors import NotFound, RegistryError
from spawn.domain.schemas.document_parser import MAX_DOCUMENT_BYTES

PATH = "/schemas/project_schema"


@pytest.fixture
async def client(server: ScriptedServer, time: ManualTime) -> AsyncIterator[RegistryClient]:
    client = RegistryClient(
        "http://user:secret@ontology.test/base/",
        timeout_s=2.0,
        transport=httpx.MockTransport(server),
        limits=CircuitLimits(failures=4, window_s=60.0, open_s=10.0),
        monotonic=time.monotonic,
        sleep=time.sleep,
    )
    yield client
    await client.close()


async def test_the_document_comes_with_its_validator_and_lifetime(
    client: RegistryClient, server: ScriptedServer
) -> None:
    server.set_response(200, b"{}", ETag='"1"', Cache_Control="public, max-age=120")
    response = await client.get(PATH)
    assert (response.document, response.etag, response.max_age_s) == (b"{}", '"1"', 120.0)
    (request,) = server.requests
    assert request.url.path == "/base/schemas/project_schema"
    assert "if-none-match" not in request.headers


async def test_the_etag_is_sent_and_a_304_has_no_document(
    client: RegistryClient, server: ScriptedServer
) -> None:
    server.set_response(304, Cache_Control="max-age=5")
    response = await client.get(PATH, etag='"1"')
    assert (response.document, response.max_age_s) == (None, 5.0)
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
    client: RegistryClient, server: ScriptedServer, control: str, max_age_s: float
) -> None:
    server.set_response(200, b"{}", Cache_Control=control)
    assert (await client.get(PATH)).max_age_s == max_age_s


@pytest.mark.parametrize("status", [404, 410])
async def test_a_missing_document_is_no_failure_and_is_not_retried(
    client: RegistryClient, server: ScriptedServer, status: int
) -> None:
    server.set_response(status)
    for _ in range(10):
        with pytest.raises(NotFound):
            await client.get(PATH)
    assert len(server.requests) == 10
    assert client.breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_other_client_errors_are_neither_counted_nor_retried(
    client: RegistryClient, server: ScriptedServer, status: int
) -> None:
    server.set_response(status)
    for _ in range(10):
        with pytest.raises(RegistryError, match=str(status)):
            await client.get(PATH)
    assert len(server.requests) == 10
    assert client.breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_failures_are_retried_counted_and_stopped_by_the_breaker(
    client: RegistryClient, server: ScriptedServer, time: ManualTime, status: int
) -> None:
    server.set_response(status)
    with pytest.raises(TransientRegistryError, match=str(status)):
        await client.get(PATH)
    assert len(server.requests) == MAX_ATTEMPTS
    # The fourth failure opens the breaker, and the retries send no further request.
    with pytest.raises(CircuitOpen):
        await client.get(PATH)
    assert len(server.requests) == MAX_ATTEMPTS + 1
    with pytest.raises(CircuitOpen):
        await client.get(PATH)
    assert len(server.requests) == MAX_ATTEMPTS + 1
    time.elapsed_s += 10.0
    server.set_response(200, b"{}")
    assert (await client.get(PATH)).document == b"{}"
    assert client.breaker.state is CircuitState.CLOSED


async def test_a_single_failure_is_hidden_by_a_retry(
    client: RegistryClient, server: ScriptedServer
) -> None:
    responses = iter([httpx.Response(503), httpx.Response(200, content=stream_body(b"{}"))])
    server.respond = lambda _: next(responses)
    assert (await client.get(PATH)).document == b"{}"


async def test_the_error_of_an_unreachable_server_contains_no_address(
    client: RegistryClient, server: ScriptedServer
) -> None:
    server.disconnect()
    with pytest.raises(TransientRegistryError) as failure:
        await client.get(PATH)
    assert failure.value.detail == "the registry cannot be reached: connect error"


async def test_retries_end_at_the_deadline(
    client: RegistryClient, server: ScriptedServer, time: ManualTime
) -> None:
    def slow_failure(_: httpx.Request) -> httpx.Response:
        time.elapsed_s += 3.0
        return httpx.Response(503)

    server.respond = slow_failure
    with pytest.raises(RegistryError, match="within 2 s"):
        await client.get(PATH)
    assert len(server.requests) == 1


async def test_a_silent_server_counts_as_a_failure_at_the_deadline() -> None:
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError(request)

    client = RegistryClient(
        "http://ontology.test",
        timeout_s=0.05,
        transport=Silent(),
        limits=CircuitLimits(failures=1),
    )
    with pytest.raises(TransientRegistryError, match="did not respond"):
        await client.get(PATH)
    assert client.breaker.state is CircuitState.OPEN
    await client.close()


async def test_a_body_is_bounded_while_it_is_received(
    client: RegistryClient, server: ScriptedServer
) -> None:
    sent_bytes = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent_bytes
        while True:
            sent_bytes += 65_536
            yield b" " * 65_536

    server.respond = lambda _: httpx.Response(200, content=endless())
    with pytest.raises(RegistryError, match="larger"):
        await client.get(PATH)
    assert sent_bytes <= MAX_DOCUMENT_BYTES + 65_536


async def test_a_compressed_body_is_rejected_unread(
    client: RegistryClient, server: ScriptedServer
) -> None:
    server.set_response(200, b"\x1f\x8b...", Content_Encoding="gzip")
    with pytest.raises(RegistryError, match="compresses"):
        await client.get(PATH)
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_a_redirect_within_the_origin_is_followed(
    client: RegistryClient, server: ScriptedServer
) -> None:
    def redirect(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/new":
            return httpx.Response(200, content=stream_body(b"{}"))
        return httpx.Response(307, headers={"Location": "/new"})

    server.respond = redirect
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
    client: RegistryClient, server: ScriptedServer, target: str
) -> None:
    server.set_response(302, Location=target)
    with pytest.raises(RegistryError, match="another host"):
        await client.get(PATH)
    assert len(server.requests) == 1


async def test_circular_redirects_end(client: RegistryClient, server: ScriptedServer) -> None:
    server.set_response(302, Location="/round")
    with pytest.raises(RegistryError, match="more than 3 times"):
        await client.get(PATH)
    assert len(server.requests) == 4


async def test_credentials_go_to_the_server_and_nowhere_else(
    client: RegistryClient, server: ScriptedServer
) -> None:
    server.set_response(200, b"{}")
    await client.get(PATH)
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert client.url == "http://ontology.test/base"


@contextmanager
def resetting_server() -> Iterator[str]:
    """A server that resets each connection as soon as it is open."""
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


def test_a_reset_connection_is_a_transient_failure() -> None:
    limits = CircuitLimits(failures=1000, window_s=60.0, open_s=10.0)

    async def send_requests(url: str) -> None:
        client = RegistryClient(url, timeout_s=5.0, limits=limits, sleep=ManualTime().sleep)
        # The connection is lost before or after its first use: both cases occur.
        for _ in range(300):
            with pytest.raises(TransientRegistryError, match="cannot be reached"):
                await client.get(PATH)
        await client.close()

    with resetting_server() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send_requests(url))


@pytest.mark.parametrize("etag", [b'"v\xe9"', '"ж"'.encode(), b'"a\tb"'])
async def test_an_etag_that_no_request_can_send_back_is_none(
    client: RegistryClient, server: ScriptedServer, etag: bytes
) -> None:
    headers = [(b"ETag", etag)]
    server.respond = lambda _: httpx.Response(200, content=stream_body(b"{}"), headers=headers)
    assert (await client.get(PATH)).etag is None


async def test_a_redirect_to_a_host_that_idna_does_not_have_is_an_error(
    client: RegistryClient, server: ScriptedServer
) -> None:
    server.set_response(302, Location="http://xn--a/")
    with pytest.raises(RegistryError, match="redirects to a malformed address"):
        await client.get(PATH)
