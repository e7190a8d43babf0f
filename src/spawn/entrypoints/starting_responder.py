"""Responses while a store rebuilds derived tables: alive, not ready, with the progress."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

from spawn.adapters.embedded.options import RebuildProgress
from spawn.entrypoints.http.protocol.problems import problem_response
from spawn.entrypoints.http.server import Listener, to_http_bytes
from spawn.entrypoints.request_context import RequestContext

LIVE_PATH: Final = b"/monitoring/live"
HEAD_TIMEOUT_S: Final = 5.0
_LIVE: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n"
    b'connection: close\r\n\r\n{"status":"ok"}'
)


class StartingResponder:
    """A responder on the service's sockets from the first progress until the service is ready."""

    def __init__(self, listeners: Sequence[Listener], path_prefix: str = "") -> None:
        self._listeners = listeners
        self._path_prefix = path_prefix
        self._loop = asyncio.get_running_loop()
        self._progress: RebuildProgress | None = None
        self._servers: list[asyncio.Server] = []
        self._start: asyncio.Task[None] | None = None

    def report(self, progress: RebuildProgress) -> None:
        """Take the progress of a rebuild; called on the thread that opens the store."""
        self._loop.call_soon_threadsafe(self._record, progress)

    def _record(self, progress: RebuildProgress) -> None:
        self._progress = progress
        if self._start is None:
            self._start = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        for listener in self._listeners:
            context = None if listener.get_context is None else listener.get_context()
            for bound in listener.sockets:
                self._servers.append(await self._start_server(bound.dup(), context))

    async def _start_server(
        self, bound: socket.socket, context: ssl.SSLContext | None
    ) -> asyncio.Server:
        # Python 3.13 removes the file of a Unix socket when a server of `start_unix_server` closes.
        timeout_s = None if context is None else HEAD_TIMEOUT_S
        return await asyncio.start_server(
            self._respond, sock=bound, ssl=context, ssl_handshake_timeout=timeout_s
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening; later connections wait for the service. Idempotent."""
        if self._start is not None:
            await self._start
        for server in self._servers:
            server.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1] if head.count(b" ") > 1 else b""
                writer.write(_LIVE if path == LIVE_PATH else self._not_ready(path))
                await writer.drain()
        writer.close()

    def _not_ready(self, path: bytes) -> bytes:
        detail = f"The service is not ready: {self._progress}."
        headers = ((b"retry-after", b"5"), (b"connection", b"close"))
        response = problem_response(
            "unavailable",
            detail,
            instance=path.partition(b"?")[0].decode("ascii", "replace"),
            context=RequestContext.unrouted(self._path_prefix),
            headers=headers,
        )
        return to_http_bytes(response)
