"""Context of the current request, for its routes and its log lines."""

import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from enum import Enum
from typing import Any, Final, Self

from spawn.application.traffic.request_slots import HeldPlace
from spawn.ports.access import UNAUTHENTICATED, Authentication

BODY_COMPLETE: Final = "spawn.body_complete"
"""Scope key that a server sets once it has the whole body, so that no wait is needed."""

AUDIENCE: Final = "spawn.audience"
"""Scope key with the audience of the listener that a request came through."""


class Audience(Enum):
    """Audience of a listener: everybody, or clients and operators apart."""

    ALL = "all"
    PUBLIC = "public"
    ADMIN = "admin"


class RequestContext:
    """Facts about a request that the edge middleware found before routing.

    `headers` are by lower-case name; `trace_id` is 32 hex digits, the client's if it sent one.
    `path_prefix` is the path of the public URL, which begins every link of the response.
    `is_head`: the client wants only the head of the response. `is_stream`: the response has no
    end, so the request counts as served once its head is sent. `authentication` is known once the
    middleware has checked the credentials. `client` is whom limits count: the principal with
    credentials, else the address; `place` is what the request holds of them, and `rate_headers`
    tell a client that nears its budget. `is_rejected`: the request exceeded a budget, or found a
    bounded queue or pool full. `is_sampled`: spans of the request are recorded. `audit_detail` is
    what an act says about itself in the audit log, beside its address.
    """

    __slots__ = (
        "audit_detail",
        "authentication",
        "client",
        "headers",
        "is_head",
        "is_rejected",
        "is_sampled",
        "is_stream",
        "path_prefix",
        "place",
        "rate_headers",
        "request_id",
        "span_id",
        "trace_id",
        "traceparent",
    )

    def __init__(
        self,
        headers: dict[bytes, bytes],
        request_id: str,
        trace_id: str,
        traceparent: str | None,
        path_prefix: str = "",
    ) -> None:
        self.headers = headers
        self.request_id = request_id
        self.trace_id = trace_id
        self.traceparent = traceparent
        self.path_prefix = path_prefix
        self.span_id: str | None = None
        self.is_head = False
        self.is_stream = False
        self.is_rejected = False
        self.is_sampled = False
        self.client = ""
        self.place: HeldPlace | None = None
        self.rate_headers: tuple[tuple[bytes, bytes], ...] = ()
        self.authentication: Authentication = UNAUTHENTICATED
        self.audit_detail = ""

    @classmethod
    def unrouted(cls, path_prefix: str) -> Self:
        """Return the context of a request that the application never sees."""
        return cls({}, "", secrets.token_hex(16), None, path_prefix)


current_request: Final[ContextVar[RequestContext | None]] = ContextVar(
    "spawn_request", default=None
)
"""Context of the request in whose task this code runs."""


def public_path(path: str) -> str:
    """Return the path under which clients reach a path of the service."""
    context = current_request.get()
    return path if context is None else context.path_prefix + path


def get_request_context(scope: Mapping[str, Any] | Any) -> RequestContext:
    """Return the context that the edge middleware put into the ASGI scope."""
    context: RequestContext = scope["spawn"]
    return context
