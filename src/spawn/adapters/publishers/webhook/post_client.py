"""HTTP/1.1 client that posts to one receiver over kept connections (ADR 0050).

A webhook has no use for the redirects, cookies, proxies and scopes of a general client, which cost
the event loop ten times as much as the request itself.
"""

import asyncio
import ssl
from typing import Final, NamedTuple, cast

import httptools

from spawn.adapters.publishers.http_client import MAX_RESPONSE_BYTES

MAX_IDLE_S: Final = 5.0
"""Time in seconds for which an idle connection can be used again; receivers close theirs later."""

_FIRST_FINAL_STATUS: Final = 200
_LENGTH_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})


class ResponseMalformed(Exception):
    """The receiver sent something other than an HTTP/1.1 response."""


class ConnectionEnded(Exception):
    """The receiver closed the connection before its response was complete."""


class PostResponse(NamedTuple):
    """The parts of a response that a sender acts on; its body is discarded."""

    status: int
    retry_after: str | None


class PostClient:
    """Client of one receiver with at most so many connections, encrypted with a context or not."""

    def __init__(
        self, port: int, *, connections: int, ssl_context: ssl.SSLContext | None, server_name: str
    ) -> None:
        self._port = port
        self._ssl_context = ssl_context
        self._server_name = server_name if ssl_context else None
        self._places = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def post(self, address: str, request: bytes) -> PostResponse:
        """Send a whole request to an address and return the response.

        A caller that gives up ends the connection.

        Raises:
            OSError: there is no connection, or it was lost.
            ConnectionEnded: the receiver closed it too early.
            ResponseMalformed: the response is none.
        """
        async with self._places:
            connection = self._take_idle(address) or await self._connect(address)
            try:
                response = await connection.exchange(request)
            except BaseException:
                connection.abort()
                raise
            if connection.is_reusable:
                self._idle.append(connection)
            else:
                connection.abort()
            return response

    def _take_idle(self, address: str) -> "_Connection | None":
        """Return the connection to the address that was used last, and end outdated ones."""
        oldest_s = asyncio.get_running_loop().time() - MAX_IDLE_S
        usable = list[_Connection]()
        for connection in self._idle:
            if connection.is_reusable and connection.used_at_s > oldest_s:
                usable.append(connection)
            else:
                connection.abort()
        self._idle = usable
        for number in reversed(range(len(usable))):
            if usable[number].address == address:
                return usable.pop(number)
        return None

    async def _connect(self, address: str) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(address),
            address,
            self._port,
            ssl=self._ssl_context,
            server_hostname=self._server_name,
        )
        return connection

    def close(self) -> None:
        """End all idle connections; idempotent."""
        while self._idle:
            self._idle.pop().abort()


class _Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_reusable = True
        self.used_at_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: asyncio.Future[PostResponse] | None = None

    async def exchange(self, request: bytes) -> PostResponse:
        """Send a request and return its response."""
        loop, transport = asyncio.get_running_loop(), self._transport
        if transport is None:
            raise ConnectionEnded
        self._response = loop.create_future()
        self._status, self._received_bytes = 0, 0
        self._retry_after: str | None = None
        self._has_length = False
        transport.write(request)
        try:
            return await self._response
        finally:
            self._response = None
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
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(ResponseMalformed())
        if self._received_bytes > MAX_RESPONSE_BYTES:
            self._end_early(ResponseMalformed(), is_whole=self._is_final())

    def eof_received(self) -> None:
        self._end_early(ConnectionEnded(), is_whole=self._is_final() and not self._has_length)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        failure = exc or ConnectionEnded()
        self._end_early(failure, is_whole=self._is_final() and not self._has_length)

    def _end_early(self, failure: Exception, *, is_whole: bool) -> None:
        """End the response with the connection; without a length that is its usual end."""
        self.is_reusable = False
        if is_whole:
            self._succeed()
        else:
            self._fail(failure)

    def _is_final(self) -> bool:
        return self._response is not None and self._status >= _FIRST_FINAL_STATUS

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

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"retry-after":
            self._retry_after = value.decode("latin-1")
        elif name in _LENGTH_FIELDS:
            self._has_length = True

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self.is_reusable = self.is_reusable and self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        if self._status >= _FIRST_FINAL_STATUS:
            self._succeed()
