"""OpenAPI operations of schema candidates, migrations and decisions."""

from typing import Any, Final

from spawn.application.schemas.activation import RefreshVerdict
from spawn.domain.projects.project import MAX_REASON
from spawn.domain.schemas.evolution.compatibility import (
    ChangeKind,
    Compatibility,
    CompatibilityMode,
)
from spawn.entrypoints.http.openapi.components import SCHEMA_SUMMARY
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    RequestBody,
    SuccessResponse,
)
from spawn.ports.schemas import MigrationOutcome

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_TEXTS: Final[Json] = {"type": "array", "items": _TEXT}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_FLAG: Final[Json] = {"type": "boolean"}
_RELATION: Final[Json] = {"type": "string", "enum": [relation.value for relation in Compatibility]}
_MODE: Final[Json] = {"type": "string", "enum": [mode.value for mode in CompatibilityMode]}


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _array(item: Json) -> Json:
    return {"type": "array", "items": item}


_RELATIONS: Final[dict[str, Json]] = dict.fromkeys(("rows", "writers", "readers"), _RELATION)
_COMPARISON: Final[dict[str, Json]] = {
    "old_version": _COUNT,
    "new_version": _COUNT,
    **_RELATIONS,
    "findings": _array(
        _object(
            path={**_TEXT, "description": "JSON Pointer to the change, by column name."},
            kind={"type": "string", "enum": [kind.value for kind in ChangeKind]},
            **_RELATIONS,
            reason=_TEXT,
            consequence=_TEXT,
            early={
                **_FLAG,
                "description": "Whether the column is removed before its announced sunset.",
            },
        )
    ),
}
_PLAN: Final[dict[str, Json]] = {
    "plan": {**_TEXTS, "description": "Steps of the migration, one sentence each."},
}
_PROPOSAL: Final = _object(
    schema_id=_TEXT,
    version=_COUNT,
    adoptable={**_FLAG, "description": "Whether the version could be adopted now."},
    mode=_MODE,
    objections={**_TEXTS, "description": "Reasons against the adoption; empty if there are none."},
    comparisons=_array(_object(**_COMPARISON)),
    **_PLAN,
    statements={**_TEXTS, "description": "The migration's statements in the store's own language."},
    failures=_array(
        _object(
            stored={**_TEXT, "description": "Column or extension field that holds the values."},
            projects={**_COUNT, "description": "Number of projects whose value does not fit."},
            sample={**_TEXTS, "description": "Ids of a few of these projects."},
            detail=_TEXT,
        )
    ),
)
_CANDIDATE: Final = _object(
    **SCHEMA_SUMMARY,
    proposal={
        "anyOf": [_PROPOSAL, {"type": "null"}],
        "description": "Null if the document is invalid; the reason names the error.",
    },
)
_MIGRATION: Final = _object(
    schema_id=_TEXT,
    old_version=_COUNT,
    new_version=_COUNT,
    outcome={"type": "string", "enum": [outcome.value for outcome in MigrationOutcome]},
    started_at={"type": "string", "format": "date-time"},
    duration_s={"type": "number", "minimum": 0},
    statements=_TEXTS,
    rows={**_COUNT, "description": "Largest number of projects that one step filled."},
    actor=_TEXT,
    reason={"type": ["string", "null"]},
    detail={
        "type": ["string", "null"],
        "description": "Why the migration failed; null if it did not.",
    },
)
_REASON_BODY: Final = RequestBody(
    schema={
        **_object(
            reason={
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_REASON,
                "pattern": r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$",
            }
        ),
        "additionalProperties": False,
    },
    example={"reason": "agreed with the data owners of the downstream reports"},
)
_OUTCOME: Final[dict[str, Json]] = {
    "verdict": {"type": "string", "enum": [verdict.value for verdict in RefreshVerdict]},
    "detail": _TEXT,
    "version": {"anyOf": [_object(**SCHEMA_SUMMARY), {"type": "null"}]},
}
_DECISION_RESPONSES: Final = {
    200: SuccessResponse(description="The decision's result.", schema=_object(**_OUTCOME))
}
_BODY_PROBLEMS: Final = (
    "malformed_body",
    "invalid_input",
    "unsupported_media_type",
    "body_too_large",
    "request_timeout",
)
_STORE_PROBLEMS: Final = ("unavailable", "overloaded", "storage_full")

REFRESH: Final = HandlerOperation(
    id="refreshSchema",
    tag="governance",
    summary="Refresh the schema from the ontology server",
    description="A new version is adopted, or quarantined with the reason.",
    responses={
        200: SuccessResponse(
            description="The refresh's result, and every version that was not adopted.",
            schema=_object(
                **_OUTCOME,
                items=_array(_object(**SCHEMA_SUMMARY)),
                next={"type": "null"},
            ),
        )
    },
    problems=("not_found", "registry_error", "unavailable"),
)
CANDIDATE: Final = HandlerOperation(
    id="getSchemaCandidate",
    tag="governance",
    summary="Get a schema candidate",
    description=(
        "A version that was not adopted, with a verdict on every change for stored data (rows), "
        "for requests written for the older version (writers) and for clients that read responses "
        "(readers). The verdicts use the configured mode, today's date and the stored data."
    ),
    responses={
        200: SuccessResponse(description="The version and the proposal.", schema=_CANDIDATE)
    },
    problems=("not_found", "deadline_exceeded"),
)
CHECK: Final = HandlerOperation(
    id="checkSchema",
    tag="governance",
    summary="Check a schema document",
    description=(
        "A dry run: verdicts on every change, the migration plan, and the stored projects whose "
        "values do not fit. The body is a schema document as an ontology server serves it. "
        "Nothing is stored."
    ),
    parameters=(
        {
            "name": "mode",
            "in": "query",
            "description": "Compatibility mode to check under (default: as configured).",
            "schema": _MODE,
        },
    ),
    body=RequestBody(
        schema={"type": "object"},
        example={
            "id": "project_schema",
            "version": 2,
            "name": "Projects",
            "columns": [{"name": "hub_height_m", "type": "decimal(6,2)", "unit": "m"}],
        },
    ),
    responses={200: SuccessResponse(description="The proposal.", schema=_PROPOSAL)},
    problems=("not_found", *_BODY_PROBLEMS, "deadline_exceeded"),
)
DIFF: Final = HandlerOperation(
    id="diffSchemaVersions",
    tag="governance",
    summary="Compare two versions of a schema",
    parameters=(
        {
            "name": "from",
            "in": "query",
            "required": True,
            "description": "The older version.",
            "schema": {**_COUNT, "maximum": 999_999_999},
        },
        {
            "name": "to",
            "in": "query",
            "required": True,
            "description": "The newer version.",
            "schema": {**_COUNT, "maximum": 999_999_999},
        },
    ),
    responses={
        200: SuccessResponse(
            description="Every change.", schema=_object(schema_id=_TEXT, **_COMPARISON, **_PLAN)
        )
    },
    problems=("not_found", "invalid_input", "conflict"),
)
MIGRATIONS: Final = HandlerOperation(
    id="listSchemaMigrations",
    tag="governance",
    summary="List schema migrations",
    description=(
        "Every attempt to migrate the data from one version to the next, with its outcome, newest "
        "first."
    ),
    parameters=("Limit", "After"),
    responses={
        200: SuccessResponse(
            description="One page of migrations.",
            schema=_object(items=_array(_MIGRATION), next={"type": ["string", "null"]}),
            headers=("Link",),
        )
    },
    problems=("not_found", "cursor_invalid"),
)
APPROVE: Final = HandlerOperation(
    id="approveSchemaCandidate",
    tag="governance",
    summary="Approve a schema candidate",
    description=(
        "Adopts the version regardless of the compatibility mode. Stored data must still be "
        "readable under it; that cannot be waived."
    ),
    body=_REASON_BODY,
    responses=_DECISION_RESPONSES,
    problems=("not_found", "conflict", "forbidden", *_BODY_PROBLEMS, *_STORE_PROBLEMS),
)
REJECT: Final = HandlerOperation(
    id="rejectSchemaCandidate",
    tag="governance",
    summary="Reject a schema candidate",
    description="No refresh considers the version again, and health no longer reports it.",
    body=_REASON_BODY,
    responses=_DECISION_RESPONSES,
    problems=("not_found", "conflict", "forbidden", *_BODY_PROBLEMS, *_STORE_PROBLEMS),
)
