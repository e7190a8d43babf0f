"""The server: uvicorn in one process, with bounded connections and heads, drained on SIGTERM."""

import asyncio
import contextlib
import re
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextvars import Context
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NoReturn, cast

import httptools
import msgspec
import uvicorn
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from spawn.application.traffic.arrival_turns import ArrivalTurns
from spawn.application.traffic.client_sites import name_site
from spawn.application.traffic.shared_places import SharedPlaces, is_of
from spawn.application.traffic.token_buckets import TokenBuckets
from spawn.application.traffic.traffic_control import HandshakeOutcome
from spawn.application.web_addresses import UNIX
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.middleware.trusted_proxies import TrustedProxies
from spawn.entrypoints.http.protocol.problems import problem_response
from spawn.entrypoints.http.protocol.response import HSTS, WHOLE, Header, Response
from spawn.entrypoints.http.reading_watch import ReadingWatch
from spawn.entrypoints.http.tls_listener import AdmittedProtocol, TlsListener
from spawn.entrypoints.request_context import AUDIENCE, BODY_COMPLETE, Audience, RequestContext
from spawn.entrypoints.settings import Settings

SHUTDOWN_TIMEOUT_S: Final = 20
KEEP_ALIVE_S: Final = 15
BACKLOG: Final = 2048
LINGER_S: Final = 5
LINGER_BYTES: Final = 16 * 1024 * 1024
"""Time and bytes in which the rest of a rejected request is read and discarded."""

SURPLUS_CONNECTIONS: Final = 64
"""Connections beyond the limits that get a 503 response; further ones are closed at once."""

SEARCH_PAUSE_S: Final = 0.05
"""Pause after a search for an idle connection that found none; it looks at every connection."""

_COPIED_BYTES: Final = 16 * 1024
"""Bytes of a body that cost less to copy behind the head than to write as a second buffer."""

HALF_CLOSED_S: Final = 2.0
"""Time for which a request whose client sends no more waits; the client may have left."""

_PARSED_BYTES: Final = 8 * 1024
"""Bytes outside bodies of a given length that are parsed at once; each may be of a field."""

_PARSED_LINES: Final = 1000
"""Lines up to which more of a body in chunks is parsed at once."""

_PARSED_PIECES: Final = 250
"""Blank lines of a body in chunks that are parsed at once; each may be the end of it."""

_BLANK_LINE: Final = b"\r\n\r\n"
_LINE_ENDS: Final = re.compile(rb"[\r\n]*")
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})

_PROBES: Final = frozenset({"/monitoring/live", "/monitoring/ready"})
"""Paths that are served on connections beyond the limits too."""

_VERSIONS: Final = frozenset({"1.1", "1.0"})
_BODILESS: Final = frozenset({204, 304})
_NOT_IN_NAMES: Final = bytes({*range(0x21), 0x7F, *b'()<>@,;:\\"[]={}', *range(0x41, 0x5B)})
"""Bytes that uvicorn rejects in names, and capitals, which it converts."""

_NOT_IN_VALUES: Final = bytes({*range(0x20), 0x7F} - {0x09})
_CLOSING_HEADERS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"connection", b"close"),
)


def _has_any(text: bytes, excluded: bytes) -> bool:
    """Whether any of the bytes is in the text; a regular expression takes ten times as long."""
    return len(text.translate(None, excluded)) != len(text)


def to_http_bytes(response: Response) -> bytes:
    """Encode a response as HTTP/1.1, for a connection without a parsed request."""
    fields = b"".join(b"%b: %b\r\n" % field for field in response.head_message["headers"])
    line = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
    return line.encode() + fields + b"\r\n" + response.payload


class JoiningCycle(RequestResponseCycle):
    """uvicorn's cycle of a request that writes a prebuilt response at once.

    uvicorn writes and checks the head field by field before it sees the body. Streams, HEAD and
    the last response on a connection are left to it.
    """

    held_start: Any = None
    ends_connection = False
    linger: Callable[[], None]

    async def run_asgi(self, app: Any) -> None:
        """Run the application as uvicorn does; the end of the drain is no error of it."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self.disconnected = True
            self.transport.close()
            self.logger.warning("The drain ended before a %s request did.", self.scope["method"])
        except Exception as error:  # noqa: BLE001 -- uvicorn catches all of them too
            await self._fail("Exception in ASGI application\n", error)
        else:
            if not (self.response_complete or self.disconnected):
                await self._fail("The application returned without a whole response.")
        finally:
            self.on_response = lambda: None

    async def _fail(self, message: str, error: BaseException | None = None) -> None:
        self.logger.error(message, exc_info=error)
        if self.response_started:
            self.transport.close()
        else:
            await self.send_500_response()

    async def send(self, message: Any) -> None:
        """Hold the start of a whole response, and write it with its body."""
        start, self.held_start = self.held_start, None
        if start is None:
            if WHOLE in message and not self.response_started and self._is_plain():
                self.held_start = message
            else:
                await self._send_plainly(message)
            return
        if message["type"] != "http.response.body":
            # The application failed between the two; this response replaces the one held.
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        head = self._encode_head(start, message) if self._is_plain() else None
        if head is None:
            await super().send(start)
            await self._send_plainly(message)
        else:
            self._write(head, message["body"])

    async def _send_plainly(self, message: Any) -> None:
        """Send as uvicorn does, but linger where it closes and more bytes may arrive."""
        ends = message["type"] == "http.response.body" and not message.get("more_body", False)
        lingers = self.more_body or self.ends_connection or cast("Any", self.flow).is_held
        if not ends or self.keep_alive or not lingers:
            await super().send(message)
            return
        self.keep_alive = True  # uvicorn closes the connection otherwise
        await super().send(message)
        self.linger()

    def _is_plain(self) -> bool:
        """Whether the response has a body and the connection stays open."""
        return self.keep_alive and not self.access_log and self.scope["method"] != "HEAD"

    def _encode_head(self, start: Any, message: Any) -> bytes | None:
        """Return the head as uvicorn writes it; None if the head is not that of this body."""
        headers = [*self.default_headers, *start["headers"]]
        names, values = zip(*headers, strict=True)
        if _has_any(b"".join(names), _NOT_IN_NAMES) or _has_any(b"".join(values), _NOT_IN_VALUES):
            return None
        if b"connection" in names or b"transfer-encoding" in names:
            return None
        body_length, status = len(message["body"]), start["status"]
        if b"content-length" in names:
            is_exact = values[names.index(b"content-length")] == b"%d" % body_length
        else:
            is_exact = not body_length and status in _BODILESS
        if not is_exact:
            return None
        fields = b"\r\n".join(map(b": ".join, headers))
        return b"%b%b\r\n\r\n" % (STATUS_LINE[status], fields)

    def _write(self, head: bytes, body: bytes) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        if len(body) > _COPIED_BYTES:
            self.transport.writelines((head, body))
        else:
            self.transport.write(head + body)
        self.response_complete = True
        self.message_event.set()
        self.on_response()


class HoldableFlow(FlowControl):
    """uvicorn's flow control, which can be held: requests that wait for bytes resume it else."""

    is_held = False

    def hold(self) -> None:
        """Read nothing until the release."""
        self.is_held = True
        self.pause_reading()

    def release(self) -> None:
        """Read on, if reading was held."""
        if self.is_held:
            self.is_held = False
            self.resume_reading()

    def resume_reading(self) -> None:
        """Read on, unless reading is held.

        The event loop would read in the context of the request that ends.
        """
        if self.read_paused and not self.is_held:
            Context().run(super().resume_reading)


class BodyCallbacks:
    """Callbacks of a parser whose first message is the body of a request that is known already.

    Its head repeats the framing of the request, and is not reported again.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self._has_ended = False
        self.on_header = protocol.on_header
        self.on_body = protocol.on_body

    def on_message_begin(self) -> None:
        """Report the beginning of later messages."""
        if self._has_ended:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Report the targets of later messages."""
        if self._has_ended:
            self._protocol.on_url(url)

    def on_headers_complete(self) -> None:
        """Report the heads of later messages."""
        if self._has_ended:
            self._protocol.on_headers_complete()

    def on_message_complete(self) -> None:
        """Report the end of the body, and of later messages."""
        self._has_ended = True
        self._protocol.on_message_complete()


class IdleSearch:
    """When connections are next searched for an idle one, in seconds of the event loop."""

    next_s = 0.0


class BoundedProtocol(HttpToolsProtocol, AdmittedProtocol):
    """uvicorn's protocol with limits on the size and the duration of a request's head.

    The parser buffers header fields without limit, and incomplete heads for ever. No application
    sees either, so the limits are here. Requests are rejected with problems here too.

    A segment can hold thousands of requests. Those behind one that is not served yet remain bytes,
    and each begins in a turn of its own.
    """

    flow: HoldableFlow

    limits = HttpLimits()
    path_prefix = ""
    places = SharedPlaces(HttpLimits().connections)
    search = IdleSearch()
    arrivals = ArrivalTurns()
    proxies = TrustedProxies(())
    audience: Audience = Audience.ALL
    _owner: str | None = None
    _has_place = False
    _is_shared = False
    _has_begun_head = False
    _is_discarding = False
    _is_unserved = False
    _is_turn_requested = False
    _held_data = b""
    _held_start = 0
    _body_bytes = 0
    _running: Any = None
    _leave: Callable[[], None] | None = None

    def admit(self, address: str) -> bool:
        """Take a place for a connection of an address; return False if none is left."""
        # A trusted proxy has the connections of many clients.
        self._is_shared = self.proxies.is_trusted(address)
        self._owner = f"{address} {id(self)}" if self._is_shared else name_site(address)
        self._has_place = self.places.take(self._owner) or self._take_idle_place(self._owner)
        return self._has_place

    def _take_idle_place(self, owner: str) -> bool:
        """Close a connection without a request of the largest holder, and take its place.

        Idle connections are never released by those that mean to keep others out.
        """
        if self.loop.time() < self.search.next_s or not self.places.may_follow(owner):
            return False
        largest, most_places = self.places.find_largest_holder()
        if most_places <= self.places.held_with_network(owner) + 1:
            return False
        for one in cast("set[BoundedProtocol]", self.connections):
            if one.is_idle_of(largest):
                one.transport.abort()
                one.release_place()
                return self.places.take(owner)
        self.search.next_s = self.loop.time() + SEARCH_PAUSE_S
        return False

    def is_idle_of(self, owner: str) -> bool:
        """Whether the connection has a place of an owner, and neither a request nor a response."""
        if not self._has_place or self._owner is None or not is_of(self._owner, owner):
            return False
        cycle: Any = self.cycle
        is_served = cycle is None or cycle.response_complete
        is_underway = self._has_begun_head or self._is_discarding or self._held_data
        return is_served and not is_underway and not self._reading.has_unread()

    def release_place(self) -> None:
        """Release the place of the connection; idempotent."""
        if self._owner is not None and self._has_place:
            self._has_place = False
            self.places.release(self._owner)

    def connection_made(self, transport: Any) -> None:
        """Start the timer of the first head, and enforce the connection limit."""
        least_bytes_s = self.limits.traffic.body_bytes_s
        self._reading = ReadingWatch(transport, self.loop, least_bytes_s)
        super().connection_made(self._reading.transport)
        self.flow = HoldableFlow(self._reading.transport)
        is_unix = self.server is not None and self.server[1] is None
        address = self.client[0] if self.client else UNIX if is_unix else ""
        if self._owner is None and address:
            self.admit(address)
        if not self._has_place:
            self._served_app: Any = self.app
            self.app = cast("Any", self._respond_overloaded)
            if len(self.connections) - self.places.in_use > SURPLUS_CONNECTIONS:
                self._close()
        self._is_lingering = self._is_pausing = self._has_ended = False
        self._linger_bytes = LINGER_BYTES
        self._rejection: Response | None = None
        self._head_bytes = self._rest_start = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None
        self._start_head_timer()
        if not address:
            # The client has reset the connection; what it sent would be of nobody.
            self._is_discarding = True
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse the bytes once it is the client's turn, and no request waits that came before."""
        if (
            self._held_data
            or self._is_unserved
            or len(data) > _PARSED_BYTES
            or data.count(_BLANK_LINE) > self._in_head
        ):
            self._hold(data)
        elif self.arrivals.take(self._owner or "", self._go_on):
            self._parse(data)
        else:
            self._is_turn_requested = True
            self._hold(data)

    def _hold(self, data: bytes) -> None:
        """Keep bytes for a later turn; beyond some, read no more."""
        if self._is_discarding:
            self._discard(data)
            return
        self._unset_keepalive_if_required()
        self._held_data = self._held_data[self._held_start :] + data if self._held_data else data
        self._held_start = 0
        if len(self._held_data) > HIGH_WATER_LIMIT:
            self.flow.hold()
        if not self._is_unserved:
            self._request_turn()

    def _request_turn(self) -> None:
        """Go on in a later round of the event loop, unless the connection pauses."""
        if not (self._is_turn_requested or self._is_pausing):
            self._is_turn_requested = True
            self.loop.call_soon(self._take_turn, context=Context())

    def _take_turn(self) -> None:
        if self.arrivals.take(self._owner or "", self._go_on):
            self._go_on()

    def _go_on(self) -> None:
        """Begin the next request: one that is parsed, or else the one of the next bytes."""
        self._is_turn_requested = False
        if self._is_pausing or self._is_lingering or self.transport.is_closing():
            return
        if self.pipeline and self._running.response_complete:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._held_data and not self._is_unserved:
            self._parse_held()
        if self._held_data and not self._is_unserved:
            self._request_turn()
        self._close_if_served()

    def _parse_held(self) -> None:
        """Parse a head that was held with a body of a given length, or a part of a body."""
        turn_end = self._held_start + self._count_turn_bytes()
        self._parse_piece(turn_end)
        pieces = 1
        while self._held_data and not self._in_head:
            is_over = self._held_start >= turn_end or pieces >= _PARSED_PIECES
            if is_over and not self._count_body_rest():
                return
            self._parse_piece(turn_end)
            pieces += 1

    def _count_turn_bytes(self) -> int:
        """Return how much of a body in chunks is parsed at once: less if it has many lines."""
        if self._in_head or self._count_body_rest():
            return 0
        start = self._held_start
        lines = self._held_data.count(b"\r\n", start, start + HIGH_WATER_LIMIT)
        return _PARSED_BYTES if lines > _PARSED_LINES else HIGH_WATER_LIMIT

    def _parse_piece(self, turn_end: int) -> None:
        """Parse bytes that were held, with the end of one request at most."""
        data, start = self._held_data, self._held_start
        end = self._find_piece_end(data, start, turn_end)
        if end < len(data):
            self._held_start = end
        else:
            self._drop_held()
        if len(data) - end <= HIGH_WATER_LIMIT:
            self.flow.release()
        self._parse(data[start:end])

    def _find_piece_end(self, data: bytes, start: int, turn_end: int) -> int:
        """Return where bytes end behind which another request may begin, or the turn ends.

        A body in chunks may have blank lines; only the parser knows which one is its end.
        """
        if body_rest := self._count_body_rest():
            return start + body_rest
        text_start = self._skip_line_ends(start)
        if self._in_head:
            turn_end = text_start + _PARSED_BYTES
        elif text_start > start:
            return text_start  # they may end the body, and a request follow
        end = data.find(_BLANK_LINE, text_start, turn_end)
        return turn_end if end < 0 else end + len(_BLANK_LINE)

    def _skip_line_ends(self, start: int) -> int:
        return cast("re.Match[bytes]", _LINE_ENDS.match(self._held_data, start)).end()

    def _count_body_rest(self) -> int:
        """Return the bytes that a body lacks; 0 if no body arrives or its length is unknown."""
        if not self._in_head:
            for name, value in self.headers:
                if name == b"content-length":
                    return int(value) - self._body_bytes
        return 0

    def _drop_held(self) -> None:
        self._held_data, self._held_start = b"", 0

    def _discard(self, data: bytes) -> None:
        self._linger_bytes -= len(data)
        if self._linger_bytes < 0:
            self.transport.abort()

    def _parse(self, data: bytes) -> None:
        """Count the bytes outside complete heads and bodies; trailer fields count too."""
        if self._is_discarding:
            self._discard(data)
            return
        if self._in_head and self._timer is None:
            self._start_head_timer()
        self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            while True:
                try:
                    self.parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as stop:
                    data = data[stop.args[0] :]
                    self._ignore_upgrade()
        except httptools.HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)
        if self._head_bytes > self.limits.head_bytes:
            detail = f"The head or the trailer exceeds {self.limits.head_bytes} bytes."
            self._reject(self._problem("headers_too_large", detail))

    def _ignore_upgrade(self) -> None:
        """Go on behind the head of a request that asks for another protocol (RFC 9110, 7.8).

        The parser takes such a request for complete, and its body for that protocol.
        """
        framing = [field for field in self.headers if field[0] in _FRAMING]
        if self._is_discarding or not framing:
            return
        self.cycle.more_body = True
        self.cycle.message_event.clear()
        self._in_head = self._is_unserved = False
        del cast("Any", self.scope)[BODY_COMPLETE]
        self.parser = httptools.HttpRequestParser(BodyCallbacks(self))
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if not self.cycle.keep_alive:
            framing.append((b"connection", b"close"))
        fields = b"".join(b"%b: %b\r\n" % field for field in framing)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % fields)

    def pause_writing(self) -> None:
        """Watch that the client reads on; a request may wait for it."""
        super().pause_writing()
        self._reading.start()

    def resume_writing(self) -> None:
        """Note that the client has read."""
        super().resume_writing()
        self._reading.note_progress()

    def shutdown(self) -> None:
        """End the connection after its response; one without a request at once."""
        super().shutdown()
        if self.transport.is_closing():
            self._reading.start()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's returns None
        """Serve what a client that sends no more has sent; return whether something is left.

        A client that leaves ends its half too, and only a write shows the difference: what waits
        for long ends without it. TLS has no half that ends alone.
        """
        self._reading.start()
        if self.scheme == "https" or not (self._has_ended or self._has_requests()):
            return False
        self._has_ended = True
        self._start_leaving()
        return True

    def _start_leaving(self) -> None:
        """End what waits some time after its client's half and its body have ended."""
        if self._has_ended and self._leave is not None and not self._running.more_body:
            self.loop.call_later(HALF_CLOSED_S, self._leave)

    def _has_requests(self) -> bool:
        """Whether a whole request has no response yet, or may be held."""
        running = self._running
        if self._held_data or self.pipeline:
            return True
        return not (running is None or running.response_complete or running.more_body)

    def _close_if_served(self) -> None:
        """Close a connection whose client sends no more, unless a whole request is left."""
        # A problem may be left to be sent, which ends the connection too.
        if self._has_ended and not (self._is_discarding or self._has_requests()):
            self._close()

    def _close(self) -> None:
        """Close the connection once its client has read what waits for it."""
        self.transport.close()
        self._reading.start()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection whose client has read all and sends no further request.

        A head that has begun has a time of its own.
        """
        if self.transport.is_closing() or self._has_begun_head:
            return
        if self._reading.has_unread():
            self._reading.start()
            self._start_keep_alive()
        else:
            self._close()

    def _start_keep_alive(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def on_message_begin(self) -> None:
        """Start the timer of a head with its first byte, which may follow a whole request."""
        self._has_begun_head = True
        self._start_head_timer()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a field to the head; fields of a trailer, behind the body, are discarded.

        The parser reports both alike, and a precondition or key in a trailer would bypass proxies.
        """
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the timer; the head is complete."""
        self._in_head = self._has_begun_head = self._is_unserved = False
        self._head_bytes = self._body_bytes = 0
        self._stop_timer()
        self._unset_keepalive_if_required()
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            detail = "Send the request as HTTP/1.1."
            self._reject_head(self._problem("http_version_not_supported", detail))
        if version == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            detail = "HTTP/1.0 has no transfer codings: send the body with Content-Length."
            self._reject_head(self._problem("malformed_request", detail))
        if b"#" in self.url:
            detail = "The target has a fragment, which belongs to the client: leave it out."
            self._reject_head(self._problem("malformed_request", detail))
        if not self.url.startswith(b"/"):
            self._set_target_host()
        super().on_headers_complete()
        # A stream whose client reads nothing cannot end by sending; its connection is aborted.
        cast("Any", self.scope).update(
            {
                "spawn.abort": self.transport.abort,
                "spawn.pause": self.pause,
                "spawn.when_left": self.call_when_left,
                AUDIENCE: self.audience,
            }
        )

    def pause(self, seconds: float) -> None:
        """Read nothing from the connection for a while: its client sends more than it may.

        A trusted proxy sends the requests of other clients on it too.
        """
        if not (self._is_shared or self.transport.is_closing()):
            self._is_pausing = True
            self.flow.hold()
            self.loop.call_later(seconds, self._resume)

    def call_when_left(self, leave: Callable[[], None]) -> None:
        """Call a function when the client disconnects before the response is complete."""
        self._leave = leave
        self._start_leaving()

    def _resume(self) -> None:
        self._is_pausing = False
        if self.transport.is_closing():
            return
        if len(self._held_data) - self._held_start <= HIGH_WATER_LIMIT:
            self.flow.release()
        if self._held_data or self.pipeline:
            self._request_turn()

    def _problem(self, code: str, detail: str, *headers: Header, instance: str = "") -> Response:
        """Return the last response on a connection, for a request the application never sees."""
        return problem_response(
            code,
            detail,
            instance=instance,
            context=RequestContext.unrouted(self.path_prefix),
            headers=(*_CLOSING_HEADERS, *headers, *((HSTS,) if self.scheme == "https" else ())),
        )

    async def _respond_overloaded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond 503 to a request on a connection beyond the limit, but to a probe as usual.

        Otherwise who holds all connections would have the service restarted.
        """
        if cast("Any", scope)["path"] in _PROBES:
            self._running.keep_alive = False
            await self._served_app(scope, receive, send)
            return
        detail = "The service has as many connections, of this address or in all, as it may."
        path = cast("Any", scope)["path"]
        response = self._problem("overloaded", detail, (b"retry-after", b"1"), instance=path)
        await response(scope, receive, send)

    def _reject_head(self, response: Response) -> NoReturn:
        """Reject the request, and stop the parser before its body reaches an earlier request."""
        self._reject(response)
        raise httptools.HttpParserError("the head is rejected")

    def _set_target_host(self) -> None:
        """Replace the Host header by the host of a target in absolute form (RFC 9112, 3.2.2)."""
        scheme, separator, rest = self.url.partition(b"://")
        if not separator:
            return
        if scheme.lower() not in {b"http", b"https"}:
            detail = "The target has another scheme than http; send its path alone."
            self._reject_head(self._problem("malformed_request", detail))
        host = re.split(rb"[/?#]", rest, maxsplit=1)[0]
        others = [(name, value) for name, value in self.headers if name != b"host"]
        # In place, since the scope has this list.
        self.headers[:] = [(b"host", host), *others]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn names its class, and a wrapper of `send` would be a reference cycle per request.
        cycle.__class__ = JoiningCycle
        cast("Any", cycle).linger = self.linger
        self._running = cycle
        is_paused = self.flow.write_paused
        super()._start_asgi_task(cycle, cast("Any", self._run_unpaused) if is_paused else app)

    async def _run_unpaused(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request once the client has read earlier responses; it has no slot until then."""
        cycle = self._running
        await self.flow.drain()
        if not cycle.disconnected:
            await cast("Any", self.app)(scope, receive, send)

    def on_body(self, body: bytes) -> None:
        """Reset the byte count; the application limits bodies."""
        self._head_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Let the next request begin, or start the timer of the rest of a body.

        The next one begins in a later round: the end of this one may pause the connection.
        """
        self._leave = None
        self.server_state.total_requests += 1
        is_last = self.cycle.response_complete
        if is_last:
            self._is_unserved = False
        if self.transport.is_closing():
            self._reading.start()
            return
        was_paused = self.flow.read_paused
        if was_paused:
            self.flow.resume_reading()
        if self.pipeline or self._held_data:
            self._request_turn()
        else:
            self._start_keep_alive()
        if was_paused and self._has_begun_head and not self._is_discarding:
            self._start_head_timer()
        if not self._in_head and is_last and not self._is_discarding:
            self._stop_timer()
            self._watch_rest()
        if self._has_ended:
            self._close_if_served()

    def _watch_rest(self) -> None:
        self._rest_start = self._body_bytes
        self._timer = self.loop.call_later(self.limits.header_timeout_s, self._on_rest_timeout)

    def _on_rest_timeout(self) -> None:
        """Close the connection, unless the body arrives at the least rate of bodies."""
        least_bytes = self.limits.traffic.body_bytes_s * self.limits.header_timeout_s
        if self._body_bytes - self._rest_start < least_bytes:
            self._close()
        else:
            self._watch_rest()

    def on_message_complete(self) -> None:
        """Mark the body as complete; the next bytes belong to the next head."""
        self._stop_timer()
        cast("Any", self.scope)[BODY_COMPLETE] = True
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()
        if self.cycle is self._running:
            self._start_leaving()
        if not self.cycle.response_complete:
            self._is_unserved = True
        elif not self.transport.is_closing():
            # The response did not wait for the body; its timer ended when the rest arrived.
            self._start_keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, release the place, and end the request that runs.

        uvicorn ends the latest request only, which may be one that waits behind it.
        """
        self._stop_timer()
        self._drop_held()
        self._reading.stop()
        self.release_place()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            if self._leave is not None:
                self._leave()
        self._leave = None
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond with a problem to a request that the parser cannot read."""
        self._reject(self._problem("malformed_request", msg))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_head_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.limits.header_timeout_s, self._on_head_timeout)

    def _on_head_timeout(self) -> None:
        self._timer = None
        if self.flow.read_paused or self._held_data:
            self._start_head_timer()  # the rest may be there, and the service reads nothing now
        elif self._has_begun_head or self._head_bytes:
            self._reject(
                self._problem(
                    "request_timeout", "The head did not arrive in time; send the request again."
                )
            )
        else:
            self._close()

    def _reject(self, response: Response) -> None:
        """Send the response behind those of earlier requests, and close the connection."""
        if self.transport.is_closing() or self._is_discarding:
            return
        self._is_discarding = True
        self._drop_held()
        self.flow.release()
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self._rejection = response
            self.linger()
        elif not cycle.more_body:
            self._end_behind(cycle, response)
        elif self.pipeline:
            self.pipeline.popleft()
            earlier = self.pipeline[0][0] if self.pipeline else self._running
            self._end_behind(earlier, response)
            if earlier.response_complete:
                self.linger()
        else:
            # The body fails. To the application it is as if the client had left.
            self._rejection = None if cycle.response_started else response
            cycle.disconnected = True
            cycle.message_event.set()
            self.linger()

    def _end_behind(self, cycle: Any, response: Response) -> None:
        """Let an earlier request have its response first: what it did may have been stored."""
        self._rejection = response
        cycle.keep_alive = False
        cycle.ends_connection = True

    def linger(self) -> None:
        """End the connection, but read on for a while (RFC 9112, 9.6).

        If a socket with unread bytes is closed, its peer gets a reset, which can reach it before
        the response: a proxy then reports a failure of the service instead of the problem.
        """
        if self._is_lingering or self.transport.is_closing():
            return
        self._is_discarding, self._is_lingering = True, True
        self._stop_timer()
        self.pipeline.clear()
        if self._rejection is not None:
            self.transport.write(to_http_bytes(self._rejection))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._has_ended:
            self._close()
            return
        self._drop_held()
        self.flow.release()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_S, self._close)


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Bound sockets of one address and their audience; `get_context` if they have TLS."""

    sockets: tuple[socket.socket, ...]
    audience: Audience = Audience.ALL
    get_context: Callable[[], ssl.SSLContext] | None = None


class DrainingServer(uvicorn.Server):
    """A uvicorn server of several listeners that drains after a signal and exits with code 0.

    `on_drain` is called when the drain begins, to end streams that would never end, and
    `on_hangup` on SIGHUP. `handshakes` limits the TLS handshakes of an address; None does
    not. `outcomes` counts them.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Sequence[Listener],
        on_drain: Callable[[], None],
        on_hangup: Callable[[], None] | None = None,
        handshakes: TokenBuckets | None = None,
        outcomes: Counter[HandshakeOutcome] | None = None,
    ) -> None:
        super().__init__(config)
        self._outcomes = Counter[HandshakeOutcome]() if outcomes is None else outcomes
        self._handshakes = handshakes
        self.listeners = listeners
        self._on_drain = on_drain
        self._on_hangup = on_hangup

    async def startup(self, sockets: list[Any] | None = None) -> None:  # noqa: ARG002 -- it has its own
        """Listen on every socket; requests of all of them are drained together."""
        self.servers = []
        for listener in self.listeners:
            for bound in listener.sockets:
                self.servers.append(await self._listen(listener, bound))
        self.started = True

    async def _listen(self, listener: Listener, bound: socket.socket) -> Any:
        """Listen on a socket and return its server."""
        loop = asyncio.get_running_loop()
        config = cast("Any", self.config)
        base: type[BoundedProtocol] = config.http_protocol_class
        protocol: Any = type("Protocol", (base,), {"audience": listener.audience})

        create_protocol = partial(
            protocol,
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=loop,
        )
        if listener.get_context is not None:
            timeout_s = base.limits.header_timeout_s
            server = TlsListener(
                bound,
                create_protocol,
                listener.get_context,
                timeout_s,
                self._is_within_rate,
                self._outcomes,
            )
            server.start(config.backlog)
            return server
        return await loop.create_server(create_protocol, sock=bound, backlog=config.backlog)

    def _is_within_rate(self, address: str) -> bool:
        """Whether an address may begin a TLS handshake; a trusted proxy has those of others."""
        proxies = cast("Any", self.config).http_protocol_class.proxies
        if self._handshakes is None or proxies.is_trusted(address):
            return True
        return self._handshakes.take(name_site(address)) >= 0

    async def shutdown(self, sockets: list[Any] | None = None) -> None:  # noqa: ARG002 -- as above
        """Drain the connections and stop."""
        self._on_drain()
        await super().shutdown([bound for one in self.listeners for bound in one.sockets])

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Drain on the first SIGTERM or SIGINT, disconnect on a second SIGINT."""
        loop = asyncio.get_running_loop()
        handled: list[signal.Signals] = []
        actions: dict[signal.Signals, tuple[Callable[..., None], tuple[object, ...]]] = {
            number: (self.handle_exit, (number, None)) for number in (signal.SIGTERM, signal.SIGINT)
        }
        if self._on_hangup is not None:
            actions[signal.SIGHUP] = (self._on_hangup, ())
        for number, (action, arguments) in actions.items():
            # Outside the main thread (tests) there are no signals to handle.
            with contextlib.suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, action, *arguments)
                handled.append(number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)


def build_server(
    app: ASGIApp,
    settings: Settings,
    listeners: Sequence[Listener],
    on_drain: Callable[[], None],
    *,
    limits: HttpLimits | None = None,
    places: SharedPlaces | None = None,
    on_hangup: Callable[[], None] | None = None,
    handshake_outcomes: Counter[HandshakeOutcome] | None = None,
) -> DrainingServer:
    """Return the server of an application, not yet listening.

    `places` are those of the connections, `on_hangup` is called on SIGHUP, `handshake_outcomes`
    counts TLS handshakes.
    """
    limits = HttpLimits() if limits is None else limits
    attributes = {
        "limits": limits,
        "path_prefix": settings.path_prefix,
        "places": SharedPlaces(limits.connections) if places is None else places,
        "search": IdleSearch(),
        "arrivals": ArrivalTurns(),
        "proxies": TrustedProxies(settings.trusted_proxies),
    }
    protocol = type("Protocol", (BoundedProtocol,), attributes)
    config = uvicorn.Config(
        cast("Any", app),
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
    handshakes = None
    if settings.rate_limit:
        handshakes = TokenBuckets("handshakes", limits.handshakes_per_s)
    return DrainingServer(config, listeners, on_drain, on_hangup, handshakes, handshake_outcomes)
