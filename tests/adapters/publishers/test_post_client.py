"""The client of webhooks: kept connections, and responses that are none."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop

from spawn.adapters.publishers.http_client import MAX_RESPONSE_BYTES
from spawn.adapters.publishers.webhook import post_client
from spawn.adapters.publishers.webhook.post_client import (
    ConnectionEnded,
    PostClient,
    PostResponse,
    ResponseMalformed,
)

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"
ONE_BYTE = b"H"


class ScriptedServer:
    """Server that responds to each request with the next bytes; None ends the connection."""

    def __init__(self, *script: bytes | None) -> None:
        self.script = list(script)
        self.connections = 0
        self.got_request = asyncio.Event()
        self.ended = asyncio.Event()
        self.writer: asyncio.StreamWriter | None = None
        self._handlers: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writer = writer
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readexactly(len(REQUEST))
                self.got_request.set()
                response = self.script.pop(0)
                if response is None:
                    break
                writer.write(response)
                if b"until-eof" in response or response == ONE_BYTE:
                    break
                if b"for-ever" in response:
                    await reader.read()
        writer.close()
        self.ended.set()

    @asynccontextmanager
    async def open_client(
        self, connections: int = 1, host: str = "127.0.0.1"
    ) -> AsyncIterator[PostClient]:
        async with await asyncio.start_server(self.serve, host, 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = PostClient(
                port, connections=connections, ssl_context=None, server_name="a.example"
            )
            try:
                yield client
            finally:
                client.close()
                await asyncio.gather(*self._handlers)


async def post(client: PostClient, *addresses: str) -> PostResponse:
    async with asyncio.timeout(10):
        return await client.post(addresses or ("127.0.0.1",), REQUEST)


async def test_a_connection_is_kept_for_the_next_request() -> None:
    server = ScriptedServer(
        ACCEPTED, b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\ncontent-length: 2\r\n\r\nno"
    )
    async with server.open_client() as client:
        assert await post(client) == (204, None)
        assert await post(client) == (429, "7")
    assert server.connections == 1


async def test_requests_at_once_have_a_connection_each_up_to_the_limit() -> None:
    server = ScriptedServer(*[ACCEPTED] * 6)
    async with server.open_client(connections=2) as client:
        await asyncio.gather(*(post(client) for _ in range(6)))
    assert server.connections == 2


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" + ACCEPTED,
        b"HTTP/1.1 200 OK\r\n\r\nuntil-eof",
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MAX_RESPONSE_BYTES),
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + bytes(MAX_RESPONSE_BYTES),
        b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\nuntil-eof",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nuntil-eof\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 103 Hints\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil-eof",
        b"HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil-eof",
        b"HTTP/1.0 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_a_connection_in_doubt_is_not_used_again(first: bytes) -> None:
    """Its status decides, but a second response would be taken for that of the next request."""
    server = ScriptedServer(first, b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
    async with server.open_client() as client:
        assert (await post(client)).status == 200
        assert (await post(client)).status == 202
    assert server.connections == 2


@pytest.mark.parametrize(
    ("head", "is_kept"),
    [
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", False),
        (b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", False),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", False),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", True),
    ],
)
async def test_a_body_that_a_status_forbids_is_not_awaited(head: bytes, *, is_kept: bool) -> None:
    """Some servers send it nevertheless, and it would be read as the next response."""
    server = ScriptedServer(head, ACCEPTED)
    async with server.open_client() as client:
        assert (await post(client)).status in {204, 304}
        assert await post(client) == (204, None)
    assert server.connections == (1 if is_kept else 2)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\n\r\nfor-ever",
        b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 90\r\n\r\nfor-ever",
        b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ntransfer-encoding: chunked\r\n\r\n9\r\nfor-ever",
    ],
)
async def test_a_body_that_never_ends_hides_no_status(
    response: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_client, "BODY_S", 0.01)
    server = ScriptedServer(response, ACCEPTED)
    async with server.open_client() as client:
        assert await post(client) == (429, "7")
        assert await post(client) == (204, None)
    assert server.connections == 2


async def test_a_field_of_an_interim_response_or_a_trailer_does_not_count() -> None:
    server = ScriptedServer(
        b"HTTP/1.1 103 Hints\r\nretry-after: 3\r\n\r\n"
        b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        b"0\r\nretry-after: 3000\r\n\r\n",
    )
    async with server.open_client() as client:
        assert await post(client) == (503, None)
        assert await post(client) == (503, "1")
    assert server.connections == 1


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\n",
        b"HTTP/1.0 103 Hints\r\n\r\n",
    ],
)
async def test_an_interim_response_is_not_the_response(interim: bytes) -> None:
    server = ScriptedServer(interim + ACCEPTED)
    async with server.open_client() as client:
        assert await post(client) == (204, None)


@pytest.mark.parametrize(
    ("response", "failure"),
    [
        (None, ConnectionEnded),
        (b"HTTP/1.1 200 OK\r\nuntil-eof", ConnectionEnded),
        (b"HTTP/1.1 103 Hints\r\n\r\nuntil-eof", ResponseMalformed),
        (b"HTTP/1.1 2000 OK\r\n\r\n", ResponseMalformed),
        (b"220 mail.example ESMTP\r\n\r\n", ResponseMalformed),
        (b"HTTP/1.1 101 Other\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", ResponseMalformed),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * MAX_RESPONSE_BYTES, ResponseMalformed),
    ],
)
async def test_what_is_no_whole_response_is_a_failure(
    response: bytes | None, failure: type[Exception]
) -> None:
    server = ScriptedServer(response, ACCEPTED)
    async with server.open_client() as client:
        with pytest.raises(failure):
            await post(client)
        assert await post(client) == (204, None)
    assert server.connections == 2


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 503 Busy\nretry-after: 7\ncontent-length: 2\n\nno",
        b"HTTP/1.1 503 Busy\r\nretry-after: 7\ncontent-length: 2\n\r\nno",
        b"HTTP/1.1 503 Busy\r\nx: a\r\n b\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.2 503 Busy\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno",
    ],
)
async def test_a_head_in_an_unusual_form_is_read(response: bytes) -> None:
    server = ScriptedServer(response)
    async with server.open_client() as client:
        assert await post(client) == (503, "7")


async def test_a_response_does_not_count_for_the_next_request() -> None:
    server = ScriptedServer(ACCEPTED, b"nonsense\r\n\r\n")
    async with server.open_client() as client:
        await post(client)
        with pytest.raises(ResponseMalformed):
            await post(client)
    assert server.connections == 1


async def test_a_request_on_a_kept_connection_that_ends_is_sent_again() -> None:
    """The receiver ended it while the request was on its way; that is no failure of its."""
    server = ScriptedServer(ACCEPTED, None, b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
    async with server.open_client() as client:
        await post(client)
        assert (await post(client)).status == 202
    assert server.connections == 2


@pytest.mark.parametrize(
    ("script", "requests"),
    [
        ((ACCEPTED, None, None), 3),
        ((ACCEPTED, b"HTTP/1.1 200 OK\r\nuntil-eof"), 2),
        ((ACCEPTED, ONE_BYTE), 2),
    ],
)
async def test_a_request_is_sent_again_once_and_only_without_a_response(
    script: tuple[bytes | None, ...], requests: int
) -> None:
    server = ScriptedServer(*script, *[ACCEPTED] * 9)
    async with server.open_client() as client:
        await post(client)
        with pytest.raises(ConnectionEnded):
            await post(client)
    assert len(server.script) == len(script) + 9 - requests


async def test_the_next_address_is_tried_after_one_that_cannot_be_reached() -> None:
    server = ScriptedServer(ACCEPTED)
    async with server.open_client() as client:
        assert (await post(client, "127.0.0.2", "127.0.0.1")).status == 204


async def test_an_address_that_hangs_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached, ended = list[str](), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        reached.append(address)
        if address == "127.0.0.2":
            await reader.read()
            ended.set()
        writer.close()

    monkeypatch.setattr(post_client, "CONNECT_S", 0.05)
    async with await asyncio.start_server(serve, "0.0.0.0", 0) as server:  # noqa: S104 -- all of loopback
        client = PostClient(
            server.sockets[0].getsockname()[1],
            connections=1,
            ssl_context=ssl.create_default_context(),
            server_name="a.example",
        )
        with pytest.raises(OSError, match=r".*"):
            await post(client, "127.0.0.2", "127.0.0.1")
        client.close()
        await ended.wait()
    assert reached == ["127.0.0.2", "127.0.0.1"]


async def test_each_address_is_tried_by_attempts_that_give_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A delivery gives up after its timeout; the last of many addresses would never be tried."""
    tried, hangs = list[str](), asyncio.Event()

    async def connect(_self: PostClient, address: str) -> None:
        tried.append(address)
        hangs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(PostClient, "_connect_to", connect)
    client = PostClient(1, connections=1, ssl_context=None, server_name="a.example")
    for _ in range(4):
        hangs.clear()
        attempt = asyncio.create_task(client.probe(("10.0.0.1", "10.0.0.2", "10.0.0.3")))
        await hangs.wait()
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
    assert tried == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1"]


async def test_attempts_at_once_begin_with_the_address_that_was_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each began one further, so most of a burst waited at addresses that hang."""
    tried = list[str]()

    async def connect(_self: PostClient, address: str) -> post_client._Connection:
        tried.append(address)
        await asyncio.sleep(0)
        if address != "10.0.0.3":
            raise ConnectionRefusedError
        return post_client._Connection(address)

    monkeypatch.setattr(PostClient, "_connect_to", connect)
    client = PostClient(1, connections=1, ssl_context=None, server_name="a.example")
    addresses = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    await client.probe(addresses)
    await asyncio.gather(*(client.probe(addresses) for _ in range(3)))
    assert tried == [*addresses, *["10.0.0.3"] * 3]


async def test_an_idle_connection_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_client, "MAX_IDLE_S", 0.01)
    server = ScriptedServer(ACCEPTED, ACCEPTED)
    async with server.open_client() as client:
        for _ in range(2):
            await post(client)
            async with asyncio.timeout(10):
                await server.ended.wait()
            server.ended.clear()


async def test_bytes_without_a_request_end_an_idle_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next request would take them for its response."""
    monkeypatch.setattr(post_client, "MAX_IDLE_S", 60.0)
    server = ScriptedServer(ACCEPTED, b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
    async with server.open_client() as client:
        await post(client)
        assert server.writer is not None
        server.writer.write(ACCEPTED)
        async with asyncio.timeout(10):
            await server.ended.wait()
        assert (await post(client)).status == 202
    assert server.connections == 2


async def test_an_idle_connection_to_a_former_address_ends() -> None:
    """It would count beside those to the new one."""
    server = ScriptedServer(ACCEPTED, ACCEPTED)
    async with server.open_client(host="0.0.0.0") as client:  # noqa: S104 -- all of loopback
        await post(client, "127.0.0.1")
        await post(client, "127.0.0.2")
        async with asyncio.timeout(1):
            await server.ended.wait()
    assert server.connections == 2


async def test_a_final_response_may_come_long_after_an_interim_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(post_client, "BODY_S", 0.0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        writer.write(b"HTTP/1.1 103 Hints\r\n\r\n")
        for _ in range(50):  # rounds of the loop, in which a timer of the client would run
            await asyncio.sleep(0)
        writer.write(ACCEPTED)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = PostClient(port, connections=1, ssl_context=None, server_name="a.example")
        assert (await post(client)).status == 204
        client.close()


async def test_a_connection_with_an_unread_request_is_not_used_again() -> None:
    """The next request would wait behind a body that the receiver may never read."""
    connections, is_over = 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readexactly(len(REQUEST))
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await is_over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = PostClient(port, connections=1, ssl_context=None, server_name="a.example")
        async with asyncio.timeout(10):
            first = await client.post(("127.0.0.1",), REQUEST + bytes(32_000_000))
        assert first.status == (await post(client)).status == 413
        client.close()
        is_over.set()
    assert connections == 2


async def test_a_caller_that_gives_up_ends_the_connection_and_frees_its_place() -> None:
    server = ScriptedServer(b"", ACCEPTED)
    async with server.open_client() as client:
        waiting = asyncio.create_task(post(client))
        await server.got_request.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(10):
            await server.ended.wait()
        assert await post(client) == (204, None)


async def test_an_outdated_connection_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedServer(ACCEPTED, ACCEPTED)
    async with server.open_client() as client:
        await post(client)
        monkeypatch.setattr(post_client, "MAX_IDLE_S", 0.0)
        await post(client)
    assert server.connections == 2


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_both_event_loops_are_supported(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The service runs on uvloop, whose transports are of no class of asyncio."""

    async def exchange() -> PostResponse:
        server = ScriptedServer(ACCEPTED)
        async with server.open_client() as client:
            return await post(client)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(exchange()) == (204, None)
