"""The server: uvicorn, one process, bounded connections and headers, a clean end on SIGTERM."""

import asyncio
import contextlib
import gc
import resource
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Iterator
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
import uvicorn
from litestar.types import Receive, Scope, Send
from loguru import logger
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from spawn.entrypoints.composition import Composition, compose
from spawn.entrypoints.http.middleware.limits import Limits
from spawn.entrypoints.http.protocol.problems import problem_reply
from spawn.entrypoints.http.protocol.response import Header, Reply
from spawn.entrypoints.request_context import BODY_IS_HERE
from spawn.entrypoints.settings import AddressError, Settings
from spawn.entrypoints.telemetry import configure_logging

GRACE_S: Final = 20
KEEP_ALIVE_S: Final = 15
BACKLOG: Final = 2048
GC_THRESHOLDS: Final = (10_000, 20, 20)
"""A request allocates hundreds of objects and leaves no cycles: look for garbage less often."""
SPARE_CONNECTIONS: Final = 64
"""Connections beyond the limit that are let in, to be told of it when they ask for something."""

KEPT_DESCRIPTORS: Final = 128
"""File descriptors that connections leave to the store and to what the service asks of others."""

_LAST: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"connection", b"close"),
)


def _problem(code: str, detail: str, *headers: Header, instance: str = "") -> Reply:
    """The last answer on a connection; the application never saw what it answers to."""
    trace_id = secrets.token_hex(16)
    return problem_reply(
        code, detail, instance=instance, trace_id=trace_id, headers=(*_LAST, *headers)
    )


def _written_out(reply: Reply) -> bytes:
    """An answer as it goes over the wire where no request is there to be answered."""
    fields = b"".join(b"%b: %b\r\n" % field for field in reply.start["headers"])
    line = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
    return line.encode() + fields + b"\r\n" + reply.payload


async def _crowded_out(scope: Scope, receive: Receive, send: Send) -> None:
    """What a request meets on a connection too many."""
    detail = "Too many connections are open already."
    path = cast("Any", scope)["path"]
    reply = _problem("overloaded", detail, (b"retry-after", b"1"), instance=path)
    await reply(scope, receive, send)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the size of a request's head and the time it may take.

    The parser keeps header fields without limit, and half-sent heads for ever; no application sees
    either, so the bound has to be here. What is refused here is refused as a problem too.
    """

    limits = Limits()

    def connection_made(self, transport: Any) -> None:
        """Start the clock: a client that connects is to say something."""
        super().connection_made(transport)
        beyond = len(self.connections) - self.limits.connections
        if beyond > 0:
            self.app = cast("Any", _crowded_out)
        if beyond > SPARE_CONNECTIONS:
            transport.close()
        self._unread = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(
            self.limits.header_timeout_s, self._head_too_slow
        )

    def data_received(self, data: bytes) -> None:
        """Count what belongs to no complete head and to no body: trailer fields count too."""
        if self._in_head and self._timer is None:
            self._timer = self.loop.call_later(self.limits.header_timeout_s, self._head_too_slow)
        self._unread += len(data)
        super().data_received(data)
        if self._unread > self.limits.head_bytes:
            detail = f"At most {self.limits.head_bytes} bytes come before a body or after it."
            self._refuse(_problem("headers_too_large", detail))

    def on_headers_complete(self) -> None:
        """The head is there: stop the clock until the next one begins."""
        self._in_head = False
        self._unread = 0
        self._stop_timer()
        super().on_headers_complete()
        # A stream whose client takes nothing cannot end by sending: it has to be cut off.
        cast("Any", self.scope)["spawn.abort"] = self.transport.abort

    def on_body(self, body: bytes) -> None:
        """A body has bounds of its own, in the application."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next bytes belong to the next head; nobody need wait for this body."""
        cast("Any", self.scope)[BODY_IS_HERE] = True
        self._in_head = True
        self._unread = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to wait for."""
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read is a problem like any other."""
        self._refuse(_problem("malformed_request", msg))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_too_slow(self) -> None:
        self._timer = None
        if self._unread:
            self._refuse(_problem("request_timeout", "The head did not arrive in time."))
        else:
            self.transport.close()

    def _refuse(self, reply: Reply) -> None:
        """Answer, if nothing else is being answered, and hang up."""
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.write(_written_out(reply))
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server, ending by itself after a signal instead of by it: exit code 0.

    `ending` is called when the drain begins: what would go on for ever is to end then.
    """

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Drain."""
        self._ending()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Drain on the first SIGTERM or SIGINT, hang up on a second SIGINT."""
        loop = asyncio.get_running_loop()
        caught: list[signal.Signals] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            # Outside the main thread (tests) there are no signals to handle.
            with contextlib.suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, self.handle_exit, number, None)
                caught.append(number)
        try:
            yield
        finally:
            for number in caught:
                loop.remove_signal_handler(number)


def build_server(composition: Composition, *, limits: Limits | None = None) -> Server:
    """The server of a composed service, not yet listening."""
    settings = composition.settings
    limits = Limits() if limits is None else limits
    protocol = type("Protocol", (BoundedProtocol,), {"limits": limits})
    config = uvicorn.Config(
        cast("Any", composition.app),
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
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(config, composition.streams.end)


Prepare = Callable[[Composition], Awaitable[None]]
"""What is to happen once everything is composed and before the server listens."""


async def serve_async(
    settings: Settings,
    ready: Callable[[Server], None] | None = None,
    prepare: Prepare | None = None,
    *,
    limits: Limits | None = None,
) -> None:
    """Take the address, compose, prepare, listen, serve until told to stop, drain, close.

    Raises:
        AddressError: the address is in use, or not one of this machine's.
    """
    with _bound(settings.host, settings.port) as sockets:
        settings = msgspec.structs.replace(settings, port=sockets[0].getsockname()[1])
        async with compose(settings, limits=limits) as composition:
            if prepare is not None:
                await prepare(composition)
            server = build_server(composition, limits=limits)
            # What start-up built stays: the collector need not walk it again (p99 45 -> 15 ms).
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            logger.info("serving {} on {}:{}", settings.base_url, settings.host, settings.port)
            if ready is not None:
                ready(server)
            await server.serve(sockets)
    logger.info("stopped")


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets bound to each address of the host, at one port (0: a free one), not yet listening.

    Binding comes first, so that a port in use is told before a store is opened, and the port that
    was found free is known to whatever names it.
    """
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for family, _, _, _, address in dict.fromkeys(found):
                bound = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                chosen = sockets[0].getsockname()[1] if sockets else port
                bound.bind((address[0], chosen, *address[2:]))
                sockets.append(bound)
        except OSError as failure:
            why = failure.strerror or str(failure)
            raise AddressError(f"{host}:{port} cannot be listened on: {why}") from failure
        yield sockets


def serve(settings: Settings, prepare: Prepare | None = None) -> None:
    """Run the service in this process until SIGTERM or SIGINT."""
    import uvloop

    configure_logging(settings.log_level)
    limits = within_descriptors(Limits())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_async(settings, prepare=prepare, limits=limits))


def within_descriptors(limits: Limits) -> Limits:
    """No more connections than there are file descriptors for, having asked the system for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + KEPT_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    return msgspec.structs.replace(limits, connections=max(1, soft - KEPT_DESCRIPTORS))
