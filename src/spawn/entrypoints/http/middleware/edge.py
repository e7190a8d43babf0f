"""The outermost ASGI middleware: limits, request ids, CORS, compression, metrics, access log.

It costs a few microseconds a request. Routing and everything with a domain meaning are in the
application behind it.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from time import perf_counter, time
from typing import Any, Final, cast

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from spawn.application.traffic.client_sites import name_site
from spawn.application.traffic.request_slots import LARGE_BODY_BYTES, HeldPlace
from spawn.application.traffic.traffic_control import TrafficControl
from spawn.application.web_addresses import UNIX
from spawn.domain.errors import DeadlineExceeded, Overloaded
from spawn.domain.principal import PrincipalKind
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.metrics.request_metrics import RequestMetrics
from spawn.entrypoints.http.middleware.access_log import AccessLog
from spawn.entrypoints.http.middleware.arriving_body import UNBOUNDED_PATHS, ArrivingBody
from spawn.entrypoints.http.middleware.compression import is_gzip_accepted, with_compression
from spawn.entrypoints.http.middleware.cors import CorsPolicy
from spawn.entrypoints.http.middleware.hosts import AllowedHosts
from spawn.entrypoints.http.middleware.path_prefix import PathPrefix
from spawn.entrypoints.http.middleware.rate_fields import EXPORTS, find_budget, rate_fields
from spawn.entrypoints.http.middleware.request_audit import RequestAudit
from spawn.entrypoints.http.middleware.request_checks import describe_target_error, is_host
from spawn.entrypoints.http.middleware.request_spans import RequestTracer
from spawn.entrypoints.http.middleware.trusted_proxies import TrustedProxies
from spawn.entrypoints.http.protocol.error_log import INTERNAL_CODE, log_server_error
from spawn.entrypoints.http.protocol.problems import (
    INTERNAL_ERROR_DETAIL,
    NO_ROUTE_DETAIL,
    problem_response,
    retry_after_field,
)
from spawn.entrypoints.http.protocol.response import HSTS, Header, Response
from spawn.entrypoints.http.protocol.route_table import RouteTable, canonical_path, plain_template
from spawn.entrypoints.request_context import (
    AUDIENCE,
    BODY_COMPLETE,
    Audience,
    RequestContext,
    current_request,
    get_request_context,
)
from spawn.ports.access import Authenticator
from spawn.ports.client_presence import ClientPresence, current_presence
from spawn.ports.runtime import current_client

_UNLIMITED_PREFIX: Final = "/monitoring"
"""Paths that are served beyond the limits on concurrency and rate."""

_ADMIN_PATHS: Final = ("/v1/admin/", "/monitoring/metrics/")
"""Paths that only the listener of operators serves, if there is one."""

_SINGLE_HEADERS: Final = frozenset(
    {b"host", b"content-type", b"content-length", b"idempotency-key", b"authorization"}
)
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}"
)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SECURITY_HEADERS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

CLIENT_LEFT_DETAIL: Final = "The client disconnected while its request waited."

REJECTED_PAUSE_S: Final = 1.0
"""Time for which nothing is read from the connection of a client that was just rejected."""

HeadError = tuple[str, str]
"""Code and detail of a problem in the head of a request."""

ProblemPresenter = Callable[[HTTPScope, Response], Response]
"""A function that returns the form of a problem in which a client reads it."""

CachedResponder = Callable[[HTTPScope], Awaitable[Response | None]]
"""A function that returns the cached response to a GET, or None to run the application."""


class AccessRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a deployment: who may call, host names and origins.

    `path_prefix` is the path of the public URL, `own_origin` its origin. `proxies` are the networks
    of proxies that name the client. `has_admin_listener`: operators have a listener of their own.
    """

    authenticator: Authenticator
    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()
    path_prefix: str = ""
    own_origin: str = ""
    proxies: tuple[str, ...] = ()
    has_admin_listener: bool = False


class EdgeMiddleware:
    """The ASGI application that the server runs."""

    def __init__(  # noqa: PLR0913 -- each part is of another concern
        self,
        app: ASGIApp,
        *,
        routes: RouteTable,
        rules: AccessRules,
        limits: HttpLimits,
        traffic: TrafficControl,
        metrics: RequestMetrics,
        log: AccessLog,
        cached_responder: CachedResponder,
        problem_presenter: ProblemPresenter,
        audit: RequestAudit,
        tracer: RequestTracer | None = None,
    ) -> None:
        self._app = app
        self._cached_responder = cached_responder
        self._present_problem = problem_presenter
        self._audit = audit
        self._routes = routes
        self._rules = rules
        self._limits = limits
        self._traffic = traffic
        self._slots = traffic.requests
        self._metrics = metrics
        self._log = log
        self._authenticator = rules.authenticator
        self._tracer = tracer
        self._cors = CorsPolicy(rules.origins, rules.own_origin)
        self._proxies = TrustedProxies(rules.proxies) if rules.proxies else None
        vary = b"accept, accept-encoding" + (b", origin" if self._cors.is_enabled else b"")
        self._fixed_headers: tuple[Header, ...] = (*_SECURITY_HEADERS, (b"vary", vary))
        self._encrypted_headers = (*self._fixed_headers, HSTS)
        self._hosts = AllowedHosts(rules.hosts)
        self._has_admin_listener = rules.has_admin_listener
        self._prefix = PathPrefix(rules.path_prefix) if rules.path_prefix else None
        self._templates: dict[str, str] = {}
        self._id_prefix = secrets.token_hex(12)
        self._id_numbers = count(1)
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, from its head to its line in the access log."""
        if scope["type"] != ScopeType.HTTP:
            await self._handle_other_scope(scope, receive, send)
            return
        start_time = perf_counter()
        original_path = scope["path"]
        method: str = scope["method"]
        context = self._build_context(dict(scope["headers"]))
        if self._proxies is not None:
            self._set_client(scope, context.headers)
        scope["spawn"] = context  # type: ignore[typeddict-unknown-key]  # ASGI scopes are open
        path = original_path if self._prefix is None else self._prefix.strip(original_path)
        scope["path"] = canonical_path(path)
        current_request.set(context)
        status, is_observed = 0, False
        common_headers = self._common_headers(scope, context)

        async def respond(message: Message) -> None:
            nonlocal status, is_observed
            if message["type"] != "http.response.start":
                await send(message)
                return
            status = message["status"]
            if context.is_stream:
                is_observed = True
                self._end_request(scope, context, status, start_time)
            await send(self._complete_start(message, context, common_headers))

        self.in_flight += 1
        try:
            await self._serve(scope, receive, respond, context)
            if context.is_rejected:
                # A client that goes on at once would cost more to reject than to serve.
                cast("Any", scope).get("spawn.pause", _do_nothing)(REJECTED_PAUSE_S)
        except Exception as error:  # noqa: BLE001 -- the outermost handler: every request gets a response
            error_id = log_server_error(
                INTERNAL_CODE, INTERNAL_ERROR_DETAIL, method=method, path=scope["path"], error=error
            )
            if status:
                await _abort_response(scope, receive, error)
            else:
                response = self._problem(
                    scope, INTERNAL_CODE, INTERNAL_ERROR_DETAIL, error_id=error_id
                )
                await response(scope, receive, respond)
        finally:
            if not is_observed:
                self._end_request(scope, context, status, start_time)
            self._log_access(scope, context, original_path, status, start_time)

    async def _serve(
        self, scope: HTTPScope, receive: Receive, respond: Send, context: RequestContext
    ) -> None:
        """Reject the request, respond without the application, or run the application."""
        headers = context.headers
        method: str = scope["method"]
        if method == "HEAD":
            context.is_head = True
            respond = _without_body(respond)
        accept_encoding = headers.get(b"accept-encoding")
        if accept_encoding is not None and is_gzip_accepted(accept_encoding):
            if_none_match = headers.get(b"if-none-match")
            respond = with_compression(respond, self._limits.gzip_bytes, if_none_match)
        response = self._reject(scope, headers)
        if response is None and method == "OPTIONS":
            response = self._options_response(scope, headers)
        if response is not None:
            await response(scope, receive, respond)
            return
        context.authentication = await self._authenticator.authenticate(
            headers.get(b"authorization")
        )
        if scope["path"].startswith(_UNLIMITED_PREFIX):
            await self._dispatch(scope, receive, respond)
            return
        context.client = _find_client(scope, context)
        current_client.set(context.client)
        byte_range = None if b"if-range" in headers else headers.get(b"range")
        budget = find_budget(method, scope["path"], byte_range)
        response = self._reject_above_rate(scope, context, budget)
        if response is None and method == "GET":
            # A cached response waits for nothing, and needs no place.
            cached = await self._cached_responder(scope)
            if cached is not None:
                self._metrics.cached_responses += 1
                await self._in_span(cached, context)(scope, receive, respond)
                return
        if response is None:
            response = await self._serve_in_place(scope, receive, respond, context, budget)
        if response is not None:
            context.is_rejected = True
            await response(scope, receive, respond)

    async def _serve_in_place(
        self,
        scope: HTTPScope,
        receive: Receive,
        respond: Send,
        context: RequestContext,
        budget: str,
    ) -> Response | None:
        """Serve the request in the place that it needs; return a problem if it cannot be served."""
        context.place = place = HeldPlace(context.client)
        # A client that leaves ends the waits before the handler, and in it those of a request that
        # changes nothing: the route of a command resets the presence, and runs to its end.
        current_presence.set(presence := ClientPresence())
        cast("Any", scope).get("spawn.when_left", _do_nothing)(presence.leave)
        try:
            receive = await self._take_place(scope, receive, place, budget)
            await self._dispatch(scope, receive, respond)
        except (Overloaded, DeadlineExceeded) as error:
            if place.has_response:
                raise
            retry_after = retry_after_field(error.retry_after_s)
            return self._problem(scope, error.code, error.detail, (retry_after,))
        except asyncio.CancelledError:
            if place.has_response or not presence.take_cancellation():
                raise
            return self._problem(scope, "request_timeout", CLIENT_LEFT_DETAIL)
        return None

    async def _take_place(
        self, scope: HTTPScope, receive: Receive, place: HeldPlace, budget: str
    ) -> Receive:
        """Take the place that the request needs, and return its `receive`.

        Raises:
            Overloaded: there is none.
            CancelledError: the client disconnected while it waited for its turn.
        """
        traffic, path = self._traffic, scope["path"]
        headers = get_request_context(scope).headers
        has_small_body = (
            BODY_COMPLETE in scope
            and b"transfer-encoding" not in headers
            and int(headers.get(b"content-length", b"0")) <= LARGE_BODY_BYTES
        )
        if scope["method"] in _SAFE_METHODS or has_small_body:
            if budget == EXPORTS:
                place.take(traffic.exports)
            else:
                await place.take_slot(self._slots)
            return receive
        is_upload = path.startswith(UNBOUNDED_PATHS)
        place.take(traffic.uploads if is_upload else traffic.bodies)
        slots = None if is_upload else self._slots
        return ArrivingBody(path, receive, self._limits, place, slots).receive

    async def _dispatch(self, scope: HTTPScope, receive: Receive, respond: Send) -> None:
        """Run the application; HEAD runs as GET."""
        method: str = scope["method"]
        if method == "HEAD":
            get_scope = cast("HTTPScope", {**scope, "method": "GET"})
            await self._run(get_scope, receive, respond)
            scope["path_template"] = get_scope.get("path_template", "")
        else:
            await self._run(scope, receive, respond)

    async def _run(self, scope: HTTPScope, receive: Receive, respond: Send) -> None:
        """Run the application, inside a span if tracing is on.

        Raises:
            DeadlineExceeded: the request takes too long, and no response has begun.
        """
        context = get_request_context(scope)
        run = self._in_span(self._app, context)
        place = context.place
        if place is None or scope["path"].startswith(UNBOUNDED_PATHS):
            await run(scope, receive, respond)
            return
        self._traffic.begin(place)
        try:
            await run(scope, receive, respond)
        except asyncio.CancelledError:
            place.raise_if_expired()
            raise
        finally:
            self._traffic.end(place)

    def _in_span(self, app: ASGIApp, context: RequestContext) -> ASGIApp:
        """Return the application, inside a span of the request if that is recorded."""
        if self._tracer is None or not context.is_sampled:
            return app
        return partial(self._tracer.run, app)

    def _set_client(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> None:
        """Replace the address of a trusted proxy by that of its client."""
        forwarded_for = headers.get(b"x-forwarded-for")
        peer = _find_peer(scope)
        if forwarded_for is None or self._proxies is None:
            return
        pairs = scope["headers"]
        if len(headers) != len(cast("Any", pairs)):
            values = (value for name, value in pairs if name == b"x-forwarded-for")
            forwarded_for = b",".join(values)
        client = self._proxies.client_of(peer, forwarded_for)
        if client != peer:
            scope["client"] = (client, 0)

    def _build_context(self, headers: dict[bytes, bytes]) -> RequestContext:
        """Return the context; valid ids of the client are used, others are generated."""
        path_prefix = self._rules.path_prefix
        generated_id = f"{self._id_prefix}{next(self._id_numbers) & 0xFFFFFFFF:08x}"
        client_id = headers.get(b"x-request-id")
        request_id = generated_id
        if client_id is not None and _REQUEST_ID.fullmatch(client_id):
            request_id = client_id.decode()
        parent = headers.get(b"traceparent")
        if parent is not None and (match := _TRACEPARENT.fullmatch(parent)):
            trace_id, traceparent = match[1].decode(), parent.decode()
            context = RequestContext(headers, request_id, trace_id, traceparent, path_prefix)
        else:
            context = RequestContext(headers, request_id, generated_id, None, path_prefix)
        context.is_sampled = self._tracer is not None and self._tracer.draw(context.traceparent)
        return context

    def _common_headers(self, scope: HTTPScope, context: RequestContext) -> tuple[Header, ...]:
        """Return the headers that every response has."""
        request_id = (b"x-request-id", context.request_id.encode())
        is_encrypted = scope["scheme"] == "https"
        fixed_headers = self._encrypted_headers if is_encrypted else self._fixed_headers
        origin = context.headers.get(b"origin")
        if origin is None:
            return (request_id, *fixed_headers)
        return (request_id, *fixed_headers, *self._cors.response_headers(origin))

    def _reject(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Response | None:
        """Return the problem that rejects the request before routing; None if it may pass."""
        pairs: Any = scope["headers"]
        if headers.get(b"host") not in self._hosts.cache or len(headers) != len(pairs):
            response = self._reject_headers(scope, headers)
            if response is not None:
                return response
        error = self._find_size_error(scope, headers) or self._find_head_error(scope, headers)
        if error is None and self._has_admin_listener and _is_served_elsewhere(scope):
            error = "not_found", NO_ROUTE_DETAIL
        if error is not None:
            return self._problem(scope, *error)
        return None

    def _find_size_error(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> HeadError | None:
        """Return what is too large about the head."""
        limits = self._limits
        if len(headers) > limits.header_count or (
            sum(map(len, headers)) + sum(map(len, headers.values())) > limits.header_bytes
        ):
            return "headers_too_large", (
                f"The head exceeds {limits.header_count} header fields or "
                f"{limits.header_bytes} bytes."
            )
        if len(scope["path"]) > limits.path_bytes:
            return "uri_too_long", f"The path exceeds {limits.path_bytes} characters."
        return None

    def _find_head_error(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> HeadError | None:
        """Return what is wrong with the target, the framing or the origin."""
        raw_path = scope["raw_path"]
        if b"%" in raw_path or b"//" in raw_path or b"/." in raw_path:
            detail = describe_target_error(raw_path)
            if detail:
                return "malformed_request", detail
        if b"transfer-encoding" in headers and headers[b"transfer-encoding"].lower() != b"chunked":
            return "not_implemented", (
                "The body has another transfer coding than chunked: send it without."
            )
        if scope["method"] not in _SAFE_METHODS and self._is_foreign(headers):
            return "cross_origin_request", (
                "A page of another origin sent this request: send credentials, or let the operator"
                " add the origin to SPAWN_CORS_ORIGINS."
            )
        return None

    def _is_foreign(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a page of another origin sent the request, without credentials of its own."""
        return b"authorization" not in headers and self._cors.is_foreign(headers)

    def _reject_above_rate(
        self, scope: HTTPScope, context: RequestContext, budget: str
    ) -> Response | None:
        bucket = self._traffic.buckets.get(budget)
        if bucket is None:
            return None
        left = bucket.take(context.client)
        if 2 * left >= bucket.burst:
            return None
        context.rate_headers = rate_fields(bucket, left)
        if left >= 0:
            return None
        self._traffic.rate_limited_count += 1
        detail = f"The client exceeded its budget of {bucket.rate_per_s:g} {bucket.name} a second."
        return self._problem(scope, "rate_limited", detail, (retry_after_field(-left),))

    def _reject_headers(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Response | None:
        """Reject repeated fields and a Host that is absent or not allowed.

        Repeated fields that may repeat are joined in `headers`.
        """
        pairs = list(scope["headers"])
        if len(pairs) > self._limits.header_count:
            detail = f"The head exceeds {self._limits.header_count} header fields."
            return self._problem(scope, "headers_too_large", detail)
        names = [name for name, _ in pairs]
        repeated_names = sorted({name for name in names if names.count(name) > 1})
        for name in repeated_names:
            if name in _SINGLE_HEADERS:
                detail = f"The header {name.decode('latin-1')} is repeated; send it once."
                return self._problem(scope, "malformed_request", detail)
            headers[name] = b", ".join(value for key, value in pairs if key == name)
        error = self._find_host_error(scope, headers.get(b"host"))
        return None if error is None else self._problem(scope, *error)

    def _find_host_error(self, scope: HTTPScope, host: bytes | None) -> HeadError | None:
        """Return what is wrong with the Host header; probes may name any host."""
        is_probe = scope["path"].startswith(_UNLIMITED_PREFIX)
        if host is None:
            # RFC 9112, 3.2: HTTP/1.0 needs none, and health checks of some balancers send none.
            if is_probe and scope["http_version"] == "1.0":
                return None
            return "malformed_request", "The Host header is missing."
        if not is_host(host):
            return "malformed_request", "The Host header is neither a host name nor an address."
        if not (is_probe or self._hosts.is_allowed(host)):
            return "misdirected_request", (
                f"The host {host.decode('ascii')[:255]} is not served: the operator can add it to"
                " SPAWN_ALLOWED_HOSTS, or set it as the host of SPAWN_PUBLIC_URL."
            )
        return None

    def _options_response(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Response:
        """Return the methods of a path, to clients and to preflight requests of browsers."""
        path = scope["path"]
        allow = "GET, HEAD, OPTIONS" if path == "*" else self._routes.allowed_methods(path)
        if not allow:
            return self._problem(scope, "not_found", NO_ROUTE_DETAIL)
        preflight_headers = self._cors.preflight_headers(headers, allow.encode())
        return Response(204, headers=[(b"allow", allow.encode()), *preflight_headers])

    def _problem(
        self,
        scope: HTTPScope,
        code: str,
        detail: str,
        headers: tuple[Header, ...] = (),
        error_id: str | None = None,
    ) -> Response:
        problem = problem_response(
            code,
            detail,
            instance=scope["path"],
            context=get_request_context(scope),
            headers=headers,
            error_id=error_id,
        )
        return self._present_problem(scope, problem)

    def _complete_start(
        self, message: Any, context: RequestContext, common_headers: tuple[Header, ...]
    ) -> Any:
        """Return the start of a response with the headers that every one has."""
        if context.place is not None:
            context.place.has_response = True
            current_presence.set(None)  # a response that has begun ends as its stream does
        headers = message["headers"]
        if self._prefix is not None:
            headers = self._prefix.add_to_links(headers)
        return {**message, "headers": [*headers, *common_headers, *context.rate_headers]}

    def _end_request(
        self, scope: HTTPScope, context: RequestContext, status: int, start_time: float
    ) -> None:
        """Release the place of the request; record it for its route and, if need be, the audit."""
        self.in_flight -= 1
        if context.place is not None:
            context.place.release()
        duration_s, template = perf_counter() - start_time, self._route_template(scope)
        self._metrics.observe(scope["method"], template, status, duration_s)
        self._audit.observe(scope, context, template, status)

    def _log_access(
        self,
        scope: HTTPScope,
        context: RequestContext,
        path: str,
        status: int,
        start_time: float,
    ) -> None:
        """Append the request to the access log."""
        client = scope["client"]
        self._log.append(
            (
                time(),
                scope["method"],
                path,
                self._route_template(scope),
                status,
                perf_counter() - start_time,
                client[0] if client else "",
                context.request_id,
                context.trace_id,
            )
        )

    def _route_template(self, scope: HTTPScope) -> str:
        template: str = scope.get("path_template", "")
        return self._templates.get(template) or self._cache_template(template)

    def _cache_template(self, template: str) -> str:
        """Cache and return the plain form of a route's template; one entry per route."""
        plain = self._templates[template] = plain_template(template) if template else "unrouted"
        return plain

    async def _handle_other_scope(self, scope: Any, receive: Receive, send: Send) -> None:
        """Pass lifespan events on and close WebSockets, which the service does not have."""
        if scope["type"] == ScopeType.WEBSOCKET:
            close_message: Any = {"type": "websocket.close", "code": 1008}
            await receive()
            await send(close_message)
        else:
            await self._app(scope, receive, send)


def _find_client(scope: HTTPScope, context: RequestContext) -> str:
    """Return whom limits count: the principal of valid credentials, else the address."""
    principal = context.authentication.principal
    if principal.kind is PrincipalKind.KEY or principal.kind is PrincipalKind.TOKEN:
        return principal.id
    return name_site(_find_peer(scope))


def _find_peer(scope: HTTPScope) -> str:
    """Return the address of the connection; `unix` if it is one of a Unix socket."""
    address, server = scope["client"], scope["server"]
    if address:
        return address[0]
    return UNIX if server is not None and server[1] is None else ""


def _is_served_elsewhere(scope: HTTPScope) -> bool:
    """Whether a path belongs to another listener than the one that the request came through."""
    path = scope["path"] + "/"
    is_admin_path = path.startswith(_ADMIN_PATHS)
    if cast("Any", scope).get(AUDIENCE, Audience.PUBLIC) is Audience.ADMIN:
        return not (is_admin_path or path.startswith(_UNLIMITED_PREFIX))
    return is_admin_path


def _do_nothing(*_: object) -> None:
    """Do nothing; the server is not one of ours."""


async def _abort_response(scope: Any, receive: Receive, error: Exception) -> None:
    """Break the connection, so that no client takes the incomplete response for whole.

    The server would do the same, and log the error a second time.
    """
    abort = scope.get("spawn.abort")
    if abort is None:
        raise error
    abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def _without_body(send: Send) -> Send:
    """Wrap `send` for HEAD: the headers of GET, its content length included, and no body."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = cast("Message", {**message, "body": b""})
        await send(message)

    return send_head
