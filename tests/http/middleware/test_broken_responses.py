"""What the middleware knows of a connection, and how it breaks one off."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from spawn.entrypoints.http.middleware.edge import _abort_response, _find_peer
from spawn.entrypoints.http.middleware.request_spans import RequestTracer
from spawn.entrypoints.request_context import RequestContext


@pytest.mark.parametrize(
    ("client", "server", "peer"),
    [
        (("192.0.2.7", 4000), ("127.0.0.1", 8080), "192.0.2.7"),
        (("192.0.2.7", 4000), ("/run/spawn.sock", None), "192.0.2.7"),
        (None, ("/run/spawn.sock", None), "unix"),
        (None, ("127.0.0.1", 8080), ""),
        (None, None, ""),
    ],
)
def test_the_peer_is_the_address_or_the_unix_socket(client: Any, server: Any, peer: str) -> None:
    scope: Any = {"client": client, "server": server}
    assert _find_peer(scope) == peer


async def test_a_failed_response_breaks_the_connection_and_waits_for_its_end() -> None:
    events = list[str]()

    async def receive() -> Any:
        kind = "http.request" if events == ["abort"] else "http.disconnect"
        events.append(kind)
        return {"type": kind}

    scope: Any = {"spawn.abort": lambda: events.append("abort")}
    await _abort_response(scope, receive, ValueError("the rows ended"))
    assert events == ["abort", "http.request", "http.disconnect"]


async def test_another_server_gets_the_error_of_a_failed_response() -> None:
    async def receive() -> Any:
        raise AssertionError("nothing is awaited")

    error = ValueError("the rows ended")
    with pytest.raises(ValueError, match="the rows ended") as raised:
        await _abort_response({}, receive, error)
    assert raised.value is error


def test_a_request_has_the_ids_of_its_span() -> None:
    tracer = TracerProvider().get_tracer("spawn")
    span = tracer.start_span("GET")
    ids, context = span.get_span_context(), RequestContext.unrouted("")
    RequestTracer._set_span(context, span)
    span.end()
    trace_id, span_id = f"{ids.trace_id:032x}", f"{ids.span_id:016x}"
    assert (context.trace_id, context.span_id) == (trace_id, span_id)
    assert context.traceparent == f"00-{trace_id}-{span_id}-{int(ids.trace_flags):02x}"
