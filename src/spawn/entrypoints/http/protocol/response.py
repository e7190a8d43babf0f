"""Responses as prebuilt ASGI messages: immutable, so that a cached one can be sent many times."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any, Final, Self, cast

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from spawn.application.lineage.recorder import ClientDisconnected
from spawn.domain.errors import Forbidden

JSON: Final = b"application/json"
Header = tuple[bytes, bytes]
NO_STORE: Final[Header] = (b"cache-control", b"no-store")
NO_CACHE: Final[Header] = (b"cache-control", b"no-cache")
HSTS: Final[Header] = (b"strict-transport-security", b"max-age=31536000")
"""Header of responses over TLS: browsers shall not come without it for a year."""

WHOLE: Final = "spawn.whole"
"""Key of a start message whose one body message follows at once; the server joins the two."""

_CHUNK_BYTES: Final = 64 * 1024
_PAGE_POLICY: Final = (
    b"default-src 'none'",
    b"style-src 'self'",
    b"script-src 'self'",
    b"connect-src 'self'",
    b"img-src 'self' data:",
    b"base-uri 'none'",
    b"form-action 'none'",
    b"frame-ancestors 'none'",
)
_PAGE_HEADERS: Final[tuple[Header, ...]] = (
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_encoder: Final = msgspec.json.Encoder()
encode_json: Final = _encoder.encode


def encode_headers(headers: Iterable[Header]) -> tuple[tuple[str, str], ...]:
    """Convert headers to the texts that a recipe stores."""
    return tuple((name.decode(), value.decode("latin-1")) for name, value in headers)


def decode_headers(headers: Iterable[tuple[str, str]]) -> list[Header]:
    """Convert the headers of a recipe back to bytes."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers]


class CredentialsEnded(Forbidden):
    """The credentials of a request were revoked or expired before its response was complete."""


def break_off(scope: Scope, failure: CredentialsEnded) -> None:
    """Break the connection: the response is incomplete, so its end must not look like one.

    Raises:
        CredentialsEnded: the server cannot do it; it breaks the connection after a failure.
    """
    abort: Callable[[], None] | None = cast("Any", scope).get("spawn.abort")
    if abort is None:
        raise failure
    abort()


class SelfSentResponse(ASGIResponse):
    """A response that sends itself: Litestar has nothing to compute, or its body is a stream."""

    __slots__ = ()

    def to_asgi_response(self, *_args: object, **_kwargs: object) -> Self:
        """Return itself; Litestar calls this on every response."""
        return self


class Response(SelfSentResponse):
    """A whole response; Litestar sends it unchanged, the middleware adds headers to a copy."""

    __slots__ = ("body_message", "head_message")

    def __init__(  # replaces ASGIResponse's: nothing is left to compute per request
        self,
        status: int,
        body: bytes = b"",
        *,
        media_type: bytes = JSON,
        headers: Iterable[Header] = (),
    ) -> None:
        fields: list[Header] = list(headers)
        if body or status not in {204, 304}:
            fields.append((b"content-type", media_type))
            fields.append((b"content-length", str(len(body)).encode()))
        self.head_message: Any = {
            "type": "http.response.start",
            "status": status,
            "headers": fields,
            WHOLE: True,
        }
        self.body_message: Any = {"type": "http.response.body", "body": body, "more_body": False}

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.head_message["status"])

    @property
    def payload(self) -> bytes:
        """The body."""
        return bytes(self.body_message["body"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send both messages."""
        await send(self.head_message)
        await send(self.body_message)


class LineStreamResponse(SelfSentResponse):
    """A streamed response of lines, sent in larger chunks."""

    __slots__ = ("_is_permitted", "_lines", "_media_type")

    def __init__(  # ASGIResponse's needs the whole body beforehand; here it is a stream
        self,
        lines: AsyncGenerator[bytes],
        media_type: str,
        is_permitted: Callable[[], Awaitable[bool]],
        charset: str = "utf-8",
    ) -> None:
        """Send nothing yet; `is_permitted` is asked for the credentials before each part."""
        self._is_permitted = is_permitted
        self._lines = lines
        self._media_type = f"{media_type}; charset={charset}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines as they are produced; stop when client or credentials leave."""
        headers = [(b"content-type", self._media_type), NO_STORE]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        messages = stream_while_connected(body_messages(self._lines), receive)
        with suppress(ClientDisconnected):
            async with aclosing(self._lines), aclosing(messages):
                async for message in messages:
                    if not await self._is_permitted():
                        detail = "The credentials ended before the file did."
                        break_off(scope, CredentialsEnded(detail))
                        return
                    await send(message)


async def wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def stream_while_connected(
    messages: AsyncGenerator[Any], receive: Receive
) -> AsyncGenerator[Any]:
    """Yield the messages of a body, and close them when its client disconnects.

    Raises:
        ClientDisconnected: the client disconnected before the last one.
    """
    disconnect_task = asyncio.create_task(wait_for_disconnect(receive))
    try:
        async with aclosing(messages):
            message = await _read_first(messages, disconnect_task)
            while message is not None:
                # The reads may not have awaited anything: let other tasks run, and the notice of
                # a disconnect arrive.
                await asyncio.sleep(0)
                if disconnect_task.done():
                    raise ClientDisconnected
                yield message
                message = await anext(messages, None)
    finally:
        disconnect_task.cancel()


async def _read_first(messages: AsyncGenerator[Any], disconnect_task: asyncio.Task[None]) -> Any:
    """Return the first message; stop the work for it if the client leaves meanwhile.

    A workbook has its first bytes once all rows are read.

    Raises:
        ClientDisconnected: the client left.
    """
    reading = asyncio.ensure_future(anext(messages, None))
    try:
        await asyncio.wait({reading, disconnect_task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not reading.done():
            reading.cancel()
            await asyncio.wait({reading})
    if reading.cancelled():
        raise ClientDisconnected
    return reading.result()


async def body_messages(lines: AsyncIterator[bytes]) -> AsyncGenerator[Any]:
    """Yield the ASGI messages of a body of lines, joined into larger chunks."""
    chunk = bytearray()
    async for line in lines:
        chunk += line
        if len(chunk) >= _CHUNK_BYTES:
            yield {"type": "http.response.body", "body": bytes(chunk), "more_body": True}
            chunk.clear()
    yield {"type": "http.response.body", "body": bytes(chunk), "more_body": False}


def json_response(value: object, *, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """Return a JSON response of a value that msgspec can encode."""
    return Response(status, encode_json(value), headers=headers)


def html_response(
    page: str,
    *,
    status: int = 200,
    headers: Iterable[Header] = (),
    has_inline_styles: bool = False,
) -> Response:
    """Return an HTML page that may load nothing from other origins.

    Inline styles are allowed only where a library writes them (ADR 0024); inline scripts never.
    """
    directives = b"; ".join(_PAGE_POLICY)
    if has_inline_styles:
        directives = directives.replace(b"style-src 'self'", b"style-src 'self' 'unsafe-inline'")
    policy = (b"content-security-policy", directives)
    media_type = b"text/html; charset=utf-8"
    fields = (policy, *_PAGE_HEADERS, *headers)
    return Response(status, page.encode(), media_type=media_type, headers=fields)
