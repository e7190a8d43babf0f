"""HTTP routes of schema candidates: review, dry run, diff, migrations, decisions."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from spawn.application.schemas.activation import RefreshResult
from spawn.application.schemas.adoptions.proposals import (
    check_schema,
    review_schema,
)
from spawn.application.schemas.adoptions.steward_decisions import (
    FINGERPRINT_POINTER,
    approve_schema,
    preview_schema_approval,
    reject_schema,
)
from spawn.application.schemas.versions import diff_versions, list_migrations
from spawn.application.struct_schemas import reference
from spawn.domain.approvals.approval import CommandPreview
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Scope
from spawn.domain.projects.project import MAX_REASON
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.schemas.evolution.migration_plan import describe_plan
from spawn.domain.struct_reader import compile_reader, prose_reader
from spawn.entrypoints.http.protocol.cursors import cursor_binding, decode_cursor_key
from spawn.entrypoints.http.protocol.operation import (
    BODY_PROBLEMS,
    Approvable,
    Body,
    Parameter,
    Success,
)
from spawn.entrypoints.http.protocol.query_params import AFTER, LIMIT, read_choice, read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest, read_document
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.schemas.routes import (
    TAG,
    VERSION_SCHEMA,
    read_version_number,
    read_version_parameter,
)
from spawn.entrypoints.http.schemas.wire import (
    PATH,
    CandidateView,
    DecisionRequestView,
    DiffView,
    MigrationView,
    ProposalView,
    RefreshResultView,
)
from spawn.entrypoints.http.wire import PageView

_BINDING: Final = cursor_binding("migrations")
_DECISION: Final = Body(
    DecisionRequestView,
    example={"reason": "agreed with the data owners of the downstream reports"},
)
_DECISION_RESULT: Final = Success(RefreshResultView, "The decision's result.")
_DECISION_PROBLEMS: Final = (
    *("not_found", "conflict", "forbidden", "unavailable", "overloaded", "storage_full"),
    *BODY_PROBLEMS,
)
_CHECK_REQUEST: Final = {
    "$defs": {
        "SchemaCheckRequest": {
            "type": "object",
            "description": "A schema document, as an ontology server serves it.",
        }
    },
    **reference("SchemaCheckRequest"),
}
_read_decision: Final = compile_reader(
    DecisionRequestView,
    {"reason": prose_reader(MAX_REASON, allows_blank=False)},
    null_is_absent=True,
)


@route(
    "GET",
    PATH + "/{schema_id}/candidates/{number}",
    "getSchemaCandidate",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    tag=TAG,
    summary="Get a schema candidate",
    description=(
        "A version that was not adopted, with a verdict on every change for stored data (rows), "
        "for requests written for the older version (writers) and for clients that read responses "
        "(readers). The verdicts use the configured mode, today's date and the stored data."
    ),
    returns=Success(CandidateView, "The version and the proposal."),
    problems=("not_found", "deadline_exceeded"),
)
async def read_schema_candidate(
    request: StrictRequest, schema_id: str, number: str
) -> CandidateView:
    """Return a version that was not adopted, with the proposal to adopt it."""
    record, proposal = await review_schema(
        request.dependencies,
        request.http_state.schema_policies.of_schema(schema_id),
        request.principal,
        version=read_version_number(number),
    )
    view = None if proposal is None else ProposalView.of_proposal(proposal)
    return CandidateView.of_record(record, proposal=view)


@route(
    "POST",
    PATH + "/{schema_id}/check",
    "checkSchema",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    tag=TAG,
    summary="Check a schema document",
    description=(
        "A dry run: verdicts on every change, the migration plan, and the stored projects whose "
        "values do not fit. The body is a schema document as an ontology server serves it. "
        "Nothing is stored."
    ),
    parameters=(
        Parameter(
            "mode",
            CompatibilityMode,
            "Compatibility mode to check under (default: as configured).",
        ),
    ),
    body=Body(
        _CHECK_REQUEST,
        example={
            "id": "project_schema",
            "version": 2,
            "name": "Projects",
            "columns": [{"name": "hub_height_m", "type": "decimal(6,2)", "unit": "m"}],
        },
        has_many_values=True,
    ),
    returns=Success(ProposalView, "The proposal."),
    problems=("not_found", *BODY_PROBLEMS, "deadline_exceeded"),
)
async def post_schema_check(request: StrictRequest, schema_id: str) -> ProposalView:
    """Check a schema document without adopting it."""
    policy = request.http_state.schema_policies.of_schema(schema_id)
    mode = read_choice(request.query, "mode", CompatibilityMode) or policy.mode
    policy = msgspec.structs.replace(policy, mode=mode)
    document = await request.read_body()
    await read_document(parse_object, document)
    proposal = await check_schema(request.dependencies, policy, request.principal, document)
    return ProposalView.of_proposal(proposal)


@route(
    "GET",
    PATH + "/{schema_id}/diff",
    "diffSchemaVersions",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    serves_row_scopes=True,
    tag=TAG,
    summary="Compare two versions of a schema",
    parameters=(
        Parameter("from", VERSION_SCHEMA, "The older version.", is_required=True),
        Parameter("to", VERSION_SCHEMA, "The newer version.", is_required=True),
    ),
    returns=Success(DiffView, "Every change."),
    problems=("not_found", "conflict"),
)
async def read_schema_diff(request: StrictRequest, schema_id: str) -> DiffView:
    """Compare two versions of a schema."""
    old, new = _read_version_pair(request.query)
    comparison, plan = await diff_versions(
        request.dependencies, request.principal, schema_id, old=old, new=new
    )
    return DiffView.of(comparison, schema_id=schema_id, plan=describe_plan(plan))


def _read_version_pair(parameters: Mapping[str, str]) -> tuple[int, int]:
    old, new = (read_version_parameter(parameters, name) for name in ("from", "to"))
    if old is None or new is None:
        missing = [name for name, one in (("from", old), ("to", new)) if one is None]
        raise InvalidInput([FieldError(f"/{n}", "missing", "is required") for n in missing])
    return old, new


@route(
    "GET",
    PATH + "/{schema_id}/migrations",
    "listSchemaMigrations",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    tag=TAG,
    summary="List schema migrations",
    description=(
        "Every attempt to migrate the data from one version to the next, with its outcome, newest "
        "first."
    ),
    parameters=(LIMIT, AFTER),
    returns=Success(PageView[MigrationView], "One page of migrations.", headers=("Link",)),
    problems=("not_found", "cursor_invalid"),
)
async def read_schema_migrations(request: StrictRequest, schema_id: str) -> Result:
    """List attempted migrations, newest first."""
    request.http_state.schema_policies.of_schema(schema_id)
    limit, after = read_limit(request.query.get("limit")), request.query.get("after")
    before = None if after is None else decode_cursor_key(after, _BINDING, datetime)
    page, has_more = await list_migrations(
        request.dependencies, request.principal, schema_id, before=before, limit=limit
    )
    next_keys = (page[-1].started_at,) if has_more else None
    return page_result(request, map(MigrationView.of_migration, page), next_keys, _BINDING)


async def _preview_approval(request: StrictRequest, schema_id: str, number: str) -> CommandPreview:
    policy = request.http_state.schema_policies.of_schema(schema_id)
    _read_decision(await request.read_json_object(), "")
    return await preview_schema_approval(
        request.dependencies,
        policy,
        request.principal,
        version=read_version_number(number),
    )


@route(
    "POST",
    PATH + "/{schema_id}/candidates/{number}/approve",
    "approveSchemaCandidate",
    scopes=(Scope.SCHEMA_ADMIN,),
    tag=TAG,
    summary="Approve a schema candidate",
    description=(
        "Adopts the version regardless of the compatibility mode. Stored data must still be "
        "readable under it; that cannot be waived."
    ),
    body=_DECISION,
    returns=_DECISION_RESULT,
    problems=_DECISION_PROBLEMS,
    approval=Approvable(check=_preview_approval),
)
async def post_approval(request: StrictRequest, schema_id: str, number: str) -> RefreshResultView:
    """Approve a candidate, which adopts it."""
    preview = request.checked_preview
    changes = () if preview is None else preview.changes
    fingerprints = (one.after for one in changes if one.pointer == FINGERPRINT_POINTER)
    approve = partial(approve_schema, fingerprint=next(fingerprints, None))
    return await _decide(request, schema_id, number, approve)


@route(
    "POST",
    PATH + "/{schema_id}/candidates/{number}/reject",
    "rejectSchemaCandidate",
    scopes=(Scope.SCHEMA_ADMIN,),
    tag=TAG,
    summary="Reject a schema candidate",
    description="No refresh considers the version again, and health no longer reports it.",
    body=_DECISION,
    returns=_DECISION_RESULT,
    problems=_DECISION_PROBLEMS,
)
async def post_rejection(request: StrictRequest, schema_id: str, number: str) -> RefreshResultView:
    """Reject a candidate."""
    return await _decide(request, schema_id, number, reject_schema)


async def _decide(
    request: StrictRequest,
    schema_id: str,
    number: str,
    decide: Callable[..., Awaitable[RefreshResult]],
) -> RefreshResultView:
    policy = request.http_state.schema_policies.of_schema(schema_id)
    version = read_version_number(number)
    decision: DecisionRequestView = _read_decision(await request.read_json_object(), "")
    result = await decide(
        request.dependencies,
        policy,
        request.principal,
        version=version,
        reason=decision.reason,
    )
    return RefreshResultView.of_result(result)


ROUTES: Final[list[Route]] = [
    read_schema_candidate,
    post_schema_check,
    read_schema_diff,
    read_schema_migrations,
    post_approval,
    post_rejection,
]
