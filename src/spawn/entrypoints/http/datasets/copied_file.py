"""Files of datasets with a length and byte ranges (RFC 9110, 14), from a copy on the disk.

Lazy readers, such as those of Polars and DuckDB, ask for the length by HEAD and then read parts. A
stream has neither, so HEAD and Range write the file to the disk once; each part is of that copy.
"""

import re
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

from litestar.types import Receive, Scope, Send

from spawn.adapters.local.file_copies import ACTIVE_S, CopyKey, FileCopies, FileCopy
from spawn.application.datasets.dataset_columns import DatasetName
from spawn.domain.errors import Conflict, CursorExpired, CursorInvalid, StorageFull
from spawn.entrypoints.http.datasets.streamed_file import DatasetFile, is_compressed
from spawn.entrypoints.http.protocol.etags import is_not_modified
from spawn.entrypoints.http.protocol.negotiation import BYTE_RANGE, is_later_part, is_reversed
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import (
    CredentialsEnded,
    Header,
    SelfSentResponse,
    break_off,
)
from spawn.entrypoints.http.state import StateKey

COPIES: Final = StateKey(FileCopies)
_ETAG: Final = re.compile(r'"[^"]*"')


async def respond_with_copy(request: StrictRequest, file: DatasetFile) -> "CopyResponse | None":
    """Return the response to HEAD, or to a request for a range; None for a stream.

    A HEAD of a file that the client would get compressed describes the stream, which has no length.
    So does one of a file that is too large for a copy. A client that names an ETag has it of a
    copy: the file is written again, and is not sent if its bytes are the same.

    Raises:
        Overloaded: the copy is not ready in time.
        RequestProblem: 416, the file has no such bytes.
        Conflict: there is no copy that the range can be of.
    """
    copies, key = request.http_state[COPIES], _build_key(request, file)
    text = request.header(b"range")
    if request.header(b"if-match") == "":
        raise RequestProblem("stale_version", "If-Match names no edition: send an ETag or *.")
    if request.header(b"if-match") and (request.context.is_head or text is None):
        copy = await _find_for_range(request, copies, key, file, "")
        return CopyResponse(file, copy, None, is_head=request.context.is_head)
    is_head, tags = request.context.is_head, request.header(b"if-none-match")
    if is_head or (tags and text is None):
        return await _respond_unless_known(request, file, copies, key, tags)
    if text is None:
        return None
    copy = await _find_for_range(request, copies, key, file, text)
    if is_not_modified(tags, copy.etag):
        return CopyResponse(file, copy, None, status=HTTPStatus.NOT_MODIFIED)
    bounds = None if _is_changed(request.header(b"if-range"), copy) else _read_range(text, copy)
    return CopyResponse(file, copy, bounds)


async def _respond_unless_known(
    request: StrictRequest, file: DatasetFile, copies: FileCopies, key: CopyKey, tags: str | None
) -> "CopyResponse | None":
    """Return the response to HEAD or to If-None-Match: 304 if the client has the bytes already."""
    is_head, is_stream = request.context.is_head, is_compressed(request, file.format)
    if is_stream and not tags:
        return None
    try:
        copy = await _find_current(request, copies, key, file)
    except (Conflict, StorageFull):
        return None
    if tags and is_not_modified(tags, copy.etag):
        return CopyResponse(file, copy, None, status=HTTPStatus.NOT_MODIFIED)
    if is_stream:
        return None
    if is_head:
        copy.touch()
    return CopyResponse(file, copy, None, is_head=is_head)


def _build_key(request: StrictRequest, file: DatasetFile) -> CopyKey:
    view, parameters = file.query.view, sorted(request.query.items())
    version = "" if view is None else str(view.schema.version)
    texts = (text for item in parameters if item[0] != "format" for text in item)
    rows = str(request.principal.row_scope)
    return (request.principal.id, rows, file.query.name, file.format, version, *texts)


async def _find_current(
    request: StrictRequest, copies: FileCopies, key: CopyKey, file: DatasetFile
) -> FileCopy:
    """Return the newest copy if nothing has changed since, else a new one."""
    found = copies.find(key)
    if found and await _is_current(request, found[-1], file):
        return found[-1]
    copy = await copies.write(key, file.position, file.read_recorded)
    if copy.position < file.position and not await _is_current(request, copy, file):
        # It was begun for an earlier request, before the last change.
        copy = await copies.write(key, file.position, file.read_recorded)
    return copy


async def _is_current(request: StrictRequest, copy: FileCopy, file: DatasetFile) -> bool:
    """Whether the feed has no change after the copy; it lacks some that other datasets have.

    The feed of a row scope lacks the departure of a project from it. A file as of an instant
    never changes, since the instant has passed.
    """
    if request.principal.row_scope is not None:
        return False
    is_in_feed = file.query.name in {DatasetName.PROJECTS, DatasetName.HISTORY, DatasetName.EVENTS}
    if not is_in_feed or file.query.event_filter.has_lineage_types:
        return False
    try:
        page = await request.dependencies.reads.feed(after=copy.position, limit=1)
    except (CursorExpired, CursorInvalid):
        return False
    return not page.entries or file.query.query.as_of is not None


async def _find_for_range(
    request: StrictRequest, copies: FileCopies, key: CopyKey, file: DatasetFile, text: str
) -> FileCopy:
    """Return the edition that earlier parts were read of; the first part may write one."""
    found = copies.find(key)
    if tags := request.header(b"if-match"):
        found = [one for one in found if tags == "*" or one.etag in _ETAG.findall(tags)]
        if not found:
            raise RequestProblem("stale_version", "The file has changed: begin again with a HEAD.")
        return found[-1]
    if tag := request.header(b"if-range"):
        found = [one for one in found if one.etag == tag] or found
    match, is_first = BYTE_RANGE.fullmatch(text), not is_later_part(text)
    is_suffix = match is not None and not match[1]
    if found:
        newest, is_described = found[-1], found[-1].is_described
        newest.is_described = False
        # A suffix, or the first bytes, begin a reading that may have had no HEAD.
        is_read = is_described or not (is_suffix or newest.is_unused_for(ACTIVE_S))
        if is_read or not is_first:
            return newest
    if not is_first:
        raise Conflict("There is no copy that earlier parts were read of: begin with a HEAD.")
    return await _find_current(request, copies, key, file)


def _is_changed(if_range: str | None, copy: FileCopy) -> bool:
    return if_range is not None and if_range != copy.etag


def _read_range(text: str, copy: FileCopy) -> tuple[int, int] | None:
    """Return first byte and end of a range; None for what is served whole, such as two ranges.

    Raises:
        RequestProblem: 416, the range begins behind the end.
    """
    match = BYTE_RANGE.fullmatch(text)
    if match is None or not (match[1] or match[2]) or is_reversed(match):
        return None
    size = copy.size_bytes
    if not match[1]:
        start, stop = max(size - int(match[2]), 0), size
    else:
        start, stop = int(match[1]), min(int(match[2] or size) + 1, size)
    if start >= size:
        raise RequestProblem(
            "range_not_satisfiable",
            f"The file has {size} bytes.",
            headers=((b"content-range", b"bytes */%d" % size),),
        )
    return start, stop


class CopyResponse(SelfSentResponse):
    """The bytes of a copy: all of them, a range, or none for HEAD."""

    __slots__ = ("_body_range", "_copy", "_file", "_headers", "_status")

    def __init__(
        self,
        file: DatasetFile,
        copy: FileCopy,
        byte_range: tuple[int, int] | None,
        *,
        is_head: bool = False,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        # ASGIResponse's needs the body beforehand.
        start, stop = byte_range or (0, copy.size_bytes)
        self._file, self._copy, self._body_range = file, copy, (start, start if is_head else stop)
        self._status = status
        # A position counts the rows of everybody, and the copy may be of an earlier request.
        cursor = "" if file.is_of_row_scope else str(copy.position)
        self._headers: list[Header] = [
            *file.headers(cursor),
            (b"accept-ranges", b"bytes"),
            (b"etag", copy.etag.encode()),
            (b"content-length", b"%d" % (stop - start)),
        ]
        if status is HTTPStatus.NOT_MODIFIED:
            self._body_range = (0, 0)
            self._headers = [one for one in self._headers if not one[0].startswith(b"content-")]
        if byte_range is not None:
            self._status = HTTPStatus.PARTIAL_CONTENT
            content_range = b"bytes %d-%d/%d" % (start, stop - 1, copy.size_bytes)
            self._headers.append((b"content-range", content_range))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send headers and bytes, as long as the credentials are valid."""
        await send(
            {"type": "http.response.start", "status": self._status, "headers": self._headers}
        )
        try:
            async with aclosing(self._copy.read(*self._body_range)) as chunks:
                async for chunk in chunks:
                    await self._file.check_access()
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except CredentialsEnded as failure:
            break_off(scope, failure)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
