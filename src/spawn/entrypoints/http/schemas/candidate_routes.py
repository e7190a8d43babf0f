"""How schemas evolve, for those who govern: verdicts, dry runs, migrations, decisions."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import get, post

from spawn.application.dependencies import Services
from spawn.application.schemas.activation import ADOPTED, Refreshed, SchemaRules
from spawn.application.schemas.adoption import (
    approve_schema,
    check_schema,
    reject_schema,
    review_schema,
)
from spawn.domain.errors import Conflict, CursorInvalid, FieldError, InvalidInput, NotFound
from spawn.domain.json_tokens import Token, read_object
from spawn.domain.principal import Principal
from spawn.domain.projects.project import MAX_REASON
from spawn.domain.schemas.evolution.compatibility import Mode
from spawn.domain.schemas.evolution.diff import compare
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.model import Schema
from spawn.domain.schemas.nested_fields import read_prose
from spawn.entrypoints.http.openapi.operation import described
from spawn.entrypoints.http.protocol.query_params import (
    next_link,
    read_cursor,
    read_limit,
    write_cursor,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Reply, encode, json_reply
from spawn.entrypoints.http.schemas import operations
from spawn.entrypoints.http.schemas.routes import (
    PATH,
    outcome_of,
    records_of,
    summary_of,
    version_number,
)
from spawn.entrypoints.http.schemas.verdicts import comparison_fields, plan_fields, proposal_fields
from spawn.entrypoints.http.wire import view_digest
from spawn.ports.schemas import Migration, SchemaRecord

_PROSE: Final = read_prose(MAX_REASON)
_BINDING: Final = bytes.fromhex(view_digest(("migrations",)))

_Decide = Callable[..., Awaitable[Refreshed]]


@get(PATH + "/{schema_id:str}/candidates/{number:str}", opt=described(operations.CANDIDATE))
async def candidate(request: StrictRequest) -> Reply:
    """A version that was not adopted, and what adopting it would come to."""
    request.query()
    request.accepts("application/json")
    await _governed(request)
    with request.surface.span("review_schema"):
        record, proposal = await review_schema(
            request.services,
            request.surface.schema_rules,
            request.principal,
            version=version_number(request),
        )
    shown = None if proposal is None else proposal_fields(proposal)
    return json_reply({**summary_of(record), "proposal": shown})


@post(PATH + "/{schema_id:str}/check", status_code=200, opt=described(operations.CHECK))
async def check(request: StrictRequest) -> Reply:
    """A dry run of a document."""
    given = request.query("mode")
    request.accepts("application/json")
    await _governed(request)
    rules = _under(request.surface.schema_rules, given.get("mode"))
    document = await request.bytes_of()
    read_object(document)
    with request.surface.span("check_schema"):
        proposal = await check_schema(request.services, rules, request.principal, document)
    return json_reply(proposal_fields(proposal))


def _under(rules: SchemaRules, mode: str | None) -> SchemaRules:
    if mode is None:
        return rules
    if mode not in set(Mode):
        listed = ", ".join(Mode)
        raise InvalidInput.at("/mode", "not_in_enum", f"A mode is one of: {listed}.")
    return msgspec.structs.replace(rules, mode=Mode(mode))


@get(PATH + "/{schema_id:str}/diff", opt=described(operations.DIFF))
async def diff(request: StrictRequest) -> Reply:
    """Two versions side by side."""
    given = request.query("from", "to")
    request.accepts("application/json")
    found = await records_of(request.services, request.scope["path_params"]["schema_id"])
    old, new = _two(found, given)
    today = request.services.clock.now().date()
    # Of an adopted version it is known what it retired; another would succeed the active one.
    via = new.schema if new.state in ADOPTED else await _active(request.services)
    comparison = compare(old.schema, new.schema, on=today, via=via)
    plan = plan_fields(plan_migration(old.schema, new.schema))
    fields = {"schema_id": new.schema.id, **comparison_fields(comparison), "plan": plan}
    return json_reply(fields)


async def _active(services: Services) -> Schema:
    return (await services.active()).schema


def _two(records: list[SchemaRecord], given: dict[str, str]) -> tuple[SchemaRecord, SchemaRecord]:
    missing = [name for name in ("from", "to") if name not in given]
    if missing:
        raise InvalidInput([FieldError(f"/{n}", "missing", "is required") for n in missing])
    for name, text in given.items():
        if not text.isascii() or not text.isdigit() or len(text) > 9:  # noqa: PLR2004 - as in a path
            raise InvalidInput.at(f"/{name}", "out_of_range", "A version is a whole number.")
    old, new = (_numbered(records, int(given[name])) for name in ("from", "to"))
    return old, new


def _numbered(records: list[SchemaRecord], number: int) -> SchemaRecord:
    """The record of a version; what was adopted goes before what claimed its number."""
    found = [record for record in records if record.schema.version == number]
    if not found:
        raise NotFound(f"There is no version {number}.")
    record = min(found, key=lambda record: record.state not in ADOPTED)
    if not record.schema.columns and record.reason and record.state not in ADOPTED:
        raise Conflict(f"Version {number} cannot be compared: {record.reason[:500]}")
    return record


@get(PATH + "/{schema_id:str}/migrations", opt=described(operations.MIGRATIONS))
async def migrations(request: StrictRequest) -> Reply:
    """The log of attempts, newest first."""
    given = request.query("limit", "after")
    request.accepts("application/json")
    schema_id = await _governed(request)
    limit = read_limit(given.get("limit"))
    kept = [m for m in await request.services.schemas.migrations() if m.schema_id == schema_id]
    if "after" in given:
        before = _started_before(given["after"])
        kept = [migration for migration in kept if migration.started_at < before]
    page = kept[:limit]
    cursor = write_cursor((page[-1].started_at,), _BINDING) if len(kept) > limit else None
    body = encode({"items": [_migration_fields(found) for found in page], "next": cursor})
    if cursor is None:
        return Reply(200, body)
    link = next_link(request.scope["path"], request.any_query(), cursor)
    return Reply(200, body, headers=(link,))


def _started_before(text: str) -> datetime:
    keys = read_cursor(text, _BINDING)
    if len(keys) != 1 or not isinstance(keys[0], datetime):
        raise CursorInvalid("The cursor is not one of this list.")
    return keys[0]


def _migration_fields(migration: Migration) -> dict[str, Any]:
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
    opt=described(operations.APPROVE),
)
async def approve(request: StrictRequest) -> Reply:
    """Adopt by decision."""
    return await _decide(request, approve_schema)


@post(
    PATH + "/{schema_id:str}/candidates/{number:str}/reject",
    status_code=200,
    opt=described(operations.REJECT),
)
async def reject(request: StrictRequest) -> Reply:
    """Refuse by decision."""
    return await _decide(request, reject_schema)


async def _decide(request: StrictRequest, decide: _Decide) -> Reply:
    request.query()
    request.accepts("application/json")
    await _governed(request)
    number = version_number(request)
    reason = _read_reason(await request.tokens())
    principal: Principal = request.principal
    with request.surface.span(getattr(decide, "__name__", "decide")):
        outcome = await decide(
            request.services,
            request.surface.schema_rules,
            principal,
            version=number,
            reason=reason,
        )
    return json_reply(outcome_of(outcome))


def _read_reason(tokens: dict[str, Token]) -> str:
    errors = [
        FieldError(f"/{name}", "unknown_field", "There is no such field.")
        for name in tokens
        if name != "reason"
    ]
    token = tokens.get("reason")
    if type(token) is not str:
        code = "missing" if token is None else "wrong_type"
        errors.append(FieldError("/reason", code, "A text is required here."))
    elif not token.strip():
        errors.append(FieldError("/reason", "empty", "A decision needs a reason."))
    if errors:
        raise InvalidInput(errors)
    return _PROSE(token, "/reason")


async def _governed(request: StrictRequest) -> str:
    """The id in the path, which must be that of the schema that rules here."""
    schema_id: str = request.scope["path_params"]["schema_id"]
    if schema_id != request.surface.schema_rules.schema_id:
        raise NotFound("There is no such schema.")
    return schema_id


ROUTES: Final = [candidate, check, diff, migrations, approve, reject]
