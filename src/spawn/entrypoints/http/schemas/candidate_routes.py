"""HTTP routes of schema candidates: review, dry run, diff, migrations, decisions."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import get, post

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import ADOPTED, RefreshResult, SchemaPolicy
from spawn.application.schemas.adoption import (
    approve_schema,
    check_schema,
    reject_schema,
    review_schema,
)
from spawn.domain.errors import Conflict, CursorInvalid, FieldError, InvalidInput, NotFound
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Principal
from spawn.domain.projects.project import MAX_REASON
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.schemas.evolution.diff import compare_schemas
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.struct_reader import compile_reader, prose_reader
from spawn.entrypoints.http.openapi.handler_operation import operation_options
from spawn.entrypoints.http.protocol.cursors import decode_cursor, encode_cursor, next_link
from spawn.entrypoints.http.protocol.etags import fields_digest
from spawn.entrypoints.http.protocol.query_params import read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response, encode_json, json_response
from spawn.entrypoints.http.schemas import operations
from spawn.entrypoints.http.schemas.routes import (
    PATH,
    find_records,
    read_version_number,
    render_outcome,
    render_schema_summary,
)
from spawn.entrypoints.http.schemas.wire import render_comparison, render_plan, render_proposal
from spawn.ports.schemas import MigrationRecord, SchemaRecord

_CURSOR_BINDING: Final = bytes.fromhex(fields_digest(("migrations",)))

_DecisionUseCase = Callable[..., Awaitable[RefreshResult]]


class _Decision(msgspec.Struct, frozen=True):
    """A decision about a candidate, as a client sends it."""

    reason: str


_read_decision: Final = compile_reader(
    _Decision, {"reason": prose_reader(MAX_REASON, allows_blank=False)}, null_is_absent=True
)


@get(PATH + "/{schema_id:str}/candidates/{number:str}", opt=operation_options(operations.CANDIDATE))
async def read_schema_candidate(request: StrictRequest) -> Response:
    """Return a version that was not adopted, with the proposal to adopt it."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    await _require_governed_schema(request)
    with request.http_state.span("review_schema"):
        record, proposal = await review_schema(
            request.dependencies,
            request.http_state.schema_policy,
            request.principal,
            version=read_version_number(request),
        )
    rendered = None if proposal is None else render_proposal(proposal)
    return json_response({**render_schema_summary(record), "proposal": rendered})


@post(PATH + "/{schema_id:str}/check", status_code=200, opt=operation_options(operations.CHECK))
async def post_schema_check(request: StrictRequest) -> Response:
    """Check a schema document without adopting it."""
    parameters = request.query_parameters("mode")
    request.negotiate_media_type("application/json")
    await _require_governed_schema(request)
    policy = _with_mode(request.http_state.schema_policy, parameters.get("mode"))
    document = await request.read_body()
    parse_object(document)
    with request.http_state.span("check_schema"):
        proposal = await check_schema(request.dependencies, policy, request.principal, document)
    return json_response(render_proposal(proposal))


def _with_mode(policy: SchemaPolicy, mode: str | None) -> SchemaPolicy:
    if mode is None:
        return policy
    if mode not in set(CompatibilityMode):
        modes = ", ".join(CompatibilityMode)
        raise InvalidInput.at("/mode", "not_in_enum", f"The mode must be one of: {modes}.")
    return msgspec.structs.replace(policy, mode=CompatibilityMode(mode))


@get(PATH + "/{schema_id:str}/diff", opt=operation_options(operations.DIFF))
async def read_schema_diff(request: StrictRequest) -> Response:
    """Compare two versions of a schema."""
    parameters = request.query_parameters("from", "to")
    request.negotiate_media_type("application/json")
    records = await find_records(request.dependencies, request.scope["path_params"]["schema_id"])
    old, new = _select_versions(records, parameters)
    today = request.dependencies.clock.now().date()
    # An adopted version has its retired columns already; another would succeed the active one.
    via = new.schema if new.state in ADOPTED else await _active_schema(request.dependencies)
    comparison = compare_schemas(old.schema, new.schema, on_date=today, via=via)
    plan = render_plan(plan_migration(old.schema, new.schema))
    fields = {"schema_id": new.schema.id, **render_comparison(comparison), "plan": plan}
    return json_response(fields)


async def _active_schema(dependencies: Dependencies) -> Schema:
    return (await dependencies.active_schema()).schema


def _select_versions(
    records: list[SchemaRecord], parameters: dict[str, str]
) -> tuple[SchemaRecord, SchemaRecord]:
    missing = [name for name in ("from", "to") if name not in parameters]
    if missing:
        raise InvalidInput([FieldError(f"/{n}", "missing", "is required") for n in missing])
    for name, text in parameters.items():
        if not text.isascii() or not text.isdigit() or len(text) > 9:  # noqa: PLR2004 - as in a path
            raise InvalidInput.at(f"/{name}", "out_of_range", "A version is a whole number.")
    old, new = (_select_version(records, int(parameters[name])) for name in ("from", "to"))
    return old, new


def _select_version(records: list[SchemaRecord], number: int) -> SchemaRecord:
    """Return the record of a version, the adopted one if several have the number."""
    matching = [record for record in records if record.schema.version == number]
    if not matching:
        raise NotFound(f"There is no version {number}.")
    record = min(matching, key=lambda record: record.state not in ADOPTED)
    if not record.schema.columns and record.reason and record.state not in ADOPTED:
        raise Conflict(f"Version {number} cannot be compared: {record.reason[:500]}")
    return record


@get(PATH + "/{schema_id:str}/migrations", opt=operation_options(operations.MIGRATIONS))
async def read_schema_migrations(request: StrictRequest) -> Response:
    """List attempted migrations, newest first."""
    parameters = request.query_parameters("limit", "after")
    request.negotiate_media_type("application/json")
    schema_id = await _require_governed_schema(request)
    limit = read_limit(parameters.get("limit"))
    migrations = [
        m for m in await request.dependencies.schemas.migration_log() if m.schema_id == schema_id
    ]
    if "after" in parameters:
        before = _decode_migration_cursor(parameters["after"])
        migrations = [migration for migration in migrations if migration.started_at < before]
    page = migrations[:limit]
    cursor = (
        encode_cursor((page[-1].started_at,), _CURSOR_BINDING) if len(migrations) > limit else None
    )
    body = encode_json(
        {"items": [_render_migration(migration) for migration in page], "next": cursor}
    )
    if cursor is None:
        return Response(200, body)
    link = next_link(request.scope["path"], request.unchecked_query_parameters(), cursor)
    return Response(200, body, headers=(link,))


def _decode_migration_cursor(text: str) -> datetime:
    keys = decode_cursor(text, _CURSOR_BINDING)
    if len(keys) != 1 or not isinstance(keys[0], datetime):
        raise CursorInvalid("The cursor is not one of this list. Start from its first page.")
    return keys[0]


def _render_migration(migration: MigrationRecord) -> dict[str, Any]:
    return {
        "schema_id": migration.schema_id,
        "old_version": migration.old_version,
        "new_version": migration.new_version,
        "outcome": migration.outcome,
        "started_at": migration.started_at,
        "duration_s": round(migration.duration_s, 6),
        "statements": migration.steps,
        "rows": migration.rows,
        "actor": migration.actor,
        "reason": migration.reason or None,
        "detail": migration.detail or None,
    }


@post(
    PATH + "/{schema_id:str}/candidates/{number:str}/approve",
    status_code=200,
    opt=operation_options(operations.APPROVE),
)
async def post_approval(request: StrictRequest) -> Response:
    """Approve a candidate, which adopts it."""
    return await _respond_to_decision(request, approve_schema)


@post(
    PATH + "/{schema_id:str}/candidates/{number:str}/reject",
    status_code=200,
    opt=operation_options(operations.REJECT),
)
async def post_rejection(request: StrictRequest) -> Response:
    """Reject a candidate."""
    return await _respond_to_decision(request, reject_schema)


async def _respond_to_decision(request: StrictRequest, decide: _DecisionUseCase) -> Response:
    request.query_parameters()
    request.negotiate_media_type("application/json")
    await _require_governed_schema(request)
    number = read_version_number(request)
    decision: _Decision = _read_decision(await request.read_json_object(), "")
    principal: Principal = request.principal
    with request.http_state.span(getattr(decide, "__name__", "decide")):
        outcome = await decide(
            request.dependencies,
            request.http_state.schema_policy,
            principal,
            version=number,
            reason=decision.reason,
        )
    return json_response(render_outcome(outcome))


async def _require_governed_schema(request: StrictRequest) -> str:
    """Return the schema id in the path.

    Raises:
        NotFound: it is not the id of the active schema.
    """
    schema_id: str = request.scope["path_params"]["schema_id"]
    if schema_id != request.http_state.schema_policy.schema_id:
        raise NotFound("There is no such schema.")
    return schema_id


ROUTES: Final = [
    read_schema_candidate,
    post_schema_check,
    read_schema_diff,
    read_schema_migrations,
    post_approval,
    post_rejection,
]
