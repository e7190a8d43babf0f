"""HTTP routes of imports and their mappings."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from email.message import Message
from typing import Any, Final, TypeVar

import msgspec

from spawn.application.exports import QuarantineFormatter
from spawn.application.imports.commands import (
    WORKBOOKS_NEED_EXTRA,
    SubmissionContext,
    check_charset,
    put_mapping,
    submit_import,
)
from spawn.application.imports.dry_runs import DryRunSlots
from spawn.application.imports.queries import (
    count_reasons,
    get_import,
    get_mapping,
    get_pinned_mapping,
    list_imports,
    list_mappings,
    stream_quarantined_rows,
    stream_rows_with_warnings,
    stream_vanished_projects,
)
from spawn.application.product.links import CSV, NDJSON
from spawn.domain.approvals.approval_policy import check_import
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import (
    Duplicate,
    Forbidden,
    InvalidInput,
    MalformedBody,
    NotFound,
    StaleVersion,
)
from spawn.domain.imports.import_state import IMPORT_KIND, FileFormat, ImportKind
from spawn.domain.imports.mapping import MAPPING_KIND, ImportMapping
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.json_tokens import parse_object
from spawn.domain.lineage.run import PARENT_HEADER
from spawn.domain.principal import Scope
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.entrypoints.http.imports.wire import (
    DryRunView,
    ImportMappingView,
    ImportReasonsView,
    ImportView,
    RowWarningView,
    VanishedProjectView,
)
from spawn.entrypoints.http.jobs import (
    ACCEPTED_RESPONSE,
    IMPORTS,
    read_receipt,
    respond_to_submission,
)
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.etags import (
    is_not_modified,
    is_version_match,
    validate_etags,
    version_etag,
)
from spawn.entrypoints.http.protocol.operation import (
    BODY_PROBLEMS,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    Body,
    Cache,
    Parameter,
    Success,
)
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    LIMIT,
    read_after,
    read_choice,
    read_limit,
)
from spawn.entrypoints.http.protocol.request import StrictRequest, read_document
from spawn.entrypoints.http.protocol.response import (
    NO_CACHE,
    Header,
    LineStreamResponse,
    Response,
    encode_json,
)
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.state import StateKey
from spawn.entrypoints.http.wire import PageView

MAPPINGS: Final = "/v1/ops/import-mappings"
_FILE_SCHEMA: Final = {"type": "string", "format": "binary"}
"""The schema by which generators of clients make a function that takes a file."""

_FILE_EXAMPLES: Final = {
    CSV: "id,name,eur_m\nH-1,North Solar,12.5\n",
    FileFormat.XML.media_type: (
        "<iati-activities><iati-activity><iati-identifier>H-1</iati-identifier>"
        "<title><narrative>North Solar</narrative></title></iati-activity></iati-activities>\n"
    ),
}
FORMATS: Final = {
    **{file_format.media_type: file_format for file_format in FileFormat},
    "text/xml": FileFormat.XML,
    "application/geo+json": FileFormat.JSON,
}
TAG: Final = "imports"
ItemT = TypeVar("ItemT")

_COMMANDS: Final = {ImportKind.FACILITY: "createFacility", ImportKind.ENTRY: "recordEntry"}
"""Commands that write the rows of an import, by their operations."""

_DRY_RUNS: Final = StateKey(DryRunSlots)
_BINDING: Final = cursor_binding(MAPPING_KIND)
_MAPPING_EXAMPLE: Final = {
    "encoding": ["utf-8", "cp1252"],
    "null": ["", "NA"],
    "columns": [
        {"attribute": "project_name", "column": "Name", "whitespace": "collapse"},
        {
            "attribute": "total_amount",
            "column": "Cost (EUR m)",
            "unit_factor": "1000000",
            "rounding": "half_even",
        },
        {"attribute": "currency_code", "constant": "EUR"},
    ],
    "key": {"source": "desk", "column": "Id"},
    "duplicates": "first_valid_wins",
    "on_existing": "skip_if_identical",
}


@route(
    "PUT",
    MAPPINGS + "/{name}",
    "putImportMapping",
    scopes=(Scope.PROJECTS_WRITE, Scope.FINANCE_WRITE),
    tag=TAG,
    summary="Create or replace an import mapping",
    description=(
        "Putting the stored content again changes nothing. To replace other content, send the ETag "
        "of the version that you read in `If-Match`."
    ),
    parameters=(
        msgspec.structs.replace(
            IF_MATCH,
            description="The ETag of the version to replace.",
            is_required=False,
            component="",
        ),
        Parameter(
            "If-None-Match",
            {"type": "string", "pattern": r"^\*$"},
            "`*`: create only, never replace.",
            "header",
        ),
    ),
    body=Body(ImportMappingView, example=_MAPPING_EXAMPLE, has_many_values=True),
    returns=Success(ImportMappingView, "Replaced, or unchanged", headers=("ETag",)),
    also=(Success(ImportMappingView, "Created", status=201, headers=("ETag", "Location")),),
    problems=(*BODY_PROBLEMS, "stale_version", "precondition_required"),
)
async def put_import_mapping(request: StrictRequest, name: str) -> Result:
    """Create or replace an import mapping."""
    body = await request.read_body()
    mapping = await read_document(lambda text: read_mapping(name, parse_object(text)), body)
    version = await _read_expected_version(request, name)
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
    view = ImportMappingView.of_mapping(result.aggregate.state)
    tag = await _mapping_etag_header(request, result.aggregate)
    if not result.is_new:
        return Result(view, (tag,))
    return Result(view, (tag, (b"location", f"{MAPPINGS}/{name}".encode())), status=201)


@route(
    "GET",
    MAPPINGS + "/{name}",
    "getImportMapping",
    scopes=(Scope.PROJECTS_READ,),
    tag=TAG,
    summary="Get an import mapping",
    parameters=(IF_NONE_MATCH,),
    returns=Success(ImportMappingView, "The mapping"),
    problems=("not_found",),
)
async def read_import_mapping(request: StrictRequest, name: str) -> Response | Result:
    """Return an import mapping."""
    aggregate = await get_mapping(request.dependencies, request.principal, name)
    tag = await _mapping_etag_header(request, aggregate)
    if is_not_modified(request.header(b"if-none-match"), tag[1].decode()):
        return Response(304, headers=(tag,))
    return Result(ImportMappingView.of_mapping(aggregate.state), (tag, NO_CACHE))


@route(
    "GET",
    MAPPINGS,
    "listImportMappings",
    scopes=(Scope.PROJECTS_READ,),
    tag=TAG,
    summary="List import mappings",
    parameters=(LIMIT, AFTER),
    returns=Success(
        PageView[ImportMappingView], "A page of mappings, oldest first", headers=("Link",)
    ),
    problems=("cursor_invalid",),
)
async def read_import_mapping_page(request: StrictRequest) -> Result:
    """List import mappings, one page at a time."""
    query = Query(
        kind=MAPPING_KIND,
        limit=read_limit(request.query.get("limit")),
        after=read_after(request.query, _BINDING),
    )
    page = await list_mappings(request.dependencies, request.principal, query)
    items = [ImportMappingView.of_mapping(aggregate.state) for aggregate in page.items]
    return page_result(request, items, page.next, _BINDING)


@route(
    "POST",
    IMPORTS,
    "startImport",
    scopes=(Scope.PROJECTS_WRITE, Scope.FINANCE_WRITE),
    tag=TAG,
    summary="Import projects, facilities or entries from a file",
    description=(
        "The file is stored before the response is sent; a background job imports it. Invalid rows "
        "are quarantined with their reasons. Importing the same file again changes nothing. "
        "Facilities and entries need the scope `finance:write`, and are written by the commands of "
        "the API, under the same rules; a dry run serves projects alone."
    ),
    parameters=(
        Parameter(
            "kind",
            {"type": "string", "enum": list(ImportKind), "default": ImportKind.PROJECT.value},
            "Kind of the rows: projects, facilities, or entries of ledgers.",
        ),
        Parameter(
            "mapping",
            str,
            "Name of the mapping that converts rows; projects need one but in NDJSON and JSON.",
        ),
        Parameter(
            "dry_run",
            bool,
            "`true`: write nothing, and return counts, reasons and samples with 200.",
        ),
        Parameter(
            "from_export",
            bool,
            "`true`: the file is an export of this service, CSV, NDJSON or XLSX; needs no mapping.",
        ),
        IDEMPOTENCY_KEY,
        Parameter(
            PARENT_HEADER,
            str,
            "The run of a pipeline that imports the file, as `namespace/job/run id`; its lineage "
            "has the run as its parent.",
            "header",
        ),
    ),
    body=Body(
        _FILE_SCHEMA,
        # Generated clients of several files send the last type, so it is the commonest.
        media_types=(
            NDJSON,
            FileFormat.JSON.media_type,
            FileFormat.XML.media_type,
            FileFormat.XLSX.media_type,
            CSV,
        ),
        file_examples=_FILE_EXAMPLES,
    ),
    returns=ACCEPTED_RESPONSE,
    also=(Success(DryRunView, "What a dry run would do"),),
    problems=(
        "malformed_body",
        "request_timeout",
        "unsupported_media_type",
        "idempotency_key_reused",
        "overloaded",
        "storage_full",
    ),
)
async def post_import(request: StrictRequest) -> Response | Result:
    """Store an uploaded file and queue its import, or try it without writing."""
    media_type, charset = _read_upload_media_type(request)
    mapping_name = request.query.get("mapping")
    await check_charset(request.dependencies, charset, FORMATS[media_type], mapping_name)
    from_export = _read_switch(request, "from_export")
    kind = read_choice(request.query, "kind", ImportKind) or ImportKind.PROJECT
    _check_approvals(request, kind)
    if _read_switch(request, "dry_run"):
        run = await request.http_state[_DRY_RUNS].run(
            request.dependencies,
            request.principal,
            _stream_upload(request),
            file_format=FORMATS[media_type],
            mapping_name=mapping_name,
            from_export=from_export,
            kind=kind,
        )
        return Result(DryRunView.of_run(run), status=200)
    check_import(request.http_state.approval_policy, request.principal)
    with request.http_state.jobs.reserve(request.context.client) as place:
        submission = await submit_import(
            request.dependencies,
            request.principal,
            _stream_upload(request),
            file_format=FORMATS[media_type],
            mapping_name=mapping_name,
            from_export=from_export,
            kind=kind,
            context=SubmissionContext(
                receipt=read_receipt(
                    request,
                    IMPORTS,
                    mapping_name or "",
                    *(["from_export"] if from_export else []),
                    *([kind] if kind is not ImportKind.PROJECT else []),
                ),
                parent=request.header(PARENT_HEADER.lower().encode()),
            ),
        )
        return await respond_to_submission(request, submission, place)


@route(
    "GET",
    IMPORTS,
    "listImports",
    scopes=(Scope.PROJECTS_READ,),
    tag=TAG,
    summary="List imports",
    parameters=(Parameter("mapping", str, "Only imports through this mapping."), LIMIT, AFTER),
    returns=Success(PageView[ImportView], "A page of imports, newest first", headers=("Link",)),
    problems=("cursor_invalid",),
    cache=Cache.NO_STORE,
)
async def read_import_page(request: StrictRequest) -> Result:
    """List imports, one page at a time."""
    mapping = request.query.get("mapping")
    binding = cursor_binding(IMPORT_KIND, *([mapping] if mapping else []))
    query = Query(
        kind=IMPORT_KIND,
        filters=() if mapping is None else (Filter("mapping", Operator.EQ, (mapping,)),),
        sort=(Sort("created_at", descending=True),),
        limit=read_limit(request.query.get("limit")),
        after=read_after(request.query, binding),
    )
    page = await list_imports(request.dependencies, request.principal, query)
    return page_result(request, [ImportView.of_import(i) for i in page.items], page.next, binding)


@route(
    "GET",
    IMPORTS + "/{import_id}/reasons",
    "getImportReasons",
    scopes=(Scope.PROJECTS_READ,),
    tag=TAG,
    summary="Count the rows of each reason of an import",
    description="Each reason has the number of its rows and the first of them.",
    returns=Success(ImportReasonsView, "The reasons, those of most rows first"),
    problems=("not_found",),
    cache=Cache.NO_STORE,
)
async def read_reasons(request: StrictRequest, import_id: str) -> ImportReasonsView:
    """Count the rows of each reason of an import, with samples."""
    dependencies, principal = request.dependencies, request.principal
    state = (await get_import(dependencies, principal, import_id)).state
    reasons, warnings = await count_reasons(dependencies, principal, state)
    return ImportReasonsView.of(state, reasons=reasons, warnings=warnings)


@route(
    "GET",
    IMPORTS + "/{import_id}",
    "getImport",
    scopes=(Scope.PROJECTS_READ,),
    tag=TAG,
    summary="Get an import",
    returns=Success(ImportView, "The counts so far"),
    problems=("not_found",),
    cache=Cache.NO_STORE,
)
async def read_import(request: StrictRequest, import_id: str) -> ImportView:
    """Return an import with its counts so far."""
    return ImportView.of_import(
        await get_import(request.dependencies, request.principal, import_id)
    )


@route(
    "GET",
    IMPORTS + "/{import_id}/quarantine",
    "getImportQuarantine",
    scopes=(Scope.PROJECTS_READ,),
    tag=TAG,
    summary="List the quarantined rows of an import",
    description=(
        "Each row has its line number, fields, reasons and raw line. Correct the fields and import "
        "the lines again with the same mapping."
    ),
    returns=Success(str, "One row per line", media_types=(NDJSON, CSV)),
    problems=("not_found",),
)
async def read_quarantine(request: StrictRequest, import_id: str) -> LineStreamResponse:
    """Stream the quarantined rows of an import, to correct and import again."""
    dependencies, principal = request.dependencies, request.principal
    is_csv = request.media_type == CSV
    state = (await get_import(dependencies, principal, import_id)).state
    formatter = QuarantineFormatter(state, await get_pinned_mapping(dependencies, state))

    rows = stream_quarantined_rows(dependencies, principal, state)
    lines = formatter.format_rows(rows, FORMATS[request.media_type])
    charset = formatter.charset if is_csv else "utf-8"
    return LineStreamResponse(lines, request.media_type, request.is_still_permitted, charset)


@route(
    "GET",
    IMPORTS + "/{import_id}/warnings",
    "getImportWarnings",
    scopes=(Scope.PROJECTS_READ,),
    tag=TAG,
    summary="List the rows of an import that have warnings",
    description="These rows were imported. Each has its line number, project and reasons.",
    returns=Success(str, "One row per line", media_types=(NDJSON,)),
    problems=("not_found",),
)
async def read_warnings(request: StrictRequest, import_id: str) -> LineStreamResponse:
    """Stream the rows that an import accepted with a warning."""
    dependencies, principal = request.dependencies, request.principal
    aggregate = await get_import(dependencies, principal, import_id)

    notes = stream_rows_with_warnings(dependencies, principal, aggregate.state)
    return LineStreamResponse(
        _encode_lines(notes, RowWarningView.of), NDJSON, request.is_still_permitted
    )


@route(
    "GET",
    IMPORTS + "/{import_id}/vanished",
    "getImportVanished",
    scopes=(Scope.PROJECTS_READ,),
    tag=TAG,
    summary="List the projects that the file of an import lacks",
    description=(
        "Only for a mapping with `vanished: report`: the projects of its source whose keys no row "
        "of the file has. The import leaves them as they are."
    ),
    returns=Success(str, "One project per line", media_types=(NDJSON,)),
    problems=("not_found",),
)
async def read_vanished(request: StrictRequest, import_id: str) -> LineStreamResponse:
    """Stream the projects of a mapping's source that a file lacks."""
    dependencies, principal = request.dependencies, request.principal
    aggregate = await get_import(dependencies, principal, import_id)

    projects = stream_vanished_projects(dependencies, principal, aggregate.state)
    return LineStreamResponse(
        _encode_lines(projects, VanishedProjectView.of_project), NDJSON, request.is_still_permitted
    )


async def _encode_lines(
    items: AsyncIterator[ItemT], view: Callable[[ItemT], msgspec.Struct]
) -> AsyncGenerator[bytes]:
    async for item in items:
        yield encode_json(view(item)) + b"\n"


def _check_approvals(request: StrictRequest, kind: ImportKind) -> None:
    """Check that no row of an import would need the approval of another person.

    Raises:
        Forbidden: a rule of the policy applies to the commands of the kind and to the caller.
    """
    command = _COMMANDS.get(kind)
    rules = () if command is None else request.http_state.approval_policy.rules_for(command)
    scopes = request.principal.scopes
    if any(scopes.isdisjoint(rule.except_scopes) for rule in rules):
        raise Forbidden(
            f"A rule of approvals applies to {command}, and an import cannot ask for approvals: "
            "send the commands one by one, or import with a scope that the rule excepts."
        )


def _read_switch(request: StrictRequest, name: str) -> bool:
    text = request.query.get(name, "false")
    if text not in {"true", "false"}:
        raise InvalidInput.at(f"/{name}", "invalid_value", "must be true or false")
    return text == "true"


def _read_upload_media_type(request: StrictRequest) -> tuple[str, str | None]:
    """Return the upload's media type and its charset, if it states one."""
    header = Message()
    header["content-type"] = request.header(b"content-type") or ""
    # A header without a type would be read as text/plain, which is no type of an upload either.
    media_type, charset = header.get_content_type(), header.get_param("charset")
    is_encoded = request.context.headers.get(b"content-encoding", b"identity") != b"identity"
    if media_type not in FORMATS or is_encoded:
        supported = ", ".join(FORMATS)
        detail = f"Content-Type must be one of: {supported}, and the file not compressed."
        raise RequestProblem(
            "unsupported_media_type", detail, headers=((b"accept", supported.encode()),)
        )
    workers = request.dependencies.workers
    if FORMATS[media_type] is FileFormat.XLSX and not workers.reads_workbooks:
        raise RequestProblem("unsupported_media_type", WORKBOOKS_NEED_EXTRA)
    return media_type, charset if isinstance(charset, str) else None


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
    validate_etags("If-Match", header)
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
    epoch = (await request.dependencies.reads.position()).epoch
    return (b"etag", version_etag(aggregate.version, epoch, 0).encode())


ROUTES: Final[list[Route]] = [
    put_import_mapping,
    read_import_mapping,
    read_import_mapping_page,
    post_import,
    read_import_page,
    read_import,
    read_reasons,
    read_quarantine,
    read_warnings,
    read_vanished,
]
