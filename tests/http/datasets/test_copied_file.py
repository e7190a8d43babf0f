"""The response with the bytes of a copy: all, a range or none, and its end before the last byte."""

import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, cast

import pytest

from spawn.adapters.local.file_copies import FileCopy
from spawn.domain.events.position import Position
from spawn.entrypoints.http.datasets.copied_file import CopyResponse
from spawn.entrypoints.http.datasets.streamed_file import DatasetFile
from spawn.entrypoints.http.protocol.response import CredentialsEnded

CONTENT = bytes(range(256)) * 1024


class PermittedFile:
    """A file of all rows whose credentials end after some looks at them."""

    is_of_row_scope = False

    def __init__(self, permitted_checks: int) -> None:
        self._permitted_checks = permitted_checks

    def headers(self, cursor: str) -> list[tuple[bytes, bytes]]:
        return [(b"content-type", b"text/csv"), (b"spawn-position", cursor.encode())]

    async def check_access(self) -> None:
        self._permitted_checks -= 1
        if self._permitted_checks < 0:
            raise CredentialsEnded("The credentials ended before the export did.")


@pytest.fixture
def copy() -> Iterator[FileCopy]:
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        key = ("reader", "/v1/data/projects.csv")
        yield FileCopy(key, Position(1, 2), file, '"abc"', len(CONTENT))


async def respond(
    copy: FileCopy, part: tuple[int, int] | None = None, *, permitted: int = 100, **options: Any
) -> tuple[int, dict[bytes, bytes], bytes, bool]:
    """Return status, headers and body of a response, and whether its connection was broken."""
    messages, aborts = list[Any](), list[bool]()
    file = cast("DatasetFile", PermittedFile(permitted))

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        raise AssertionError("the response waits for nothing")

    scope: Any = {"spawn.abort": lambda: aborts.append(True)}
    await CopyResponse(file, copy, part, **options)(scope, receive, send)
    begin, *parts = messages
    body = b"".join(one["body"] for one in parts)
    return begin["status"], dict(begin["headers"]), body, bool(aborts)


@pytest.mark.parametrize(
    ("part", "options", "status", "length", "body"),
    [
        (None, {}, 200, b"262144", CONTENT),
        ((4, 9), {}, 206, b"5", CONTENT[4:9]),
        ((0, 1), {}, 206, b"1", CONTENT[:1]),
        (None, {"is_head": True}, 200, b"262144", b""),
        (None, {"status": HTTPStatus.NOT_MODIFIED}, 304, None, b""),
    ],
    ids=["all", "range", "first byte", "head", "not modified"],
)
async def test_a_response_has_exactly_the_bytes_of_its_headers(
    copy: FileCopy,
    part: tuple[int, int] | None,
    options: dict[str, Any],
    status: int,
    length: bytes | None,
    body: bytes,
) -> None:
    got, headers, received, is_broken = await respond(copy, part, **options)
    assert (got, headers.get(b"content-length"), is_broken) == (status, length, False)
    assert received == body
    assert (headers[b"etag"], headers[b"spawn-position"]) == (b'"abc"', b"1.2")


async def test_a_copy_is_read_no_more_once_the_credentials_have_ended(
    copy: FileCopy,
) -> None:
    _, _, body, is_broken = await respond(copy, permitted=0)
    assert (body, is_broken) == (b"", True)
    assert copy.is_unused_for(0.0)
