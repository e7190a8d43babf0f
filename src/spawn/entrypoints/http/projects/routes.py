"""HTTP routes of single projects: create, amend, transition, read, history."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from spawn.application.commands import retry_on
from spawn.application.dependencies import Dependencies
from spawn.application.projects.commands import (
    CommandContext,
    CommandResult,
    amend_project,
    create_project,
    transition_project,
)
from spawn.application.projects.list_query import read_fields
from spawn.application.projects.queries import get_project, list_project_history
from spawn.application.projects.versioned_views import convert_to_version
from spawn.domain.approvals.approval_policy import CommandFacts, StateFacts
from spawn.domain.change import IdempotencyKey, IdempotencyReceipt, StoredAggregate
from spawn.domain.errors import SchemaVersionChanged, Unavailable
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Scope
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import MAX_REASON, PROJECT_KIND, Project
from spawn.domain.query import HistoryBounds
from spawn.domain.schemas.validator import ProjectInput
from spawn.domain.schemas.value_readers import read_status
from spawn.domain.struct_reader import compile_reader, prose_reader
from spawn.entrypoints.http.projects.preconditions import read_expected_version
from spawn.entrypoints.http.projects.project_view import (
    ProjectView,
    active_view,
    view_for_version,
)
from spawn.entrypoints.http.projects.representation import (
    REPRESENTATIONS,
    ProjectRepresentation,
    build_representation,
    build_representation_of_document,
    build_warning_headers,
)
from spawn.entrypoints.http.projects.response_codec import (
    PATH,
    build_recipe,
    render_command_response,
)
from spawn.entrypoints.http.projects.wire import (
    FIELDS,
    HISTORY_SORT,
    MAX_VERSION,
    MIN_VERSION,
    RECORDED_FROM,
    RECORDED_TO,
    HistoryEntryView,
    HistoryOrder,
    TransitionView,
)
from spawn.entrypoints.http.protocol.cursors import cursor_binding, decode_cursor_key
from spawn.entrypoints.http.protocol.etags import is_not_modified, version_etag
from spawn.entrypoints.http.protocol.idempotency import (
    read_idempotency_key,
    render_stored_response,
    run_once,
)
from spawn.entrypoints.http.protocol.operation import (
    BODY_PROBLEMS,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    JSON,
    Approvable,
    Body,
    Success,
)
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    KNOWN_AS_OF,
    LIMIT,
    SCHEMA_VERSION,
    read_choice,
    read_limit,
    read_moment,
    read_number,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.state import HttpState
from spawn.entrypoints.http.wire import PageView

TAG: Final = "operations"
READ_PATH: Final = PATH + "/{project_id}"
PROJECT_HEADERS: Final = ("ETag", "Link", "Deprecation", "Sunset")
_WRITE_HEADERS: Final = (*PROJECT_HEADERS, "Spawn-Warnings")
_COMMAND_PROBLEMS: Final = (
    *BODY_PROBLEMS,
    *("overloaded", "storage_full", "idempotency_key_reused", "conflict", "duplicate"),
)
CHANGE_PROBLEMS: Final = (
    *_COMMAND_PROBLEMS,
    *("not_found", "stale_version", "precondition_required"),
)
_EXAMPLE: Final = {
    "project_name": "Sierra Wind II",
    "total_amount": "125000000.00",
    "currency_code": "EUR",
    "country_code": "ESP",
    "sector": "wind",
    "maturity_years": 18,
    "expected_irr": 0.095,
    "dscr": 1.35,
    "description": "120 MW onshore wind farm",
}
_STATE_FACTS: Final = StateFacts(PROJECT_KIND, "total_amount", "currency_code")
_read_transition: Final = compile_reader(
    TransitionView,
    {"to": read_status, "reason": prose_reader(MAX_REASON, allows_blank=False)},
    null_is_absent=True,
)


class ProjectCommandAttempt:
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
        return CommandContext(
            expected_version=version,
            schema_version=self._view.active_version,
            receipt=receipt,
            traceparent=self._request.context.traceparent,
        )

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
            dependencies, http_state, result.aggregate, self._view, self._epoch, result.document
        )
        return render_command_response(status, document, warnings)


async def run_project_command(
    request: StrictRequest,
    run: Callable[[ProjectCommandAttempt, bytes], Awaitable[Response]],
    **path_params: str,
) -> Response:
    """Run a command; parse the body again if the active schema changed meanwhile."""
    body = await request.read_body()
    key = read_idempotency_key(request, request.operation.path.format(**path_params), body)

    async def attempt() -> Response:
        view = await active_view(request)
        epoch = (await request.dependencies.reads.position()).epoch
        return await run(ProjectCommandAttempt(request, key, view, epoch), body)

    try:
        return await run_once(request, key, partial(retry_on, SchemaVersionChanged, attempt))
    except SchemaVersionChanged:
        raise Unavailable(
            "The active schema kept changing during the request. Retry later."
        ) from None


@route(
    "POST",
    PATH,
    "createProject",
    scopes=(Scope.PROJECTS_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Create a project",
    description=(
        "The body is validated against the active schema. Unknown fields are rejected unless they "
        "begin with `x_`. First-generation payloads are accepted: amounts as JSON numbers, "
        "`expected_tri` as a percentage, `ACTIVE` for OPERATION."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body("ProjectInput", example=_EXAMPLE),
    returns=Success("Project", "Created.", status=201, headers=("Location", *_WRITE_HEADERS)),
    problems=_COMMAND_PROBLEMS,
    approval=Approvable(
        CommandFacts(amount="total_amount"),
        msgspec.structs.replace(
            _STATE_FACTS,
            kind="status",
            initial_kind=ProjectStatus.PROPOSED,
            counts_as="transitionProject",
        ),
    ),
)
async def post_project(request: StrictRequest) -> Response:
    """Create a project under a new id."""

    async def run(attempt: ProjectCommandAttempt, body: bytes) -> Response:
        attributes = attempt.parse_body(body)
        warnings = build_warning_headers(attributes.warnings)
        result = await create_project(
            request.dependencies,
            request.principal,
            attributes=attributes,
            context=attempt.command_context(201, warnings),
        )
        return await attempt.respond(result, 201, warnings)

    return await run_project_command(request, run)


@route(
    "PATCH",
    READ_PATH,
    "amendProject",
    scopes=(Scope.PROJECTS_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Amend a project",
    description=(
        "The body is a JSON merge patch (RFC 7396): a value replaces, null removes, absent fields "
        "stay. A patch without changes writes nothing. The status changes by transitions only."
    ),
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(
        "ProjectPatch",
        media_types=("application/merge-patch+json", JSON),
        example={"description": "130 MW after repowering", "dscr": 1.4},
    ),
    returns=Success("Project", "Amended.", headers=_WRITE_HEADERS),
    problems=CHANGE_PROBLEMS,
    approval=Approvable(CommandFacts(amount="total_amount"), _STATE_FACTS),
)
async def patch_project(request: StrictRequest, project_id: str) -> Response:
    """Amend a project by a JSON merge patch."""

    async def run(attempt: ProjectCommandAttempt, body: bytes) -> Response:
        attributes = attempt.parse_body(body, partial=True)
        # RFC 9110, 13.2.1: errors of the request itself come before its preconditions.
        version = await read_expected_version(request, PROJECT_KIND, project_id)
        warnings = build_warning_headers(attributes.warnings)
        result = await amend_project(
            request.dependencies,
            request.principal,
            project_id,
            attributes=attributes,
            context=attempt.command_context(200, warnings, version),
        )
        return await attempt.respond(result, 200, warnings)

    return await run_project_command(request, run, project_id=project_id)


@route(
    "POST",
    READ_PATH + "/transitions",
    "transitionProject",
    scopes=(Scope.PROJECTS_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Transition a project",
    description="Moves the project to another status that its lifecycle allows, with a reason.",
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(
        TransitionView,
        example={"to": "MANDATED", "reason": "mandate letter signed", "effective_on": "2026-03-01"},
    ),
    returns=Success("Project", "Transitioned.", headers=PROJECT_HEADERS),
    problems=(*CHANGE_PROBLEMS, "illegal_transition"),
    approval=Approvable(CommandFacts(kind="to", read_kind=read_status)),
)
async def post_transition(request: StrictRequest, project_id: str) -> Response:
    """Move a project to another status."""

    async def run(attempt: ProjectCommandAttempt, body: bytes) -> Response:
        transition: TransitionView = _read_transition(parse_object(body), "")
        version = await read_expected_version(request, PROJECT_KIND, project_id)
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

    return await run_project_command(request, run, project_id=project_id)


@route(
    "GET",
    READ_PATH,
    "getProject",
    scopes=(Scope.PROJECTS_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a project",
    description=(
        "The current version, or the one recorded at an instant (`as_of`); all fields, or some "
        "(`fields`); under the active schema, or an older version of it (`schema_version`)."
    ),
    parameters=(KNOWN_AS_OF, FIELDS, SCHEMA_VERSION, IF_NONE_MATCH),
    returns=Success("Project", "The project.", headers=PROJECT_HEADERS),
    problems=("not_found", "schema_version_expired"),
)
async def read_project(request: StrictRequest, project_id: str) -> Response:
    """Return one project.

    The common case costs a read of the head, two look-ups and a comparison of tags.
    """
    if request.query:
        document = await _load_requested_view(request, project_id)
    else:
        dependencies = request.dependencies
        active_version = (await dependencies.active_schema()).schema.version
        head = await dependencies.reads.head(PROJECT_KIND, project_id)
        representation = request.http_state[REPRESENTATIONS].get(
            (project_id, head.version, head.epoch, active_version, ())
        )
        document = representation or await _load_active(request, project_id, head.epoch)
    if_none_match = request.context.headers.get(b"if-none-match")
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
    parameters, dependencies = request.query, request.dependencies
    view = await view_for_version(request, parameters.get("schema_version"))
    names = read_fields(parameters.get("fields"), view.validator)
    as_of = read_moment(parameters, "as_of")
    aggregate = await get_project(dependencies, request.principal, project_id, as_of=as_of)
    epoch = (await dependencies.reads.position()).epoch
    view = msgspec.structs.replace(view, field_names=names)
    return await get_project_document(dependencies, request.http_state, aggregate, view, epoch)


async def get_project_document(
    dependencies: Dependencies,
    http_state: HttpState,
    aggregate: StoredAggregate[Project],
    view: ProjectView,
    epoch: int,
    document: bytes | None = None,
) -> ProjectRepresentation:
    """Return the encoded project, cached if possible; cache entries never change.

    `document` is the journal's, if the caller has it.
    """
    cache = http_state[REPRESENTATIONS]
    key = (aggregate.id, aggregate.version, epoch, view.active_version, view.etag_parts)
    representation = cache.get(key)
    if representation is not None:
        return representation
    is_under_view = aggregate.schema_version == view.schema.version
    if document and is_under_view and not (view.field_names or aggregate.state.hidden_attributes):
        tag = version_etag(aggregate.version, epoch, view.active_version, view.etag_parts)
        spliced = build_representation_of_document(aggregate, document, tag, view.headers)
        return cache.put(key, spliced)
    converted = await convert_to_version(dependencies, aggregate, view.schema.version)
    return cache.put(key, _encode_project(converted, view, epoch))


def _encode_project(
    aggregate: StoredAggregate[Project], view: ProjectView, epoch: int
) -> ProjectRepresentation:
    """Encode a project that is under the view's schema version already."""
    tag = version_etag(aggregate.version, epoch, view.active_version, view.etag_parts)
    return build_representation(aggregate, view.schema, tag, view.headers, view.field_names)


@route(
    "GET",
    READ_PATH + "/history",
    "getProjectHistory",
    scopes=(Scope.PROJECTS_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the history of a project",
    description=(
        "Every version, oldest first or (`sort=-version`) newest first, with its actor, its "
        "changed fields and the document as it was stored; a range of versions or of recorded time."
    ),
    parameters=(
        HISTORY_SORT,
        MIN_VERSION,
        MAX_VERSION,
        RECORDED_FROM,
        RECORDED_TO,
        LIMIT,
        AFTER,
    ),
    returns=Success(PageView[HistoryEntryView], "Versions.", headers=("Link",)),
    problems=("not_found", "cursor_invalid"),
)
async def read_project_history(request: StrictRequest, project_id: str) -> Result:
    """List the versions of a project."""
    parameters = request.query
    limit, after = read_limit(parameters.get("limit")), parameters.get("after")
    selection = sorted(f"{n}={v}" for n, v in parameters.items() if n not in {"limit", "after"})
    binding = cursor_binding(PROJECT_KIND, project_id, *selection)
    after_version, bounds = _read_history_bounds(
        parameters, None if after is None else decode_cursor_key(after, binding, int)
    )
    view = await active_view(request)
    entries = await list_project_history(
        request.dependencies,
        request.principal,
        project_id,
        after_version=after_version,
        limit=limit,
        bounds=bounds,
    )
    next_keys = (entries[-1].version,) if len(entries) == limit else None
    items = map(HistoryEntryView.of_entry, entries)
    return page_result(request, items, next_keys, binding, headers=view.headers)


def _read_history_bounds(
    parameters: Mapping[str, str], cursor: int | None
) -> tuple[int, HistoryBounds]:
    """Return the version after which a page of the history begins, and its bounds.

    Args:
        parameters: of the request.
        cursor: the last version of the previous page.
    """
    order = read_choice(parameters, "sort", HistoryOrder) or HistoryOrder.OLDEST_FIRST
    first, last = (read_number(parameters, f"version[{name}]") for name in ("gte", "lte"))
    after_version = 0 if first is None else first - 1
    before_version = None if last is None else last + 1
    is_descending = order is HistoryOrder.NEWEST_FIRST
    if cursor is not None and is_descending:
        before_version = cursor
    elif cursor is not None:
        after_version = cursor
    return after_version, HistoryBounds(
        before_version=before_version,
        recorded_from=read_moment(parameters, "recorded_at[gte]", is_start=True),
        recorded_to=read_moment(parameters, "recorded_at[lte]"),
        is_descending=is_descending,
    )


ROUTES: Final[list[Route]] = [
    post_project,
    read_project,
    patch_project,
    post_transition,
    read_project_history,
]
