"""HTTP routes of single projects: create, amend, transition, read, history."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, Final, TypeVar

import msgspec
from litestar import get, patch, post

from spawn.application.commands import retry_on
from spawn.application.dependencies import Dependencies
from spawn.application.projects.commands import (
    CommandContext,
    CommandResult,
    amend_project,
    create_project,
    transition_project,
)
from spawn.application.projects.queries import get_project, list_project_history
from spawn.application.projects.versioned_views import convert_to_version
from spawn.domain.change import IdempotencyKey, IdempotencyReceipt, StoredAggregate
from spawn.domain.dates import parse_instant
from spawn.domain.errors import (
    CursorInvalid,
    SchemaVersionChanged,
    StaleVersion,
    Unavailable,
)
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.json_tokens import parse_object
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import MAX_REASON, PROJECT_KIND, Project
from spawn.domain.schemas.validator import ProjectInput
from spawn.domain.schemas.value_readers import read_status
from spawn.domain.struct_reader import compile_reader, prose_reader
from spawn.entrypoints.http.openapi.handler_operation import operation_options
from spawn.entrypoints.http.projects import operations
from spawn.entrypoints.http.projects.preconditions import (
    build_command_context,
    read_expected_version,
)
from spawn.entrypoints.http.projects.representation import (
    REPRESENTATIONS,
    ProjectRepresentation,
    build_representation,
    build_warning_headers,
)
from spawn.entrypoints.http.projects.response_codec import (
    PATH,
    build_recipe,
    render_command_response,
)
from spawn.entrypoints.http.projects.version_headers import (
    ProjectView,
    active_view,
    view_for_version,
)
from spawn.entrypoints.http.protocol.cursors import decode_cursor, encode_cursor, next_link
from spawn.entrypoints.http.protocol.etags import (
    fields_digest,
    is_not_modified,
    version_etag,
)
from spawn.entrypoints.http.protocol.idempotency import (
    find_stored_response,
    read_idempotency_key,
    render_stored_response,
)
from spawn.entrypoints.http.protocol.query_params import read_fields, read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest, require_canonical_id
from spawn.entrypoints.http.protocol.response import Header, Response, encode_json
from spawn.entrypoints.http.state import HttpState

T = TypeVar("T")
READ_PATH: Final = PATH + "/{project_id:str}"
PATCH_TYPES: Final = frozenset({"application/merge-patch+json", "application/json"})


class _TransitionBody(msgspec.Struct, frozen=True):
    """A move to another status, as a client sends it."""

    to: ProjectStatus
    reason: str
    effective_on: date | None = None


_read_transition: Final = compile_reader(
    _TransitionBody,
    {"to": read_status, "reason": prose_reader(MAX_REASON, allows_blank=False)},
    null_is_absent=True,
)


class _CommandAttempt:
    """One attempt at a command, under one schema version from the body to the response."""

    def __init__(
        self,
        request: StrictRequest,
        key: IdempotencyKey | None,
        view: ProjectView,
        epoch: int,
    ) -> None:
        self._request = request
        self._key = key
        self._view = view
        self._epoch = epoch

    def parse_body(self, body: bytes, *, partial: bool = False) -> ProjectInput:
        """Parse and validate a body; rules about dates use today's date."""
        today = self._request.dependencies.clock.now().date()
        return self._view.validator.read(parse_object(body), partial=partial, on_date=today)

    def command_context(
        self, status: int, warnings: tuple[Header, ...] = (), version: int | None = None
    ) -> CommandContext:
        """Return the command's context, with a receipt if the request has a key."""
        receipt = None
        if self._key is not None:
            recipe = build_recipe(status, self._view.headers, warnings, self._epoch)
            receipt = IdempotencyReceipt(self._key, recipe)
        return build_command_context(self._request, receipt, version, self._view.active_version)

    async def respond(
        self, result: CommandResult, status: int, warnings: tuple[Header, ...] = ()
    ) -> Response:
        """Build the response and cache the representation for later reads."""
        if result.replayed_response is not None:
            return await render_stored_response(self._request, result.replayed_response)
        if result.aggregate is None:
            raise RuntimeError("a command that was not replayed must return a project")
        dependencies, http_state = self._request.dependencies, self._request.http_state
        document = await get_project_document(
            dependencies, http_state, result.aggregate, self._view, self._epoch
        )
        return render_command_response(status, document, warnings)


async def _run_command(
    request: StrictRequest,
    key: IdempotencyKey | None,
    run: Callable[[_CommandAttempt], Awaitable[Response]],
) -> Response:
    """Run a command; parse the body again if the active schema changed meanwhile."""

    async def attempt() -> Response:
        view = await active_view(request)
        epoch = (await request.dependencies.reads.position()).epoch
        return await run(_CommandAttempt(request, key, view, epoch))

    try:
        return await retry_on(SchemaVersionChanged, attempt)
    except SchemaVersionChanged:
        raise Unavailable(
            "The active schema kept changing during the request. Retry later."
        ) from None
    except StaleVersion:
        # A concurrent retry of the same request may have won: return its response.
        stored_response = await find_stored_response(request, key)
        if stored_response is None:
            raise
        return stored_response


@post(PATH, opt=operation_options(operations.CREATE))
async def post_project(request: StrictRequest) -> Response:
    """Create a project under a new id."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    body = await request.read_body()
    key = read_idempotency_key(request, PATH, body)
    stored_response = await find_stored_response(request, key)
    if stored_response is not None:
        return stored_response

    async def run(attempt: _CommandAttempt) -> Response:
        attributes = attempt.parse_body(body)
        warnings = build_warning_headers(attributes.warnings)
        with request.http_state.span("create_project"):
            result = await create_project(
                request.dependencies,
                request.principal,
                attributes=attributes,
                context=attempt.command_context(201, warnings),
            )
        return await attempt.respond(result, 201, warnings)

    return await _run_command(request, key, run)


@patch(PATH + "/{project_id:str}", opt=operation_options(operations.AMEND))
async def patch_project(request: StrictRequest) -> Response:
    """Amend a project by a JSON merge patch."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    project_id = request.path_id()
    body = await request.read_body(PATCH_TYPES)
    key = read_idempotency_key(request, f"{PATH}/{project_id}", body)
    stored_response = await find_stored_response(request, key)
    if stored_response is not None:
        return stored_response

    async def run(attempt: _CommandAttempt) -> Response:
        attributes = attempt.parse_body(body, partial=True)
        # RFC 9110, 13.2.1: errors of the request itself come before its preconditions.
        version = await read_expected_version(request, PROJECT_KIND, project_id)
        warnings = build_warning_headers(attributes.warnings)
        with request.http_state.span("amend_project"):
            result = await amend_project(
                request.dependencies,
                request.principal,
                project_id,
                attributes=attributes,
                context=attempt.command_context(200, warnings, version),
            )
        return await attempt.respond(result, 200, warnings)

    return await _run_command(request, key, run)


@post(
    PATH + "/{project_id:str}/transitions",
    status_code=200,
    opt=operation_options(operations.TRANSITION),
)
async def post_transition(request: StrictRequest) -> Response:
    """Move a project to another status."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    project_id = request.path_id()
    body = await request.read_body()
    key = read_idempotency_key(request, f"{PATH}/{project_id}/transitions", body)
    stored_response = await find_stored_response(request, key)
    if stored_response is not None:
        return stored_response
    transition: _TransitionBody = _read_transition(parse_object(body), "")

    async def run(attempt: _CommandAttempt) -> Response:
        version = await read_expected_version(request, PROJECT_KIND, project_id)
        with request.http_state.span("transition_project"):
            result = await transition_project(
                request.dependencies,
                request.principal,
                project_id,
                to=transition.to,
                reason=transition.reason,
                effective_on=transition.effective_on,
                context=attempt.command_context(200, version=version),
            )
        return await attempt.respond(result, 200)

    return await _run_command(request, key, run)


@get(READ_PATH, opt=operation_options(operations.READ))
async def read_project(request: StrictRequest) -> Response:
    """Return one project.

    The common case costs a read of the head, two look-ups and a comparison of tags.
    """
    scope = request.scope
    project_id = require_canonical_id(scope["path_params"]["project_id"])
    headers = request.context.headers
    if headers.get(b"accept") not in {None, b"*/*"}:
        request.negotiate_media_type("application/json")
    if scope["query_string"]:
        document = await _load_requested_view(request, project_id)
    else:
        dependencies = request.dependencies
        active_version = (await dependencies.active_schema()).schema.version
        head = await dependencies.reads.head(PROJECT_KIND, project_id)
        cached = request.http_state[REPRESENTATIONS].get(
            (project_id, head.version, head.epoch, active_version, ())
        )
        document = cached or await _load_active(request, project_id, head.epoch)
    if_none_match = headers.get(b"if-none-match")
    if if_none_match is not None and is_not_modified(
        if_none_match.decode("latin-1"), document.etag
    ):
        return document.to_not_modified()
    return document.to_response()


async def _load_active(
    request: StrictRequest, project_id: str, epoch: int
) -> ProjectRepresentation:
    view = await active_view(request)
    aggregate = await get_project(request.dependencies, request.principal, project_id)
    return await get_project_document(
        request.dependencies, request.http_state, aggregate, view, epoch
    )


async def _load_requested_view(request: StrictRequest, project_id: str) -> ProjectRepresentation:
    """Load a project as of an instant, with some fields, or under an older schema."""
    parameters = request.query_parameters("as_of", "fields", "schema_version")
    dependencies = request.dependencies
    view = await view_for_version(request, parameters.get("schema_version"))
    names = read_fields(parameters.get("fields"), view.validator)
    as_of = parse_instant(parameters["as_of"], pointer="/as_of") if "as_of" in parameters else None
    with request.http_state.span("get_project"):
        aggregate = await get_project(dependencies, request.principal, project_id, as_of=as_of)
    epoch = (await dependencies.reads.head(PROJECT_KIND, project_id)).epoch
    view = msgspec.structs.replace(view, field_names=names)
    return await get_project_document(dependencies, request.http_state, aggregate, view, epoch)


async def get_project_document(
    dependencies: Dependencies,
    http_state: HttpState,
    aggregate: StoredAggregate[Project],
    view: ProjectView,
    epoch: int,
) -> ProjectRepresentation:
    """Return the encoded project, cached if possible; cache entries never change."""
    cache = http_state[REPRESENTATIONS]
    key = (aggregate.id, aggregate.version, epoch, view.active_version, view.etag_parts)
    cached = cache.get(key)
    if cached is not None:
        return cached
    converted = await convert_to_version(dependencies, aggregate, view.schema.version)
    return cache.put(key, _encode_project(converted, view, epoch))


def _encode_project(
    aggregate: StoredAggregate[Project], view: ProjectView, epoch: int
) -> ProjectRepresentation:
    """Encode a project that is under the view's schema version already."""
    tag = version_etag(aggregate.version, epoch, view.active_version, view.etag_parts)
    return build_representation(aggregate, view.schema, tag, view.headers, view.field_names)


@get(PATH + "/{project_id:str}/history", opt=operation_options(operations.HISTORY))
async def read_project_history(request: StrictRequest) -> Response:
    """List the versions of a project, oldest first."""
    request.negotiate_media_type("application/json")
    project_id = request.path_id()
    parameters = request.query_parameters("limit", "after")
    limit = read_limit(parameters.get("limit"))
    binding = bytes.fromhex(fields_digest((PROJECT_KIND, project_id)))
    after = _parse_history_cursor(parameters["after"], binding) if "after" in parameters else 0
    view = await active_view(request)
    with request.http_state.span("project_history"):
        entries = await list_project_history(
            request.dependencies,
            request.principal,
            project_id,
            after_version=after,
            limit=limit,
        )
    cursor = encode_cursor((entries[-1].version,), binding) if len(entries) == limit else None
    items = b",".join(encode_json(_render_history_entry(entry)) for entry in entries)
    body = b'{"items":[%b],"next":%b}' % (items, encode_json(cursor))
    headers = list(view.headers)
    if cursor is not None:
        headers.append(
            next_link(request.scope["path"], request.unchecked_query_parameters(), cursor)
        )
    return Response(200, body, headers=headers)


def _parse_history_cursor(text: str, binding: bytes) -> int:
    keys = decode_cursor(text, binding)
    if len(keys) != 1 or not isinstance(keys[0], int):
        raise CursorInvalid("The cursor is not one of this history. Start from its first page.")
    return keys[0]


def _render_history_entry(entry: JournalEntry) -> dict[str, Any]:
    """Render one version, with the document as it was encoded at commit."""
    item: dict[str, Any] = {
        "version": entry.version,
        "type": entry.type,
        "actor": entry.actor,
        "recorded_at": entry.recorded_at,
        "schema_version": entry.schema_version,
        "changed": entry.changed,
        "document": msgspec.Raw(entry.document),
    }
    if entry.reason is not None:
        item["reason"] = entry.reason
    return item


ROUTES: Final = [post_project, read_project, patch_project, post_transition, read_project_history]
