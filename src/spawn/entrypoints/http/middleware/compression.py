"""gzip compression of responses, by Accept-Encoding and size."""

import asyncio
import gzip
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, cast

from litestar.types import Message, Send

from spawn.entrypoints.http.protocol.etags import GZIP_SUFFIX
from spawn.entrypoints.http.protocol.negotiation import parse_quality
from spawn.entrypoints.http.protocol.response import Header

LEVEL: Final = 1
"""Compression level; higher ones shrink JSON little and block the event loop much longer."""

LARGE_BYTES: Final = 128 * 1024
"""Bodies of this size or more are compressed on a thread."""

_COMPRESSIBLE_TYPES: Final = (b"application/json", b"application/problem+json", b"text/")


@lru_cache(maxsize=128)
def is_gzip_accepted(accept_encoding: bytes) -> bool:
    """Whether Accept-Encoding accepts gzip (`q=0` does not) and ranks it no lower than identity."""
    qualities: dict[str, float] = {}
    for part in accept_encoding.decode("latin-1").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        qualities[name] = parse_quality(parameters)
    quality = qualities.get("gzip", qualities.get("*", 0.0))
    return quality > 0 and quality >= qualities.get("identity", 0.0)


def with_compression(send: Send, min_bytes: int, if_none_match: bytes | None = None) -> Send:
    """Wrap `send` so that it compresses bodies sent in one message; streams pass unchanged.

    Args:
        send: the ASGI function.
        min_bytes: the size from which bodies are compressed.
        if_none_match: the tags that the client has; a 304 names the one of its compressed copy.
    """
    start_message: Any = None

    async def send_compressed(message: Message) -> None:
        nonlocal start_message
        if message["type"] == "http.response.start":
            start_message = message
            return
        if start_message is not None:
            start, start_message = start_message, None
            body = cast("Any", message).get("body", b"")
            is_whole = not cast("Any", message).get("more_body", False)
            if is_whole and len(body) >= min_bytes and _is_compressible(start["headers"]):
                compressed = await _compress(body)
                start = {**start, "headers": _gzip_headers(start["headers"], len(compressed))}
                message = cast("Message", {**message, "body": compressed})
            elif if_none_match and start["status"] == HTTPStatus.NOT_MODIFIED:
                headers = [_match_client_etag(header, if_none_match) for header in start["headers"]]
                start = {**start, "headers": headers}
            await send(start)
        await send(message)

    return send_compressed


async def _compress(body: bytes) -> bytes:
    if len(body) < LARGE_BYTES:
        return gzip.compress(body, LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)


def _is_compressible(headers: list[Header]) -> bool:
    by_name = dict(headers)
    media_type = by_name.get(b"content-type", b"")
    return media_type.startswith(_COMPRESSIBLE_TYPES) and b"content-encoding" not in by_name


def _gzip_etag(etag: bytes) -> bytes:
    """Return the tag of the compressed representation."""
    return etag[:-1] + GZIP_SUFFIX.encode() + b'"'


def _match_client_etag(header: Header, if_none_match: bytes) -> Header:
    """Return the header, with the compressed tag if the client has that one."""
    name, value = header
    if name == b"etag" and (gzip_etag := _gzip_etag(value)) in if_none_match:
        return (name, gzip_etag)
    return header


def _gzip_headers(headers: list[Header], length: int) -> list[Header]:
    """Return the headers of the compressed representation, which has a tag of its own."""
    gzip_headers: list[Header] = [(b"content-encoding", b"gzip")]
    for name, value in headers:
        if name == b"content-length":
            gzip_headers.append((name, str(length).encode()))
        elif name == b"etag" and value.endswith(b'"'):
            gzip_headers.append((name, _gzip_etag(value)))
        else:
            gzip_headers.append((name, value))
    return gzip_headers
