"""HTTP routes of imports and their mappings."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from litestar import get, post, put
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from spawn.application.exports import QuarantineFormatter
from spawn.application.imports.commands import put_mapping, submit_import
from spawn.application.imports.queries import (
    get_import,
    get_mapping,
    get_pinned_mapping,
    list_mappings,
    stream_quarantined_rows,
    stream_rows_with_warnings,
)
from spawn.application.jobs import JobRunner
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import Duplicate, InvalidInput, MalformedBody, NotFound, StaleVersion
from spawn.domain.imports.import_state import FileFormat, ImportState, RowNote
from spawn.domain.imports.mapping import MAPPING_KIND, ImportMapping, read_mapping
from spawn.domain.query import Query
from spawn.entrypoints.http.imports import operations
from spawn.entrypoints.http.jobs import JOBS, read_receipt, respond_to_submission
from spawn.entrypoints.http.openapi.handler_operation import operation_options
from spawn.entrypoints.http.protocol.cursors import decode_cursor, encode_cursor
from spawn.entrypoints.http.protocol.etags import (
    fields_digest,
    is_not_modified,
    is_version_match,
    parse_epoch,
    version_etag,
)
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.entrypoints.http.protocol.query_params import read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import (
    Header,
    Response,
    body_messages,
    encode_json,
    json_response,
)

IMPORTS: Final = "/v1/ops/imports"
MAPPINGS: Final = "/v1/ops/import-mappings"
CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"
FORMATS: Final = {CSV: FileFormat.CSV, NDJSON: FileFormat.NDJSON}

_MAPPINGS_BINDING: Final = bytes.fromhex(fields_digest((MAPPING_KIND,)))
_NO_STORE: Final[Header] = (b"cache-control", b"no-store")


@put(MAPPINGS + "/{name:str}", status_code=200, opt=operation_options(operations.PUT_MAPPING))
async def put_import_mapping(request: StrictRequest) -> Response:
    """Create or replace an import mapping."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    name = str(request.scope["path_params"]["name"])
    mapping = read_mapping(name, await request.read_json_object())
    version = await _read_expected_version(request, name)
    with request.http_state.span("put_mapping"):
        try:
            result = await put_mapping(
                request.dependencies, request.principal, mapping, expected_version=version
            )
        except Duplicate as duplicate:
            if version is not None:
                detail = "The mapping was created meanwhile. Read it, then send its ETag."
                raise StaleVersion(detail) from duplicate
            detail = "The mapping exists with other content. Send its ETag in If-Match."
            raise RequestProblem("precondition_required", detail) from duplicate
    headers = [await _mapping_etag_header(request, result.aggregate)]
    if result.is_new:
        headers.append((b"location", f"{MAPPINGS}/{name}".encode()))
    status = 201 if result.is_new else 200
    return Response(status, _encode_mapping(result.aggregate.state), headers=headers)


@get(MAPPINGS + "/{name:str}", opt=operation_options(operations.GET_MAPPING))
async def read_import_mapping(request: StrictRequest) -> Response:
    """Return an import mapping."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    name = str(request.scope["path_params"]["name"])
    with request.http_state.span("get_mapping"):
        aggregate = await get_mapping(request.dependencies, request.principal, name)
    tag = await _mapping_etag_header(request, aggregate)
    if is_not_modified(request.header(b"if-none-match"), tag[1].decode()):
        return Response(304, headers=(tag,))
    return Response(
        200, _encode_mapping(aggregate.state), headers=(tag, (b"cache-control", b"no-cache"))
    )


@get(MAPPINGS, opt=operation_options(operations.LIST_MAPPINGS))
async def read_import_mapping_page(request: StrictRequest) -> Response:
    """List import mappings, one page at a time."""
    request.negotiate_media_type("application/json")
    parameters = request.query_parameters("limit", "after")
    after = decode_cursor(parameters["after"], _MAPPINGS_BINDING) if "after" in parameters else None
    query = Query(kind=MAPPING_KIND, limit=read_limit(parameters.get("limit")), after=after)
    with request.http_state.span("list_mappings"):
        page = await list_mappings(request.dependencies, request.principal, query)
    cursor = None if page.next is None else encode_cursor(page.next, _MAPPINGS_BINDING)
    items = b",".join(_encode_mapping(aggregate.state) for aggregate in page.items)
    headers: list[Header] = []
    if cursor is not None:
        limit = f"limit={parameters['limit']}&" if "limit" in parameters else ""
        headers.append((b"link", f'<{MAPPINGS}?{limit}after={cursor}>; rel="next"'.encode()))
    return Response(
        200, b'{"items":[%b],"next":%b}' % (items, encode_json(cursor)), headers=headers
    )


@post(
    IMPORTS,
    status_code=202,
    request_max_body_size=None,
    opt=operation_options(operations.START_IMPORT),
)
async def post_import(request: StrictRequest) -> Response:
    """Store an uploaded file and queue its import."""
    parameters = request.query_parameters("mapping")
    request.negotiate_media_type("application/json")
    runner: JobRunner = request.http_state.jobs
    media_type = _read_upload_media_type(request)
    runner.check_capacity()
    with request.http_state.span("start_import"):
        submission = await submit_import(
            request.dependencies,
            request.principal,
            _stream_upload(request),
            file_format=FORMATS[media_type],
            mapping_name=parameters.get("mapping"),
            receipt=read_receipt(request, IMPORTS, parameters.get("mapping") or ""),
        )
    return await respond_to_submission(request, submission)


@get(IMPORTS + "/{import_id:str}", opt=operation_options(operations.GET_IMPORT))
async def read_import(request: StrictRequest) -> Response:
    """Return an import with its counts so far."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    with request.http_state.span("get_import"):
        aggregate = await get_import(
            request.dependencies, request.principal, request.path_id("import_id")
        )
    return json_response(render_import(aggregate), headers=(_NO_STORE,))


@get(IMPORTS + "/{import_id:str}/quarantine", opt=operation_options(operations.GET_QUARANTINE))
async def read_quarantine(request: StrictRequest) -> ASGIResponse:
    """Stream the quarantined rows of an import, to correct and import again."""
    return await _quarantine_response(request, stream_quarantined_rows)


@get(IMPORTS + "/{import_id:str}/warnings", opt=operation_options(operations.GET_WARNINGS))
async def read_warnings(request: StrictRequest) -> ASGIResponse:
    """Stream the rows that an import accepted with a warning."""
    request.query_parameters()
    request.negotiate_media_type(NDJSON)
    dependencies, principal = request.dependencies, request.principal
    aggregate = await get_import(dependencies, principal, request.path_id("import_id"))

    async def lines() -> AsyncIterator[bytes]:
        async for note in stream_rows_with_warnings(dependencies, principal, aggregate.state):
            row = {"line": note.line, "project_id": note.project_id, "reasons": note.reasons}
            yield encode_json(row) + b"\n"

    return LineStreamResponse(lines(), NDJSON)


def render_import(aggregate: StoredAggregate[ImportState]) -> dict[str, Any]:
    """Render an import: its counts and its request."""
    state = aggregate.state
    return {
        "import_id": state.import_id,
        **msgspec.structs.asdict(state.counts),
        "mapping": state.mapping,
        "format": state.format,
        "size_bytes": state.size_bytes,
        "sha256": state.sha256,
        "requested_by": state.requested_by,
        "created_at": aggregate.created_at,
        "updated_at": aggregate.updated_at,
        "job_url": f"{JOBS}/{state.import_id}",
        "quarantine_url": f"{IMPORTS}/{state.import_id}/quarantine",
    }


class LineStreamResponse(ASGIResponse):
    """A streamed response of lines, sent in larger pieces."""

    __slots__ = ("_lines", "_media_type")

    def __init__(  # ASGIResponse's needs the whole body beforehand; here it is a stream
        self, lines: AsyncIterator[bytes], media_type: str, charset: str = "utf-8"
    ) -> None:
        self._lines = lines
        self._media_type = f"{media_type}; charset={charset}".encode()

    def to_asgi_response(self, *_args: object, **_kwargs: object) -> "LineStreamResponse":
        """Return the response itself, which is an ASGI application already."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send the lines as they are produced."""
        headers = [(b"content-type", self._media_type), _NO_STORE]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in body_messages(self._lines):
            await send(piece)


async def _quarantine_response(
    request: StrictRequest, iter_notes: Callable[..., AsyncIterator[RowNote]]
) -> ASGIResponse:
    """Stream an import's row notes as NDJSON or CSV, by Accept."""
    request.query_parameters()
    media_type = request.negotiate_media_type(NDJSON, CSV)
    dependencies, principal = request.dependencies, request.principal
    state = (await get_import(dependencies, principal, request.path_id("import_id"))).state
    formatter = QuarantineFormatter(state, await get_pinned_mapping(dependencies, state))

    async def lines() -> AsyncIterator[bytes]:
        if media_type == CSV:
            yield formatter.format_csv_header()
        async for note in iter_notes(dependencies, principal, state):
            yield (
                formatter.format_csv_row(note)
                if media_type == CSV
                else formatter.format_ndjson_row(note)
            )

    charset = formatter.charset if media_type == CSV else "utf-8"
    return LineStreamResponse(lines(), media_type, charset)


def _read_upload_media_type(request: StrictRequest) -> str:
    """Return the upload's media type; its charset is ignored, as the mapping has the encoding."""
    media_type = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    is_encoded = request.context.headers.get(b"content-encoding", b"identity") != b"identity"
    if media_type not in FORMATS or is_encoded:
        supported = ", ".join(FORMATS)
        detail = f"Content-Type must be one of: {supported}, and the file not compressed."
        raise RequestProblem(
            "unsupported_media_type", detail, headers=((b"accept", supported.encode()),)
        )
    return media_type


async def _stream_upload(request: StrictRequest) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        MalformedBody: the client disconnected before the end.
    """
    more = True
    while more:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise MalformedBody("The upload ended early. Send the whole file again.")
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _read_expected_version(request: StrictRequest, name: str) -> int | None:
    """Return the version that the preconditions expect; 0: must not exist, None: any."""
    if request.header(b"if-none-match") is not None:
        if request.header(b"if-none-match") != "*" or request.header(b"if-match") is not None:
            raise InvalidInput.at(
                "/If-None-Match", "invalid_value", "If-None-Match must be *, alone."
            )
        return 0
    header = request.header(b"if-match")
    if header is None:
        return None
    try:
        head = await request.dependencies.reads.head(MAPPING_KIND, name)
    except NotFound:
        raise StaleVersion(
            "The mapping does not exist. Send If-None-Match: * to create it.", current=0
        ) from None
    if header != "*" and not is_version_match(header, head.version, head.epoch):
        detail = f"The mapping is at version {head.version}. Read it, then send its ETag."
        raise StaleVersion(detail, current=head.version)
    return head.version


async def _mapping_etag_header(
    request: StrictRequest, aggregate: StoredAggregate[ImportMapping]
) -> Header:
    epoch = parse_epoch(await request.dependencies.reads.position())
    return (b"etag", version_etag(aggregate.version, epoch, 0).encode())


def _encode_mapping(mapping: ImportMapping) -> bytes:
    """Encode a mapping as it may be put again, without its null members."""
    fields = msgspec.to_builtins(mapping)
    fields["columns"] = [
        {name: value for name, value in column.items() if value is not None}
        for column in fields["columns"]
    ]
    return encode_json({name: value for name, value in fields.items() if value is not None})


route_handlers: Final = [
    put_import_mapping,
    read_import_mapping,
    read_import_mapping_page,
    post_import,
    read_import,
    read_quarantine,
    read_warnings,
]
