"""gzip, where the client takes it (`q=0` means it does not) and the body is worth it."""

import asyncio
import gzip
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, cast

from litestar.types import Message, Send

from spawn.entrypoints.http.protocol.request import quality_value
from spawn.entrypoints.http.protocol.response import Header

LEVEL: Final = 1
"""Beyond the first level JSON shrinks little and the event loop waits much longer."""

LARGE_BYTES: Final = 128 * 1024
"""Bodies from here on are compressed on a thread."""

_COMPRESSIBLE: Final = (b"application/json", b"application/problem+json", b"text/")
SUFFIX: Final = "-gzip"
"""What a compressed representation's entity tag ends in."""


@lru_cache(maxsize=128)
def takes_gzip(accept_encoding: bytes) -> bool:
    """Whether an Accept-Encoding header takes gzip, and likes nothing as it is better."""
    qualities: dict[str, float] = {}
    for part in accept_encoding.decode("latin-1").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        qualities[name] = quality_value(parameters)
    quality = qualities.get("gzip", qualities.get("*", 0.0))
    return quality > 0 and quality >= qualities.get("identity", 0.0)


def compressing(send: Send, minimum_bytes: int, seen: bytes | None = None) -> Send:
    """A `send` that compresses an answer sent in one piece; streams pass unchanged.

    `seen` are the tags that the client has: a 304 names the one that it has compressed.
    """
    held: Any = None

    async def forward(message: Message) -> None:
        nonlocal held
        if message["type"] == "http.response.start":
            held = message
            return
        if held is not None:
            start, held = held, None
            body = cast("Any", message).get("body", b"")
            whole = not cast("Any", message).get("more_body", False)
            if whole and len(body) >= minimum_bytes and _compressible(start["headers"]):
                packed = await _pack(body)
                start = {**start, "headers": _coded(start["headers"], len(packed))}
                message = cast("Message", {**message, "body": packed})
            elif seen and start["status"] == HTTPStatus.NOT_MODIFIED:
                start = {
                    **start,
                    "headers": [_as_seen(header, seen) for header in start["headers"]],
                }
            await send(start)
        await send(message)

    return forward


async def _pack(body: bytes) -> bytes:
    if len(body) < LARGE_BYTES:
        return gzip.compress(body, LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)


def _compressible(headers: list[Header]) -> bool:
    names = dict(headers)
    media_type = names.get(b"content-type", b"")
    return media_type.startswith(_COMPRESSIBLE) and b"content-encoding" not in names


def _coded_tag(tag: bytes) -> bytes:
    """The tag of the compressed representation."""
    return tag[:-1] + SUFFIX.encode() + b'"'


def _as_seen(header: Header, seen: bytes) -> Header:
    name, value = header
    if name == b"etag" and (coded := _coded_tag(value)) in seen:
        return (name, coded)
    return header


def _coded(headers: list[Header], length: int) -> list[Header]:
    """The headers of the compressed representation, which has a tag of its own."""
    coded: list[Header] = [(b"content-encoding", b"gzip")]
    for name, value in headers:
        if name == b"content-length":
            coded.append((name, str(length).encode()))
        elif name == b"etag" and value.endswith(b'"'):
            coded.append((name, _coded_tag(value)))
        else:
            coded.append((name, value))
    return coded
