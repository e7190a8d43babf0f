"""OpenTelemetry spans of requests."""

from random import random
from typing import Any, Final

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from spawn.entrypoints.http.protocol.route_table import plain_template
from spawn.entrypoints.request_context import get_request_context

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_SERVER_ERROR: Final = 500

SAMPLE_RATIO: Final = 0.1
"""Share of requests whose spans are recorded, where the caller has not decided."""

_SAMPLED_FLAG: Final = 1


class RequestTracer:
    """Opens spans; created only where a tracer is configured, so that others pay nothing."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def draw(self, traceparent: str | None) -> bool:
        """Return whether to record the spans of a request: the client decides, else chance.

        The others run without any span: one that is not recorded costs 160 µs with its children,
        and cached responses could not be sent before routing.
        """
        if traceparent is None:
            return random() < SAMPLE_RATIO  # noqa: S311 -- a sample keeps no secret
        return bool(int(traceparent[-2:], 16) & _SAMPLED_FLAG)

    async def run(self, app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Run the application inside a span of the request, a child of the client's if any."""
        context = get_request_context(scope)
        carrier = {} if context.traceparent is None else {"traceparent": context.traceparent}
        method: str = scope["method"]
        status = 0

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if context.is_stream:
                    _end_span(span, scope, method, status)
            await send(message)

        with self._tracer.start_as_current_span(
            method,
            context=_PROPAGATOR.extract(carrier),
            kind=SpanKind.SERVER,
            end_on_exit=False,
        ) as span:
            self._set_span(context, span)
            try:
                await app(scope, receive, send_and_record)
            finally:
                if not context.is_stream:
                    _end_span(span, scope, method, status)

    @staticmethod
    def _set_span(context: Any, span: trace.Span) -> None:
        """Set the ids of the span in the request context, for logs, problems and events."""
        span_context = span.get_span_context()
        if span_context.is_valid:
            context.trace_id = f"{span_context.trace_id:032x}"
            context.span_id = f"{span_context.span_id:016x}"
            context.traceparent = (
                f"00-{context.trace_id}-{context.span_id}-{int(span_context.trace_flags):02x}"
            )


def _end_span(span: trace.Span, scope: HTTPScope, method: str, status: int) -> None:
    """Name the span after its route, record the status, and end it."""
    if span.is_recording():
        route = plain_template(scope.get("path_template", ""))
        span.update_name(f"{method} {route}")
        span.set_attribute("http.request.method", method)
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))
    span.end()
