"""Files of datasets, and the response that streams one as its rows are read."""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from http import HTTPStatus
from typing import Final

from litestar.types import Receive, Scope, Send

from spawn.adapters.file_encoder import FileEncoder
from spawn.application.datasets.dataset_columns import DatasetName
from spawn.application.datasets.dataset_query import DatasetQuery
from spawn.application.datasets.dataset_rows import Row, count_rows, read_rows
from spawn.application.datasets.dataset_tables import count_tables, read_tables
from spawn.application.datasets.file_formats import DataFormat, check_workbook_rows, format_file
from spawn.application.events.feed import envelope_for
from spawn.application.exports import record_export
from spawn.application.lineage.recorder import ClientDisconnected, RunProgress
from spawn.domain.events.position import Position
from spawn.entrypoints.http.middleware.compression import LEVEL, is_gzip_accepted
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import (
    NO_STORE,
    CredentialsEnded,
    Header,
    SelfSentResponse,
    body_messages,
    break_off,
    stream_while_connected,
)
from spawn.entrypoints.http.state import StateKey
from spawn.ports.analytics import ColumnChunk

ENCODER: Final = StateKey(FileEncoder)
_GZIP_WINDOW_BITS: Final = 31


class DatasetFile:
    """A file that a request selects: rows, format, and the position that it is level with.

    `cursor` is that of the events after the position, as the caller has it. `version_headers` are
    those of the schema version of governed rows.
    """

    def __init__(
        self,
        request: StrictRequest,
        query: DatasetQuery,
        file_format: DataFormat,
        position: Position,
        cursor: str,
        version_headers: tuple[Header, ...] = (),
    ) -> None:
        self.query, self.format, self.position = query, file_format, position
        self.cursor = cursor
        self._version_headers = version_headers
        self._dependencies, self._principal = request.dependencies, request.principal
        self._records = request.http_state.dependencies
        self._is_still_permitted = request.is_still_permitted
        self._envelope = envelope_for(request.http_state.streams.envelope, request.principal)
        self._encoder = request.http_state[ENCODER]

    @property
    def is_of_row_scope(self) -> bool:
        """Whether the caller sees some projects only."""
        return self._principal.row_scope is not None

    def headers(self, cursor: str) -> list[Header]:
        """Return the headers of every response with the file; without a cursor, none of it."""
        is_text = self.format in {DataFormat.CSV, DataFormat.NDJSON}
        media_type = f"{self.format.media_type}{'; charset=utf-8' if is_text else ''}"
        name = f"{self.query.name}.{self.format}"
        place: list[Header] = [(b"spawn-position", cursor.encode())] if cursor else []
        return [
            (b"content-type", media_type.encode()),
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            *place,
            *self._version_headers,
            NO_STORE,
        ]

    @asynccontextmanager
    async def record(self) -> AsyncIterator[RunProgress]:
        """Record the export of projects as a run; other datasets describe the service itself."""
        if self.query.name is not DatasetName.PROJECTS:
            yield RunProgress()
            return
        # The run is a record of the service, of the rows that the caller received.
        async with record_export(self._records, self._principal, self.format) as progress:
            yield progress

    async def read(self, progress: RunProgress) -> AsyncGenerator[bytes]:
        """Yield the chunks of the file, and count its rows and bytes."""
        await self._check_size()
        tables = await self._open_tables()
        if tables is None:
            chunks = self._format_rows(progress)
        else:
            chunks = self._encoder.encode_tables(count_tables(tables, progress), self.format)
        async with aclosing(chunks):
            async for chunk in chunks:
                progress.size_bytes += len(chunk)
                yield chunk

    async def _check_size(self) -> None:
        """Check the number of projects of a workbook before any work; others while they are read.

        Raises:
            InvalidInput: they are too many.
        """
        if self.format is DataFormat.XLSX and self.query.name is DatasetName.PROJECTS:
            check_workbook_rows(await self._dependencies.reads.count(self.query.query))

    async def _open_tables(self) -> AsyncGenerator[ColumnChunk] | None:
        if not self._encoder.takes_tables(self.format):
            return None
        return await read_tables(self._dependencies, self._principal, self.query, self.position)

    def _format_rows(self, progress: RunProgress) -> AsyncGenerator[bytes]:
        rows = read_rows(
            self._dependencies, self._principal, self.query, self._envelope, self.position
        )
        counted_rows = count_rows(rows, progress, self._dependencies.work_turns)
        if self.format is DataFormat.XLSX:
            counted_rows = _limit_workbook(counted_rows, progress)
        return format_file(counted_rows, self.query, self.format, self._encoder.encode)

    async def check_access(self) -> None:
        """Check that the credentials of the request have not ended.

        Raises:
            CredentialsEnded: they were revoked, or have expired.
        """
        if not await self._is_still_permitted():
            raise CredentialsEnded("The credentials ended before the export did.")

    async def read_recorded(self) -> AsyncGenerator[bytes]:
        """Yield the chunks of the file as an export of its own."""
        async with self.record() as progress, aclosing(self.read(progress)) as chunks:
            async for chunk in chunks:
                yield chunk


async def _limit_workbook(rows: AsyncIterator[Row], progress: RunProgress) -> AsyncIterator[Row]:
    async for row in rows:
        check_workbook_rows(progress.rows)
        yield row


class StreamResponse(SelfSentResponse):
    """A streamed file; its length is unknown in advance."""

    __slots__ = ("_file", "_headers", "_is_compressed", "_is_head")

    def __init__(self, request: StrictRequest, file: DatasetFile) -> None:
        # ASGIResponse's needs the body beforehand.
        self._file, self._is_head = file, request.context.is_head
        self._is_compressed = is_compressed(request, file.format)
        ranges = b"none" if self._is_compressed else b"bytes"
        self._headers = [*file.headers(file.cursor), (b"accept-ranges", ranges)]
        if self._is_compressed:
            self._headers.append((b"content-encoding", b"gzip"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the chunks as they are read; stop when client or credentials leave."""
        if self._is_head:
            await self._start(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        try:
            with suppress(ClientDisconnected):
                await self._send(receive, send)
        except CredentialsEnded as failure:
            break_off(scope, failure)

    async def _start(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": HTTPStatus.OK, "headers": self._headers}
        )

    async def _send(self, receive: Receive, send: Send) -> None:
        is_started = False
        file = self._file
        async with file.record() as progress, aclosing(file.read(progress)) as chunks:
            body = _compress(chunks) if self._is_compressed else chunks
            messages = stream_while_connected(body_messages(body), receive)
            async with aclosing(messages):
                async for message in messages:
                    if is_started:
                        await file.check_access()
                    else:
                        await self._start(send)
                        is_started = True
                    await send(message)


def is_compressed(request: StrictRequest, file_format: DataFormat) -> bool:
    """Whether a stream of the format is compressed for the client; binary ones are already."""
    encodings = request.context.headers.get(b"accept-encoding", b"")
    return not file_format.is_binary and is_gzip_accepted(encodings)


async def _compress(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the chunks as one gzip member."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    async for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()
