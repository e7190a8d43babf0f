"""What is known of the request in hand, for its routes and for the log lines it causes."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, cast

BODY_IS_HERE: Final = "spawn.body_is_here"
"""Set in a scope by a server that has the whole body already: there is nothing to wait for."""


class Context:
    """What the wrapper found out about a request before it was routed.

    `headers` are by lower-case name; `trace_id` is 32 hex digits, the caller's if it sent one.
    `bodiless`: only the head of the answer is wanted. `streams`: the answer is without an end, so
    the request counts as served once its head is sent.
    """

    __slots__ = (
        "bodiless",
        "headers",
        "request_id",
        "span_id",
        "streams",
        "trace_id",
        "traceparent",
    )

    def __init__(
        self,
        headers: dict[bytes, bytes],
        request_id: str,
        trace_id: str,
        traceparent: str | None,
    ) -> None:
        self.headers = headers
        self.request_id = request_id
        self.trace_id = trace_id
        self.traceparent = traceparent
        self.span_id: str | None = None
        self.bodiless = False
        self.streams = False


current: Final[ContextVar[Context | None]] = ContextVar("spawn_request", default=None)
"""The request in whose task this code runs."""


def context_of(scope: Mapping[str, Any] | Any) -> Context:
    """The context that the wrapper put into the ASGI scope."""
    return cast("Context", scope["spawn"])
