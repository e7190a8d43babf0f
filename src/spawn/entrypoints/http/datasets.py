"""Data out: a whole dataset as one file, streamed as it is read and recorded as an export."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from litestar import get
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from spawn.application.dependencies import Services
from spawn.application.exports import every_project, lines_of
from spawn.application.lineage.recorder import Abandoned, exporting
from spawn.application.product.links import CSV, NDJSON
from spawn.application.product.snapshot import DATASET
from spawn.domain.errors import NotFound
from spawn.domain.principal import Principal
from spawn.entrypoints.http.imports.routes import FORMATS
from spawn.entrypoints.http.openapi.operation import Operation, Success, described
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, encode, in_pieces
from spawn.entrypoints.http.wire import project_fields

PATH: Final = "/v1/data"
_NEVER_STORED: Final[Header] = (b"cache-control", b"no-store")

READ: Final = Operation(
    id="readDataset",
    tag="data",
    summary="Read a whole dataset",
    description=(
        "Every project as it is when its page is read, in the order of creation, as lines of JSON "
        "or as CSV. The export is a run of the lineage: complete once the last byte was sent."
    ),
    answers={
        200: Success(
            description="The dataset.", schema={"type": "string"}, media_types=(NDJSON, CSV)
        )
    },
    problems=("not_found", "forbidden", "overloaded", "storage_full", "deadline_exceeded"),
)


@get(PATH + "/{dataset:str}", opt=described(READ))
async def read(request: StrictRequest) -> ASGIResponse:
    """The dataset as a stream."""
    request.query()
    media_type = request.accepts(NDJSON, CSV)
    if request.scope["path_params"]["dataset"] != DATASET:
        raise NotFound("There is no such dataset.")
    if request.context.bodiless:
        return Reply(200, media_type=_charset(media_type), headers=(_NEVER_STORED,))
    return Export(request.services, request.principal, media_type)


class Export(ASGIResponse):
    """An export under way to a client."""

    __slots__ = ("_format", "_media_type", "_principal", "_services")

    def __init__(  # not ASGIResponse's: nothing of this answer is known beforehand
        self, services: Services, principal: Principal, media_type: str
    ) -> None:
        self._services = services
        self._principal = principal
        self._media_type = media_type
        self._format = FORMATS[media_type]

    def to_asgi_response(self, *_args: object, **_kwargs: object) -> "Export":
        """Itself: what Litestar asks of an answer."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send the pieces as they come; stop if nobody takes them any more."""
        gone = asyncio.create_task(_gone(receive))
        try:
            with suppress(Abandoned):
                await self._send(send, gone)
        finally:
            gone.cancel()

    async def _send(self, send: Send, gone: "asyncio.Task[None]") -> None:
        async with exporting(self._services, self._principal, self._format) as counted:
            lines = counted.through(lines_of(self._documents(), self._format), self._format)
            headers = [(b"content-type", _charset(self._media_type)), _NEVER_STORED]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for piece in in_pieces(lines):
                # Nothing before this may have waited: let others, and word of an end, come through.
                await asyncio.sleep(0)
                if gone.done():
                    raise Abandoned
                await send(piece)

    async def _documents(self) -> AsyncIterator[bytes]:
        schema = (await self._services.active()).schema
        async for stored in every_project(self._services, self._principal, schema):
            yield encode(project_fields(stored, schema))


async def _gone(receive: Receive) -> None:
    """Wait until the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _charset(media_type: str) -> bytes:
    return f"{media_type}; charset=utf-8".encode()


ROUTES: Final = [read]
