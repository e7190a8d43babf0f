"""The server: uvicorn in one process, with bounded connections and heads, drained on SIGTERM."""

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Callable, Generator
from http import HTTPStatus
from typing import Any, Final, cast

import uvicorn
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.protocol.problems import problem_response
from spawn.entrypoints.http.protocol.response import Header, Response
from spawn.entrypoints.request_context import BODY_COMPLETE
from spawn.entrypoints.settings import Settings

SHUTDOWN_TIMEOUT_S: Final = 20
KEEP_ALIVE_S: Final = 15
BACKLOG: Final = 2048

SURPLUS_CONNECTIONS: Final = 64
"""Connections beyond the limit that get a 503 response; further ones are closed at once."""

_CLOSING_HEADERS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"connection", b"close"),
)


def _problem(code: str, detail: str, *headers: Header, instance: str = "") -> Response:
    """Return the last response on a connection, for a request the application never sees."""
    trace_id = secrets.token_hex(16)
    return problem_response(
        code, detail, instance=instance, trace_id=trace_id, headers=(*_CLOSING_HEADERS, *headers)
    )


def _to_http_bytes(response: Response) -> bytes:
    """Encode a response as HTTP/1.1, for a connection without a parsed request."""
    fields = b"".join(b"%b: %b\r\n" % field for field in response.head_message["headers"])
    line = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
    return line.encode() + fields + b"\r\n" + response.payload


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond 503 to a request on a connection beyond the limit."""
    detail = "The service has as many connections as it may."
    path = cast("Any", scope)["path"]
    response = _problem("overloaded", detail, (b"retry-after", b"1"), instance=path)
    await response(scope, receive, send)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on the size and the duration of a request's head.

    The parser buffers header fields without limit, and incomplete heads for ever. No application
    sees either, so the limits are here. Requests are rejected with problems here too.
    """

    limits = HttpLimits()

    def connection_made(self, transport: Any) -> None:
        """Start the timer of the first head, and enforce the connection limit."""
        super().connection_made(transport)
        surplus = len(self.connections) - self.limits.connections
        if surplus > 0:
            self.app = cast("Any", _too_many_connections)
        if surplus > SURPLUS_CONNECTIONS:
            transport.close()
        self._head_bytes = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(
            self.limits.header_timeout_s, self._on_head_timeout
        )

    def data_received(self, data: bytes) -> None:
        """Count the bytes outside complete heads and bodies; trailer fields count too."""
        if self._in_head and self._timer is None:
            self._timer = self.loop.call_later(self.limits.header_timeout_s, self._on_head_timeout)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > self.limits.head_bytes:
            detail = f"The head or the trailer exceeds {self.limits.head_bytes} bytes."
            self._reject(_problem("headers_too_large", detail))

    def on_headers_complete(self) -> None:
        """Stop the timer; the head is complete."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()
        # A stream whose client reads nothing cannot end by sending; its connection is aborted.
        cast("Any", self.scope)["spawn.abort"] = self.transport.abort

    def on_body(self, body: bytes) -> None:
        """Reset the byte count; the application limits bodies."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Mark the body as complete; the next bytes belong to the next head."""
        cast("Any", self.scope)[BODY_COMPLETE] = True
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond with a problem to a request that the parser cannot read."""
        self._reject(_problem("malformed_request", msg))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_head_timeout(self) -> None:
        self._timer = None
        if self._head_bytes:
            self._reject(
                _problem(
                    "request_timeout", "The head did not arrive in time; send the request again."
                )
            )
        else:
            self.transport.close()

    def _reject(self, response: Response) -> None:
        """Send the response unless another one is under way, and close the connection."""
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.write(_to_http_bytes(response))
        self.transport.close()


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains after a signal and exits with code 0.

    `on_drain` is called when the drain begins, to end streams that would never end.
    """

    def __init__(self, config: uvicorn.Config, on_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_drain = on_drain

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Drain the connections and stop."""
        self._on_drain()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Drain on the first SIGTERM or SIGINT, disconnect on a second SIGINT."""
        loop = asyncio.get_running_loop()
        handled: list[signal.Signals] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            # Outside the main thread (tests) there are no signals to handle.
            with contextlib.suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, self.handle_exit, number, None)
                handled.append(number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)


def build_server(
    app: ASGIApp,
    settings: Settings,
    on_drain: Callable[[], None],
    *,
    limits: HttpLimits | None = None,
) -> DrainingServer:
    """Return the server of an application, not yet listening."""
    limits = HttpLimits() if limits is None else limits
    protocol = type("Protocol", (BoundedProtocol,), {"limits": limits})
    config = uvicorn.Config(
        cast("Any", app),
        host=settings.host,
        port=settings.port,
        loop="none",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    return DrainingServer(config, on_drain)
