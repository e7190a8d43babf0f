"""Route of datasets: rows as one streamed file, in the format of its suffix."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from http import HTTPStatus
from typing import Final

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from spawn.adapters.file_encoder import FileEncoder, find_missing_extra
from spawn.application.datasets.dataset_columns import DatasetName
from spawn.application.datasets.dataset_query import (
    DatasetQuery,
    DecimalForm,
    read_dataset_query,
)
from spawn.application.datasets.dataset_rows import count_rows, read_rows
from spawn.application.datasets.file_formats import (
    MEDIA_TYPES,
    DataFormat,
    format_file,
)
from spawn.application.datasets.row_filters import build_row_filter_properties
from spawn.application.exports import record_export
from spawn.application.lineage.recorder import ClientDisconnected, RunProgress
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.events.position import Position
from spawn.domain.principal import Scope as AccessScope
from spawn.entrypoints.http.events.routes import SUBJECT, TYPES
from spawn.entrypoints.http.middleware.compression import LEVEL, is_gzip_accepted
from spawn.entrypoints.http.projects.wire import AS_OF, FIELDS, FILTERS, SCHEMA_VERSION, SORT
from spawn.entrypoints.http.protocol.operation import Parameter, Success
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import (
    NO_STORE,
    Header,
    SelfSentResponse,
    body_messages,
    wait_for_disconnect,
)
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.state import StateKey

PATH: Final = "/v1/data"
ENCODER: Final = StateKey(FileEncoder)
_FORMATS: Final = {str(one): one.media_type for one in DataFormat}
_BINARY: Final = {"type": "string", "format": "binary"}
_GZIP_WINDOW_BITS: Final = 31
_DECIMALS: Final = Parameter(
    "decimals",
    {"type": "string", "enum": [str(form) for form in DecimalForm]},
    "Decimals in JSON: all as numbers or all as strings, with the same digits. Default: as in "
    "lists. Columns of Parquet and Arrow are exact decimals, unless this is `string`.",
    examples={"exact": {"value": "string"}},
)
_ROW_FILTERS: Final = Parameter(
    "row_filters",
    {
        "type": "object",
        "properties": build_row_filter_properties(),
        "additionalProperties": False,
    },
    "Filters of the other datasets by column: `column=value` or `column[operator]=value`. A day is "
    "meant from its first instant (`gte`) and to its last (`lte`).",
    examples={
        "failed": {"value": {"passed": "false"}},
        "recent": {"value": {"created_at[gte]": "2026-01-01"}},
    },
)
_MARK: Final = Parameter(
    "bom",
    {"type": "string", "enum": ["true", "false"], "default": "false"},
    "Whether CSV begins with a byte order mark, by which Excel finds UTF-8.",
    examples={"excel": {"value": "true"}},
)


@route(
    "GET",
    PATH + "/{dataset}",
    "readDataset",
    scopes=(AccessScope.DATA_EXPORT,),
    tag="data",
    summary="Download a dataset",
    description=(
        "A dataset as one streamed file: `projects`, `history`, `events`, `quality` or `imports`. "
        "The format follows the suffix of the path, else `format`, else `Accept`. Projects have "
        "the filters, order and fields of their list, the others filters by column; history and "
        "events are also selected by type and subject. The "
        "rows include every change up to `Spawn-Position`, a position of the feed. The lineage "
        "has each export of projects as a run, which is complete once the last byte was sent."
    ),
    parameters=(
        FILTERS,
        _ROW_FILTERS,
        SORT,
        FIELDS,
        SCHEMA_VERSION,
        AS_OF,
        TYPES,
        SUBJECT,
        _DECIMALS,
        _MARK,
    ),
    returns=Success(
        str,
        "The dataset.",
        media_types=(DataFormat.NDJSON.media_type, DataFormat.CSV.media_type),
        alternatives={
            DataFormat.JSON.media_type: {"type": "array", "items": {"type": "object"}},
            DataFormat.PARQUET.media_type: _BINARY,
            DataFormat.ARROW.media_type: _BINARY,
            DataFormat.XLSX.media_type: _BINARY,
        },
    ),
    problems=(
        "not_found",
        "forbidden",
        "overloaded",
        "storage_full",
        "deadline_exceeded",
        "schema_version_expired",
    ),
    formats=_FORMATS,
    has_suffix=True,
)
async def download_dataset(request: StrictRequest, dataset: str) -> ASGIResponse:
    """Stream the dataset."""
    name_text, _, suffix = dataset.partition(".")
    if name_text not in {*DatasetName} or (suffix and suffix not in _FORMATS):
        names, suffixes = ", ".join(DatasetName), ", ".join(_FORMATS)
        raise NotFound(f"The datasets are {names}; a suffix is one of {suffixes}.")
    if suffix and request.query.get("format", suffix) != suffix:
        raise InvalidInput.at("/format", "contradiction", f"The path ends in .{suffix}: omit it.")
    file_format = next(one for one, text in MEDIA_TYPES.items() if text == request.media_type)
    if extra := find_missing_extra(file_format):
        raise RequestProblem(
            "not_acceptable",
            f"Files with the suffix .{file_format} need the extra {extra}, which is not installed. "
            "Use another format, or ask the operator to install it.",
        )
    name = DatasetName(name_text)
    query = await read_dataset_query(request.dependencies, name, request.query)
    return ExportResponse(request, query, file_format, await request.dependencies.reads.position())


class ExportResponse(SelfSentResponse):
    """A streamed export; its length is unknown in advance."""

    __slots__ = ("_format", "_headers", "_is_compressed", "_position", "_query", "_request")

    def __init__(  # replaces ASGIResponse's: status and body are not known yet
        self,
        request: StrictRequest,
        query: DatasetQuery,
        file_format: DataFormat,
        position: Position,
    ) -> None:
        self._request, self._query, self._format = request, query, file_format
        self._position = position
        encodings = request.context.headers.get(b"accept-encoding", b"")
        self._is_compressed = not file_format.is_binary and is_gzip_accepted(encodings)
        charset = "; charset=utf-8" if file_format in {DataFormat.CSV, DataFormat.NDJSON} else ""
        self._headers: list[Header] = [
            (b"content-type", f"{file_format.media_type}{charset}".encode()),
            (b"content-disposition", f'attachment; filename="{query.name}.{file_format}"'.encode()),
            (b"spawn-position", str(position).encode()),
            (b"accept-ranges", b"none"),
            NO_STORE,
        ]
        if self._is_compressed:
            self._headers.append((b"content-encoding", b"gzip"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send the chunks as they are read; stop when the client disconnects."""
        if self._request.context.is_head:
            await self._start(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        disconnect_task = asyncio.create_task(wait_for_disconnect(receive))
        try:
            with suppress(ClientDisconnected):
                await self._send(send, disconnect_task)
        finally:
            disconnect_task.cancel()

    async def _start(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": HTTPStatus.OK, "headers": self._headers}
        )

    async def _send(self, send: Send, disconnect_task: "asyncio.Task[None]") -> None:
        is_started = False
        async with self._record() as progress, aclosing(self._read_file(progress)) as chunks:
            body = _compress(chunks) if self._is_compressed else chunks
            async for message in body_messages(body):
                # The reads above may not have awaited anything: let other tasks run, and the
                # notice of a disconnect arrive.
                await asyncio.sleep(0)
                if disconnect_task.done():
                    raise ClientDisconnected
                if not is_started:
                    await self._start(send)
                    is_started = True
                await send(message)

    @asynccontextmanager
    async def _record(self) -> AsyncIterator[RunProgress]:
        """Record the export of projects as a run; other datasets describe the service itself."""
        if self._query.name is not DatasetName.PROJECTS:
            yield RunProgress()
            return
        request = self._request
        async with record_export(request.dependencies, request.principal, self._format) as progress:
            yield progress

    async def _read_file(self, progress: RunProgress) -> AsyncGenerator[bytes]:
        request, envelope = self._request, self._request.http_state.streams.envelope
        rows = read_rows(
            request.dependencies, request.principal, self._query, envelope, self._position
        )
        rows = count_rows(rows, progress)
        encode = request.http_state[ENCODER].encode
        chunks = format_file(rows, self._query, self._format, encode)
        async with aclosing(chunks):
            async for chunk in chunks:
                progress.size_bytes += len(chunk)
                yield chunk


async def _compress(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the chunks as one gzip member."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    async for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()


ROUTES: Final[list[Route]] = [download_dataset]
