"""HTTP/1.1 client that posts to one receiver over kept connections (ADR 0050).

A webhook has no use for the redirects, cookies, proxies and scopes of a general client, which cost
the event loop ten times as much as the request itself.
"""

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Final, NamedTuple, cast

import httptools

from spawn.adapters.publishers.http_client import MAX_RESPONSE_BYTES

MAX_IDLE_S: Final = 2.0
"""Time in seconds for which an idle connection is kept.

Some receivers end theirs after 5 s or sooner, and a request that meets the end is sent twice.
"""

CONNECT_S: Final = 2.0
"""Time in seconds to connect to an address before the next one is tried."""

BODY_S: Final = 0.5
"""Time in seconds to wait for the rest of a response after its head, which decides."""

_FIRST_FINAL_STATUS: Final = 200
_STATUSES_WITHOUT_BODY: Final = frozenset({204, 304})
_LENGTH_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})


class ResponseMalformed(Exception):
    """The receiver sent something other than an HTTP/1.1 response."""


class ConnectionEnded(Exception):
    """The receiver closed the connection before the head of its response was complete."""


class PostResponse(NamedTuple):
    """The parts of a response that a sender acts on; its body is discarded."""

    status: int
    retry_after: str | None


class PostClient:
    """Client of one receiver with at most so many connections, encrypted with a context or not."""

    def __init__(
        self, port: int, *, connections: int, ssl_context: ssl.SSLContext | None, server_name: str
    ) -> None:
        self.port = port
        self._ssl_context = ssl_context
        self._server_name = server_name if ssl_context else None
        self._places = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []
        self._idle_timer: asyncio.TimerHandle | None = None
        self._first_address = ""
        self._is_closed = False

    async def post(self, addresses: Sequence[str], request: bytes) -> PostResponse:
        """Send a whole request to one of the addresses of a receiver and return the response.

        A request is sent once more, on a new connection, if a kept one ends without any response:
        receivers end idle connections at any time, and a delivery is at least once. A caller that
        gives up ends the connection.

        Raises:
            OSError: there is no connection, or it was lost.
            ConnectionEnded: the receiver closed it too early.
            ResponseMalformed: the response is none.
        """
        async with self._places:
            connection = self._take_idle(addresses)
            if connection is not None:
                try:
                    return await self._exchange(connection, request)
                except (ConnectionEnded, OSError):
                    if connection.has_received:
                        raise
            return await self._exchange(await self._connect(addresses), request)

    async def probe(self, addresses: Sequence[str]) -> None:
        """Connect to one of the addresses and disconnect.

        Raises:
            OSError: there is no connection.
        """
        (await self._connect(addresses)).abort()

    async def _exchange(self, connection: "_Connection", request: bytes) -> PostResponse:
        try:
            response = await connection.exchange(request)
        except BaseException:
            connection.abort()
            raise
        if connection.is_reusable and not self._is_closed:
            self._idle.append(connection)
            self._end_outdated_later()
        else:
            connection.abort()
        return response

    def _take_idle(self, addresses: Sequence[str]) -> "_Connection | None":
        """Return the connection that was used last, and end outdated ones.

        One to a former address of the receiver is outdated too, so that idle and busy connections
        together are within the limit.
        """
        self._end_outdated(addresses)
        return self._idle.pop() if self._idle else None

    def _end_outdated(self, addresses: Sequence[str] | None = None) -> None:
        oldest_s = asyncio.get_running_loop().time() - MAX_IDLE_S
        usable = list[_Connection]()
        for connection in self._idle:
            is_current = addresses is None or connection.address in addresses
            if connection.is_reusable and connection.used_at_s > oldest_s and is_current:
                usable.append(connection)
            else:
                connection.abort()
        self._idle = usable

    def _end_outdated_later(self) -> None:
        """Set the one timer of the client, unless it is set; a timer each costs more."""
        if self._idle_timer is None and self._idle:
            loop = asyncio.get_running_loop()
            due_at_s = min(one.used_at_s for one in self._idle) + MAX_IDLE_S
            self._idle_timer = loop.call_at(due_at_s, self._on_idle_timer)

    def _on_idle_timer(self) -> None:
        self._idle_timer = None
        self._end_outdated()
        self._end_outdated_later()

    async def _connect(self, addresses: Sequence[str]) -> "_Connection":
        """Connect to the first address that can be reached, the last reached one before others.

        After a failure, or a caller that gave up at one that hangs, attempts begin with the
        following one, unless another attempt has reached one in the meantime.
        """
        if self._first_address not in addresses:
            self._first_address = addresses[0]
        start = addresses.index(self._first_address)
        *others, last = [*addresses[start:], *addresses[:start]]
        for address, following in pairwise([*others, last]):
            with suppress(OSError), self._starting_at(address, following):
                async with asyncio.timeout(CONNECT_S):
                    return await self._connect_to(address)
        with self._starting_at(last, others[0] if others else last):
            return await self._connect_to(last)

    @contextmanager
    def _starting_at(self, address: str, following: str) -> Iterator[None]:
        """Note where the next attempt begins after one at an address."""
        try:
            yield
        except (OSError, asyncio.CancelledError):
            if self._first_address == address:
                self._first_address = following
            raise
        self._first_address = address

    async def _connect_to(self, address: str) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(address),
            address,
            self.port,
            ssl=self._ssl_context,
            server_hostname=self._server_name,
        )
        return connection

    def close(self) -> None:
        """End all idle connections; idempotent."""
        self._is_closed = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        while self._idle:
            self._idle.pop().abort()


class _Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_reusable = True
        self.used_at_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._response: asyncio.Future[PostResponse] | None = None
        self._received_bytes = 0
        self._body_timer: asyncio.TimerHandle | None = None

    @property
    def has_received(self) -> bool:
        """Whether any byte came since the last request."""
        return self._received_bytes > 0

    async def exchange(self, request: bytes) -> PostResponse:
        """Send a request and return its response."""
        loop, transport = asyncio.get_running_loop(), self._transport
        self._received_bytes = 0
        if transport is None:
            raise ConnectionEnded
        self._response = loop.create_future()
        # A new parser has no status of the response before.
        self._parser = _create_parser(self)
        self._status, self._length_fields = 0, 0
        self._has_head = self._announces_body = False
        self._retry_after: str | None = None
        transport.write(request)
        try:
            return await self._response
        finally:
            self._response = None
            if self._body_timer is not None:
                self._body_timer.cancel()
                self._body_timer = None
            self.used_at_s = loop.time()
            # A receiver may respond before it has read the request, whose rest is still to be sent.
            if transport.get_write_buffer_size():
                self.is_reusable = False

    def abort(self) -> None:
        """Close the connection at once; idempotent."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    # -- protocol of asyncio ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's, but not the class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._response is None or self._response.done():
            # Nobody asked: the next request would take it for its response.
            self.abort()
            return
        self._received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserInvalidStatusError:
            self._fail(ResponseMalformed())
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # The status line was read before: it decides, whether or not the rest can be read.
            self._status = self._parser.get_status_code()
            self._end_early(ResponseMalformed())
        if self._received_bytes > MAX_RESPONSE_BYTES:
            self._end_early(ResponseMalformed())
        is_waiting = self._body_timer is None and not self._response.done()
        if self._status >= _FIRST_FINAL_STATUS and is_waiting:
            # A body that never ends must not hide the status, or the event is sent for ever.
            self._body_timer = asyncio.get_running_loop().call_later(
                BODY_S, self._end_early, ResponseMalformed()
            )

    def eof_received(self) -> None:
        self._end_early(ConnectionEnded())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end_early(exc or ConnectionEnded())

    def _end_early(self, failure: Exception) -> None:
        """End the response with the connection: a final status decides, whole body or not."""
        self.is_reusable = False
        if self._response is not None and self._status >= _FIRST_FINAL_STATUS:
            self._succeed()
        else:
            self._fail(failure)

    def _succeed(self) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_result(PostResponse(self._status, self._retry_after))

    def _fail(self, failure: Exception) -> None:
        self.is_reusable = False
        if self._response is not None and not self._response.done():
            self._response.set_exception(failure)

    # -- callbacks of the parser ------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._response is None or self._response.done():
            self.is_reusable = False
        self._length_fields = 0
        self._has_head = self._announces_body = False
        self._retry_after = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:
            return  # a field of the trailer, which is none of the head (RFC 9110, 6.5.1)
        name = name.lower()
        if name == b"retry-after":
            self._retry_after = value.decode("latin-1")
        elif name in _LENGTH_FIELDS:
            self._length_fields += 1
            self._announces_body = value.strip() != b"0"

    def on_headers_complete(self) -> None:
        self._has_head = True
        self._status = self._parser.get_status_code()
        self.is_reusable = self.is_reusable and self._parser.should_keep_alive()
        if self._status in _STATUSES_WITHOUT_BODY and self._announces_body:
            # It has none, but some servers send it.
            self.is_reusable = False
        if self._length_fields > 1:
            # Nobody knows where such a body ends.
            self._end_early(ResponseMalformed())

    def on_message_complete(self) -> None:
        if self._status >= _FIRST_FINAL_STATUS:
            self._succeed()


def _create_parser(connection: _Connection) -> httptools.HttpResponseParser:
    """Return a parser that accepts what clients of the web accept as well.

    Only status and `Retry-After` count, so a doubtful head can mislead nobody.
    """
    parser = httptools.HttpResponseParser(connection)
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_chunked_length=True,
        lenient_version=True,
        lenient_keep_alive=True,  # the final response follows an interim one with `close`
        lenient_optional_cr_before_lf=True,
    )
    return parser
