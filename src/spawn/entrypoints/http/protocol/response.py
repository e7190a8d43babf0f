"""Answers as ready-made ASGI messages: immutable, so that a cached one can be sent many times."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

JSON: Final = b"application/json"
Header = tuple[bytes, bytes]
_PIECE_BYTES: Final = 64 * 1024
_PAGE_POLICY: Final = (
    b"default-src 'none'",
    b"style-src 'self' 'unsafe-inline'",
    b"script-src 'self'",
    b"connect-src 'self'",
    b"img-src 'self' data:",
    b"base-uri 'none'",
    b"form-action 'none'",
    b"frame-ancestors 'none'",
)
_encoder: Final = msgspec.json.Encoder()
encode: Final = _encoder.encode


class Reply(ASGIResponse):
    """A whole answer. Litestar sends it as it is; the wrapper adds headers without changing it."""

    __slots__ = ("finish", "start")

    def __init__(  # not ASGIResponse's: it has nothing left to work out per request
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
        self.start: Any = {"type": "http.response.start", "status": status, "headers": fields}
        self.finish: Any = {"type": "http.response.body", "body": body, "more_body": False}

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.start["status"])

    @property
    def payload(self) -> bytes:
        """The body."""
        return bytes(self.finish["body"])

    def to_asgi_response(self, *_args: object, **_kwargs: object) -> "Reply":
        """Itself: what Litestar asks of an answer made by an exception handler."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send both messages."""
        await send(self.start)
        await send(self.finish)


async def in_pieces(lines: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """The messages of a body that comes in lines, gathered into larger pieces."""
    piece = bytearray()
    async for line in lines:
        piece += line
        if len(piece) >= _PIECE_BYTES:
            yield {"type": "http.response.body", "body": bytes(piece), "more_body": True}
            piece.clear()
    yield {"type": "http.response.body", "body": bytes(piece), "more_body": False}


def json_reply(value: object, *, status: int = 200, headers: Iterable[Header] = ()) -> Reply:
    """A JSON answer of a value msgspec can encode."""
    return Reply(status, encode(value), headers=headers)


def html_reply(page: str, *, headers: Iterable[Header] = ()) -> Reply:
    """A page for people, which may load nothing from elsewhere."""
    policy = (
        b"content-security-policy",
        b"; ".join(_PAGE_POLICY),
    )
    media_type = b"text/html; charset=utf-8"
    return Reply(200, page.encode(), media_type=media_type, headers=(policy, *headers))
