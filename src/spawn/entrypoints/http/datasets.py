"""Route of datasets: a whole dataset as one streamed file, recorded as an export."""

import asyncio
from contextlib import suppress
from typing import Final

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from spawn.application.dependencies import Dependencies
from spawn.application.exports import encode_projects, format_lines, record_export
from spawn.application.lineage.recorder import ClientDisconnected
from spawn.application.product.links import CSV, NDJSON
from spawn.application.product.snapshot import DATASET
from spawn.domain.errors import NotFound
from spawn.domain.principal import Principal
from spawn.entrypoints.http.imports.routes import FORMATS
from spawn.entrypoints.http.protocol.operation import Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import (
    NO_STORE,
    Response,
    SelfSentResponse,
    body_messages,
    wait_for_disconnect,
)
from spawn.entrypoints.http.protocol.route import Route, route

PATH: Final = "/v1/data"


@route(
    "GET",
    PATH + "/{dataset}",
    "readDataset",
    tag="data",
    summary="Download a dataset",
    description=(
        "Every project in the order of creation, as lines of JSON or as CSV. Each page of projects "
        "is as current as its read. The lineage has the export as a run, which is complete once "
        "the last byte was sent."
    ),
    returns=Success(str, "The dataset.", media_types=(NDJSON, CSV)),
    problems=("not_found", "forbidden", "overloaded", "storage_full", "deadline_exceeded"),
)
async def download_dataset(request: StrictRequest, dataset: str) -> ASGIResponse:
    """Stream the dataset."""
    if dataset != DATASET:
        raise NotFound(f"The only dataset is {DATASET}.")
    if request.context.is_head:
        return Response(200, media_type=_with_charset(request.media_type), headers=(NO_STORE,))
    return ExportResponse(request.dependencies, request.principal, request.media_type)


class ExportResponse(SelfSentResponse):
    """A streamed export; its length is unknown in advance."""

    __slots__ = ("_dependencies", "_format", "_media_type", "_principal")

    def __init__(  # replaces ASGIResponse's: status and body are not known yet
        self, dependencies: Dependencies, principal: Principal, media_type: str
    ) -> None:
        self._dependencies = dependencies
        self._principal = principal
        self._media_type = media_type
        self._format = FORMATS[media_type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send the chunks as they are read; stop when the client disconnects."""
        disconnect_task = asyncio.create_task(wait_for_disconnect(receive))
        try:
            with suppress(ClientDisconnected):
                await self._send(send, disconnect_task)
        finally:
            disconnect_task.cancel()

    async def _send(self, send: Send, disconnect_task: "asyncio.Task[None]") -> None:
        async with record_export(self._dependencies, self._principal, self._format) as progress:
            documents = encode_projects(self._dependencies, self._principal)
            lines = progress.count_lines(format_lines(documents, self._format), self._format)
            headers = [(b"content-type", _with_charset(self._media_type)), NO_STORE]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for message in body_messages(lines):
                # The reads above may not have awaited anything: let other tasks run, and the
                # notice of a disconnect arrive.
                await asyncio.sleep(0)
                if disconnect_task.done():
                    raise ClientDisconnected
                await send(message)


def _with_charset(media_type: str) -> bytes:
    return f"{media_type}; charset=utf-8".encode()


ROUTES: Final[list[Route]] = [download_dataset]
