"""One pure-ASGI wrapper around Litestar: what every request meets, kept to a few microseconds.

Hosts, the version prefix, HEAD and OPTIONS, CORS, request id and trace, rate and concurrency
limits, slow bodies, compression, the histogram by route and the access line live here; routing and
everything with a meaning live in the application behind.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from itertools import count
from time import perf_counter, time
from typing import Any, Final, cast

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from loguru import logger

from spawn.entrypoints.http.metrics.request_metrics import RequestMetrics
from spawn.entrypoints.http.middleware.access_log import AccessLog
from spawn.entrypoints.http.middleware.compression import compressing, takes_gzip
from spawn.entrypoints.http.middleware.limits import Limits, TokenBuckets
from spawn.entrypoints.http.middleware.request_spans import Tracing
from spawn.entrypoints.http.protocol.problems import Refusal, problem_reply
from spawn.entrypoints.http.protocol.response import Header, Reply
from spawn.entrypoints.http.protocol.route_table import RouteTable, canonical_path, plain_template
from spawn.entrypoints.request_context import BODY_IS_HERE, Context, current

STREAMED: Final = ("/v1/ops/imports",)
"""Paths whose bodies have no cap on size or time, only on the pause between two chunks."""

_EXEMPT: Final = "/monitoring"
_SINGLE: Final = frozenset(
    {b"host", b"content-type", b"content-length", b"idempotency-key", b"authorization"}
)
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}"
)
_MAX_KNOWN_HOSTS: Final = 256
_NO_SNIFFING: Final[Header] = (b"x-content-type-options", b"nosniff")
_EXPOSED: Final = (
    b"etag, location, link, retry-after, x-request-id, deprecation, sunset, spawn-warnings, allow, "
    b"content-encoding"
)


AtHand = Callable[[HTTPScope], Awaitable[Reply | None]]
"""Gives the answer to a GET, if that can be had without the application."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the deployment decides: host names, origins and the rate per client (None: no limit)."""

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()
    rate: float | None = None


class Wrapper:
    """The ASGI application that the server runs."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: RouteTable,
        rules: Rules,
        limits: Limits,
        metrics: RequestMetrics,
        log: AccessLog,
        at_hand: AtHand,
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._at_hand = at_hand
        self._routes = routes
        self._rules = rules
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._tracing = tracing
        vary = b"accept, accept-encoding" + (b", origin" if rules.origins else b"")
        self._always: tuple[Header, ...] = (_NO_SNIFFING, (b"vary", vary))
        self._buckets = TokenBuckets(rules.rate) if rules.rate else None
        self._known_hosts: set[bytes] = set()
        self._templates: dict[str, str] = {}
        self._prefix = secrets.token_hex(12)
        self._numbers = count(1)
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request from start to access line."""
        if scope["type"] != ScopeType.HTTP:
            await self._other(scope, receive, send)
            return
        started = perf_counter()
        asked = scope["path"]
        method: str = scope["method"]
        context = self._context(dict(scope["headers"]))
        scope["spawn"] = context  # type: ignore[typeddict-unknown-key]  # ASGI scopes are open
        scope["path"] = canonical_path(asked)
        current.set(context)
        status, let_go = 0, False
        extra = self._extra(context)

        async def respond(message: Message) -> None:
            nonlocal status, let_go
            if message["type"] == "http.response.start":
                status = message["status"]
                if context.streams:
                    let_go = True
                    self.in_flight -= 1
                    self._observe(scope, method, status, started)
                headers = [*message["headers"], *extra]
                start = {"type": "http.response.start", "status": status, "headers": headers}
                await send(cast("Message", start))
            else:
                await send(message)

        self.in_flight += 1
        try:
            await self._serve(scope, receive, respond, context)
        except Exception as failure:  # the edge: nothing may pass it unanswered
            logger.opt(exception=failure).error("a request failed outside its route")
            if status:
                raise
            reply = self._problem(scope, "internal", "Something failed inside the service.")
            await reply(scope, receive, respond)
        finally:
            if not let_go:
                self.in_flight -= 1
                self._observe(scope, method, status, started)
            self._write_line(scope, method, asked, status, started)

    async def _serve(
        self, scope: HTTPScope, receive: Receive, respond: Send, context: Context
    ) -> None:
        """Refuse, answer for the application, or hand over to it."""
        headers = context.headers
        method: str = scope["method"]
        if method == "HEAD":
            context.bodiless = True
            respond = _without_body(respond)
        accept_encoding = headers.get(b"accept-encoding")
        if accept_encoding is not None and takes_gzip(accept_encoding):
            seen = headers.get(b"if-none-match")
            respond = compressing(respond, self._limits.gzip_bytes, seen)
        reply = self._refusal(scope, headers)
        if reply is None and method == "OPTIONS":
            reply = self._options(scope, headers)
        if reply is not None:
            await reply(scope, receive, respond)
        elif method == "GET":
            known = None if self._tracing else await self._at_hand(scope)
            await (known or self._run)(scope, receive, respond)
        elif method == "HEAD":
            as_get = cast("HTTPScope", {**scope, "method": "GET"})
            await self._run(as_get, receive, respond)
            scope["path_template"] = as_get.get("path_template", "")
        elif BODY_IS_HERE in scope:
            await self._run(scope, receive, respond)
        else:
            await self._run(scope, self._timed(scope["path"], receive), respond)

    async def _run(self, scope: HTTPScope, receive: Receive, respond: Send) -> None:
        """Run the application, inside a span if tracing is on."""
        if self._tracing is None:
            await self._app(scope, receive, respond)
        else:
            await self._tracing.run(self._app, scope, receive, respond)

    def _context(self, headers: dict[bytes, bytes]) -> Context:
        """Ids of the request: the caller's if it sent sound ones, else new ones."""
        own = f"{self._prefix}{next(self._numbers) & 0xFFFFFFFF:08x}"
        given = headers.get(b"x-request-id")
        request_id = own
        if given is not None and _REQUEST_ID.fullmatch(given):
            request_id = given.decode()
        parent = headers.get(b"traceparent")
        if parent is not None and (match := _TRACEPARENT.fullmatch(parent)):
            return Context(headers, request_id, match[1].decode(), parent.decode())
        return Context(headers, request_id, own, None)

    def _extra(self, context: Context) -> tuple[Header, ...]:
        """The headers that every answer carries."""
        request_id = (b"x-request-id", context.request_id.encode())
        origin = context.headers.get(b"origin")
        if origin is not None and self._rules.origins and self._origin_allowed(origin):
            return (
                request_id,
                *self._always,
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _EXPOSED),
            )
        return (request_id, *self._always)

    def _refusal(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Reply | None:
        """What stops a request before it is routed."""
        limits = self._limits
        pairs = scope["headers"]
        if headers.get(b"host") not in self._known_hosts or len(headers) != len(cast("Any", pairs)):
            reply = self._check_headers(scope, headers)
            if reply is not None:
                return reply
        if len(headers) > limits.header_count or (
            sum(map(len, headers)) + sum(map(len, headers.values())) > limits.header_bytes
        ):
            detail = f"At most {limits.header_count} fields, {limits.header_bytes} bytes together."
            return self._problem(scope, "headers_too_large", detail)
        path = scope["path"]
        if len(path) > limits.path_bytes:
            detail = f"A path has at most {limits.path_bytes} characters."
            return self._problem(scope, "uri_too_long", detail)
        if path.startswith(_EXEMPT):
            return None
        if self.in_flight > limits.concurrency:
            detail = "Too many requests are being served already."
            return self._problem(scope, "overloaded", detail, ((b"retry-after", b"1"),))
        return self._check_rate(scope)

    def _check_rate(self, scope: HTTPScope) -> Reply | None:
        if self._buckets is None:
            return None
        client = scope["client"]
        wait_s = self._buckets.take(client[0] if client else "")
        if not wait_s:
            return None
        retry_after = str(max(1, round(wait_s))).encode()
        detail = f"More than {self._rules.rate:g} requests per second."
        return self._problem(scope, "rate_limited", detail, ((b"retry-after", retry_after),))

    def _check_headers(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Reply | None:
        """Repeated fields, and a Host that is absent or not ours."""
        pairs = list(scope["headers"])
        if len(pairs) > self._limits.header_count:
            detail = f"At most {self._limits.header_count} fields."
            return self._problem(scope, "headers_too_large", detail)
        names = [name for name, _ in pairs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        for name in repeated:
            if name in _SINGLE:
                detail = f"The header {name.decode('latin-1')} may be given once."
                return self._problem(scope, "malformed_request", detail)
            headers[name] = b", ".join(value for key, value in pairs if key == name)
        host = headers.get(b"host")
        if host is None:
            return self._problem(scope, "malformed_request", "The Host header is missing.")
        if not self._host_allowed(host):
            return self._problem(scope, "misdirected_request", "This host is not served here.")
        if len(self._known_hosts) < _MAX_KNOWN_HOSTS:
            self._known_hosts.add(host)
        return None

    def _host_allowed(self, host: bytes) -> bool:
        """Whether the host, whatever its port, is one of ours."""
        name, _, port = host.decode("latin-1").lower().partition(":")
        if host.startswith(b"["):
            name, _, port = host.decode("latin-1").lower().partition("]")
            name, port = name.removeprefix("["), port.removeprefix(":")
        if port and not port.isdecimal():
            return False
        return "*" in self._rules.hosts or name in self._rules.hosts

    def _origin_allowed(self, origin: bytes) -> bool:
        return "*" in self._rules.origins or origin.decode("latin-1") in self._rules.origins

    def _options(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Reply:
        """What a path answers to, for people and for browsers asking before they send."""
        allow = (
            "GET, HEAD, OPTIONS" if scope["path"] == "*" else self._routes.allowed(scope["path"])
        )
        if not allow:
            return self._problem(scope, "not_found", "There is nothing at this address.")
        answer: list[Header] = [(b"allow", allow.encode())]
        origin = headers.get(b"origin")
        asked = headers.get(b"access-control-request-headers", b"")
        preflight = origin is not None and b"access-control-request-method" in headers
        if preflight and self._origin_allowed(origin or b""):
            answer.append((b"access-control-allow-methods", allow.encode()))
            answer.append((b"access-control-allow-headers", asked))
            answer.append((b"access-control-max-age", b"600"))
        return Reply(204, headers=answer)

    def _timed(self, path: str, receive: Receive) -> Receive:
        """A `receive` that gives up on a body that does not arrive."""
        limits = self._limits
        deadline = None if path.startswith(STREAMED) else perf_counter() + limits.body_timeout_s
        waiting = limits.idle_timeout_s

        async def take() -> Any:
            left = waiting if deadline is None else min(waiting, deadline - perf_counter())
            try:
                async with asyncio.timeout(left):
                    return await receive()
            except TimeoutError as failure:
                raise Refusal(
                    "request_timeout",
                    "The body did not arrive in time.",
                    headers=((b"connection", b"close"),),
                ) from failure

        return cast("Callable[[], Awaitable[Any]]", take)

    def _problem(
        self, scope: HTTPScope, code: str, detail: str, headers: tuple[Header, ...] = ()
    ) -> Reply:
        trace_id = cast("Any", scope)["spawn"].trace_id
        return problem_reply(
            code, detail, instance=scope["path"], trace_id=trace_id, headers=headers
        )

    def _observe(self, scope: HTTPScope, method: str, status: int, started: float) -> None:
        """The histogram by route template."""
        self._metrics.observe(method, self._route(scope), status, perf_counter() - started)

    def _write_line(
        self, scope: HTTPScope, method: str, path: str, status: int, started: float
    ) -> None:
        """The access line."""
        client = scope["client"]
        context: Context = cast("Any", scope)["spawn"]
        self._log.append(
            (
                time(),
                method,
                path,
                self._route(scope),
                status,
                perf_counter() - started,
                client[0] if client else "",
                context.request_id,
                context.trace_id,
            )
        )

    def _route(self, scope: HTTPScope) -> str:
        template: str = scope.get("path_template", "")
        return self._templates.get(template) or self._template(template)

    def _template(self, template: str) -> str:
        """The plain form of a route's template; there are as many as routes."""
        plain = self._templates[template] = plain_template(template) if template else "unrouted"
        return plain

    async def _other(self, scope: Any, receive: Receive, send: Send) -> None:
        """Lifespan goes through; there are no WebSockets here."""
        if scope["type"] == ScopeType.WEBSOCKET:
            closing: Any = {"type": "websocket.close", "code": 1008}
            await receive()
            await send(closing)
        else:
            await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    """A `send` for HEAD: the headers of GET, its content length included, and no body."""

    async def forward(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = cast("Message", {**message, "body": b""})
        await send(message)

    return forward
