"""Responses in one write: the same bytes as uvicorn writes in two."""

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from spawn.entrypoints.http.protocol.response import WHOLE, Response
from spawn.entrypoints.http.server import HoldableFlow, JoiningCycle

DATE = (b"date", b"Sun, 29 Nov 2026 06:00:00 GMT")
ETAG = (b"etag", b'"1-1-0"')
BODY = {"type": "http.response.body", "body": b"four", "more_body": False}


class _RecordingTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def _send(
    cycle_class: type[RequestResponseCycle],
    messages: list[Any],
    *,
    method: str = "GET",
    keep_alive: bool = True,
) -> tuple[_RecordingTransport, int, str]:
    """Return the transport, the number of completed responses and any error's type."""
    transport = _RecordingTransport()
    completed: list[None] = []
    cycle = cycle_class(
        scope={"type": "http", "method": method},  # type: ignore[typeddict-item]  # the two keys that it reads
        transport=transport,
        flow=HoldableFlow(transport),
        logger=logging.getLogger("test"),
        access_logger=logging.getLogger("test"),
        access_log=False,
        default_headers=[DATE],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: completed.append(None),
    )
    cycle.more_body = False  # the body of the request has arrived

    async def send_all() -> None:
        for message in messages:
            await cycle.send(message)

    try:
        asyncio.run(send_all())
    except RuntimeError as error:
        return transport, len(completed), str(error)
    return transport, len(completed), ""


def _messages(response: Response) -> list[Any]:
    return [response.head_message, response.body_message]


def _start(status: int, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, WHOLE: True}


@pytest.mark.parametrize(
    "response",
    [
        Response(200, b'{"a":1}', headers=[ETAG]),
        Response(201, b"x" * 200_000),
        Response(200),
        Response(304, headers=[ETAG]),
        Response(204),
        Response(404, b"{}", headers=[(b"link", b"<a\tb>")]),
    ],
    ids=["200", "large", "empty", "304", "204", "tab"],
)
def test_a_whole_response_is_one_write_of_the_same_bytes(response: Response) -> None:
    expected, count, _ = _send(RequestResponseCycle, _messages(response))
    joined, joined_count, error = _send(JoiningCycle, _messages(response))
    assert joined.writes == [b"".join(expected.writes)]
    assert (joined_count, error) == (count, "") == (1, "")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("keep_alive", [True, False], ids=["open", "closing"])
@pytest.mark.parametrize(
    "messages",
    [
        [_start(200, (b"content-length", b"4"), (b"connection", b"close")), BODY],
        [_start(200, (b"content-length", b"5")), BODY],
        [_start(200, (b"content-length", b"3")), BODY],
        [_start(200, (b"content-length", b"-4")), BODY],
        [_start(200), BODY],
        [_start(204), BODY],
        [_start(200, (b"transfer-encoding", b"chunked")), BODY],
        [_start(200, (b"content-length", b"4"), (b"X-Name", b"a")), BODY],
        [_start(200, (b"content-length", b"4"), (b"x-a", b"a\r\nset-cookie: b")), BODY],
        [_start(200, (b"content-length", b"4"), (b"x a", b"a")), BODY],
        [_start(200, (b"content-length", b"4"), (b"content-length", b"5")), BODY],
        [_start(200, (b"content-length", b"8")), {**BODY, "more_body": True}, BODY],
        [_start(200), {**BODY, "more_body": True}, BODY],
        [BODY],
        [_start(200, (b"content-length", b"4")), BODY, BODY],
    ],
)
def test_any_other_response_is_left_to_uvicorn(
    messages: list[Any], method: str, *, keep_alive: bool
) -> None:
    expected, count, expected_error = _send(
        RequestResponseCycle, messages, method=method, keep_alive=keep_alive
    )
    sent, sent_count, error = _send(JoiningCycle, messages, method=method, keep_alive=keep_alive)
    assert b"".join(sent.writes) == b"".join(expected.writes)
    assert (sent_count, error, sent.is_closed) == (count, expected_error, expected.is_closed)


def test_the_head_of_a_stream_is_written_before_its_body() -> None:
    start = {"type": "http.response.start", "status": 200, "headers": []}
    sent, count, _ = _send(JoiningCycle, [start])
    assert sent.writes[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert count == 0


def test_an_error_after_a_held_head_replaces_it() -> None:
    failed = Response(500, b"{}")
    sent, count, _ = _send(
        JoiningCycle, [_start(200, ETAG), failed.head_message, failed.body_message]
    )
    assert b"".join(sent.writes).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"etag" not in b"".join(sent.writes)
    assert count == 1
