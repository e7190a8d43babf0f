"""Routes of imports and their mappings. `app.state.jobs` holds the `JobRunner`."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from litestar import get, post, put
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from spawn.application.exports import QuarantineLines
from spawn.application.imports.commands import (
    MAPPING_KIND,
    KeyUse,
    get_import,
    get_mapping,
    list_mappings,
    pinned_mapping,
    put_mapping,
    quarantined,
    start_import,
    warned,
)
from spawn.application.jobs import JobRunner
from spawn.domain.change import Stored
from spawn.domain.errors import Duplicate, InvalidInput, MalformedBody, NotFound, Stale
from spawn.domain.imports.import_state import FileFormat, Import, Note
from spawn.domain.imports.mapping import ImportMapping, read_mapping
from spawn.domain.jobs import Job
from spawn.domain.query import Query
from spawn.entrypoints.http.imports import operations
from spawn.entrypoints.http.jobs import JOBS
from spawn.entrypoints.http.jobs import ROUTES as JOB_ROUTES
from spawn.entrypoints.http.openapi.operation import described
from spawn.entrypoints.http.protocol.preconditions import answer_of, reply_of
from spawn.entrypoints.http.protocol.problems import Refusal
from spawn.entrypoints.http.protocol.query_params import read_cursor, read_limit, write_cursor
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, encode, in_pieces, json_reply
from spawn.entrypoints.http.wire import entity_tag, epoch_of, matches, none_match, view_digest

IMPORTS: Final = "/v1/ops/imports"
MAPPINGS: Final = "/v1/ops/import-mappings"
CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"
FORMATS: Final = {CSV: FileFormat.CSV, NDJSON: FileFormat.NDJSON}

_MAPPINGS_BINDING: Final = bytes.fromhex(view_digest((MAPPING_KIND,)))
_NEVER_STORED: Final[Header] = (b"cache-control", b"no-store")


@put(MAPPINGS + "/{name:str}", status_code=200, opt=described(operations.PUT_MAPPING))
async def save_mapping(request: StrictRequest) -> Reply:
    """Create or replace a mapping."""
    request.query()
    request.accepts("application/json")
    name = str(request.scope["path_params"]["name"])
    mapping = read_mapping(name, await request.tokens())
    version = await _expected_version(request, name)
    with request.surface.span("put_mapping"):
        try:
            saved = await put_mapping(
                request.services, request.principal, mapping, expected_version=version
            )
        except Duplicate as taken:
            if version is not None:
                raise Stale("The mapping was created meanwhile.") from taken
            detail = "The mapping exists with other content; send its ETag in If-Match."
            raise Refusal("precondition_required", detail) from taken
    headers = [await _mapping_tag(request, saved.stored)]
    if saved.created:
        headers.append((b"location", f"{MAPPINGS}/{name}".encode()))
    status = 201 if saved.created else 200
    return Reply(status, _mapping_body(saved.stored.state), headers=headers)


@get(MAPPINGS + "/{name:str}", opt=described(operations.GET_MAPPING))
async def read_one_mapping(request: StrictRequest) -> Reply:
    """One mapping."""
    request.query()
    request.accepts("application/json")
    name = str(request.scope["path_params"]["name"])
    with request.surface.span("get_mapping"):
        stored = await get_mapping(request.services, request.principal, name)
    tag = await _mapping_tag(request, stored)
    if none_match(request.field(b"if-none-match"), tag[1].decode()):
        return Reply(304, headers=(tag,))
    return Reply(200, _mapping_body(stored.state), headers=(tag, (b"cache-control", b"no-cache")))


@get(MAPPINGS, opt=described(operations.LIST_MAPPINGS))
async def read_mappings(request: StrictRequest) -> Reply:
    """One page of mappings."""
    request.accepts("application/json")
    given = request.query("limit", "after")
    after = read_cursor(given["after"], _MAPPINGS_BINDING) if "after" in given else None
    query = Query(kind=MAPPING_KIND, limit=read_limit(given.get("limit")), after=after)
    with request.surface.span("list_mappings"):
        page = await list_mappings(request.services, request.principal, query)
    cursor = None if page.next is None else write_cursor(page.next, _MAPPINGS_BINDING)
    items = b",".join(_mapping_body(stored.state) for stored in page.items)
    headers: list[Header] = []
    if cursor is not None:
        limit = f"limit={given['limit']}&" if "limit" in given else ""
        headers.append((b"link", f'<{MAPPINGS}?{limit}after={cursor}>; rel="next"'.encode()))
    return Reply(200, b'{"items":[%b],"next":%b}' % (items, encode(cursor)), headers=headers)


@post(IMPORTS, status_code=202, request_max_body_size=None, opt=described(operations.START_IMPORT))
async def start(request: StrictRequest) -> Reply:
    """Take in a file and queue its import."""
    given = request.query("mapping")
    request.accepts("application/json")
    runner: JobRunner = request.app.state.jobs
    media_type = _file_type(request)
    runner.check_room()
    with request.surface.span("start_import"):
        ordered = await start_import(
            request.services,
            request.principal,
            _received(request),
            file_format=FORMATS[media_type],
            mapping_name=given.get("mapping"),
            key=_key_use(request, given.get("mapping")),
        )
    if ordered.job is None:
        if ordered.replayed is None:
            raise RuntimeError("an order that was not replayed has a job")
        return reply_of(ordered.replayed)
    await runner.submit(ordered.job.job_id)
    return _accepted(ordered.job)


@get(IMPORTS + "/{import_id:str}", opt=described(operations.GET_IMPORT))
async def read_import(request: StrictRequest) -> Reply:
    """What came of an import so far."""
    request.query()
    request.accepts("application/json")
    with request.surface.span("get_import"):
        stored = await get_import(request.services, request.principal, request.path_id("import_id"))
    return json_reply(import_fields(stored), headers=(_NEVER_STORED,))


@get(IMPORTS + "/{import_id:str}/quarantine", opt=described(operations.GET_QUARANTINE))
async def read_quarantine(request: StrictRequest) -> ASGIResponse:
    """The rows that an import set aside, to correct and post back."""
    return await _lines_of(request, quarantined)


@get(IMPORTS + "/{import_id:str}/warnings", opt=described(operations.GET_WARNINGS))
async def read_warnings(request: StrictRequest) -> ASGIResponse:
    """The rows that an import took in with a warning."""
    request.query()
    request.accepts(NDJSON)
    services, principal = request.services, request.principal
    stored = await get_import(services, principal, request.path_id("import_id"))

    async def lines() -> AsyncIterator[bytes]:
        async for note in warned(services, principal, stored.state):
            shown = {"line": note.line, "project_id": note.project_id, "reasons": note.reasons}
            yield encode(shown) + b"\n"

    return Lines(lines(), NDJSON)


def import_fields(stored: Stored[Import]) -> dict[str, Any]:
    """An import on the wire: its counts, and what it was asked to do."""
    order = stored.state
    return {
        "import_id": order.import_id,
        **msgspec.structs.asdict(order.counts),
        "mapping": order.mapping,
        "format": order.format,
        "size_bytes": order.size_bytes,
        "sha256": order.sha256,
        "requested_by": order.requested_by,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "job_url": f"{JOBS}/{order.import_id}",
        "quarantine_url": f"{IMPORTS}/{order.import_id}/quarantine",
    }


class Lines(ASGIResponse):
    """A stream of lines, sent in larger pieces."""

    __slots__ = ("_lines", "_media_type")

    def __init__(  # not ASGIResponse's: nothing of this answer is known beforehand
        self, lines: AsyncIterator[bytes], media_type: str, charset: str = "utf-8"
    ) -> None:
        self._lines = lines
        self._media_type = f"{media_type}; charset={charset}".encode()

    def to_asgi_response(self, *_args: object, **_kwargs: object) -> "Lines":
        """Itself: what Litestar asks of an answer."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send the lines as they come."""
        headers = [(b"content-type", self._media_type), _NEVER_STORED]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in in_pieces(self._lines):
            await send(piece)


async def _lines_of(
    request: StrictRequest, notes_of: Callable[..., AsyncIterator[Note]]
) -> ASGIResponse:
    """Notes as NDJSON or CSV, by Accept."""
    request.query()
    media_type = request.accepts(NDJSON, CSV)
    services, principal = request.services, request.principal
    order = (await get_import(services, principal, request.path_id("import_id"))).state
    form = QuarantineLines(order, await pinned_mapping(services, order))

    async def lines() -> AsyncIterator[bytes]:
        if media_type == CSV:
            yield form.csv_header()
        async for note in notes_of(services, principal, order):
            yield form.csv(note) if media_type == CSV else form.ndjson(note)

    return Lines(lines(), media_type, form.charset if media_type == CSV else "utf-8")


def _file_type(request: StrictRequest) -> str:
    """CSV or NDJSON; a charset parameter is let be, for the mapping names the encoding."""
    given = (request.field(b"content-type") or "").partition(";")[0].strip().lower()
    coded = request.context.headers.get(b"content-encoding", b"identity") != b"identity"
    if given not in FORMATS or coded:
        listed = ", ".join(FORMATS)
        detail = f"Content-Type must be one of: {listed}, and the file not compressed."
        raise Refusal("unsupported_media_type", detail, headers=((b"accept", listed.encode()),))
    return given


async def _received(request: StrictRequest) -> AsyncIterator[bytes]:
    """The body as it arrives; an upload that breaks off is none."""
    more = True
    while more:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise MalformedBody("The upload broke off.")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _key_use(request: StrictRequest, mapping: str | None) -> KeyUse | None:
    key = request.idempotency_key()
    if key is None:
        return None
    return KeyUse(
        scope=f"{request.principal.id} POST {IMPORTS}",
        key=key,
        # The mapping is part of what was asked for, though not of the body.
        content_type=f"{request.field(b'content-type') or ''} {mapping or ''}",
        answer=lambda job: answer_of(_accepted(job)),
    )


def _accepted(job: Job) -> Reply:
    headers: list[Header] = [
        (b"location", f"{JOBS}/{job.job_id}".encode()),
        (b"retry-after", b"1"),
    ]
    return json_reply(job, status=202, headers=headers)


async def _expected_version(request: StrictRequest, name: str) -> int | None:
    """The version that the preconditions name; 0: must not exist, None: no precondition."""
    if request.field(b"if-none-match") is not None:
        if request.field(b"if-none-match") != "*" or request.field(b"if-match") is not None:
            raise InvalidInput.at("/If-None-Match", "invalid_value", "Only * has a meaning here.")
        return 0
    header = request.field(b"if-match")
    if header is None:
        return None
    try:
        head = await request.services.reads.head(MAPPING_KIND, name)
    except NotFound:
        raise Stale("There is no such mapping yet.", current=0) from None
    if header != "*" and not matches(header, head.version, head.epoch):
        raise Stale(f"The mapping is at version {head.version}.", current=head.version)
    return head.version


async def _mapping_tag(request: StrictRequest, stored: Stored[ImportMapping]) -> Header:
    epoch = epoch_of(await request.services.reads.position())
    return (b"etag", entity_tag(stored.version, epoch, 0).encode())


def _mapping_body(mapping: ImportMapping) -> bytes:
    """A mapping as it may be put again: what it leaves open is left out."""
    shown = msgspec.to_builtins(mapping)
    shown["columns"] = [
        {name: value for name, value in column.items() if value is not None}
        for column in shown["columns"]
    ]
    return encode({name: value for name, value in shown.items() if value is not None})


route_handlers: Final = [  # those of the jobs that imports start included
    save_mapping,
    read_one_mapping,
    read_mappings,
    start,
    read_import,
    read_quarantine,
    read_warnings,
    *JOB_ROUTES,
]
