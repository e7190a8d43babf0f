"""What OpenAPI says of the routes by which schemas evolve."""

from typing import Any, Final

from spawn.application.schemas.activation import Verdict
from spawn.domain.projects.project import MAX_REASON
from spawn.domain.schemas.evolution.compatibility import ChangeKind, Mode, Relation
from spawn.entrypoints.http.openapi.components import SCHEMA_SUMMARY
from spawn.entrypoints.http.openapi.operation import Body, Operation, Success
from spawn.ports.schemas import MigrationOutcome

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_TEXTS: Final[Json] = {"type": "array", "items": _TEXT}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_FLAG: Final[Json] = {"type": "boolean"}
_RELATION: Final[Json] = {"type": "string", "enum": [relation.value for relation in Relation]}
_MODE: Final[Json] = {"type": "string", "enum": [mode.value for mode in Mode]}


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
            path={**_TEXT, "description": "A JSON Pointer by column name."},
            kind={"type": "string", "enum": [kind.value for kind in ChangeKind]},
            **_RELATIONS,
            reason=_TEXT,
            consequence=_TEXT,
            early={**_FLAG, "description": "It goes before the notice that was given has run out."},
        )
    ),
}
_PLAN: Final[dict[str, Json]] = {
    "plan": {**_TEXTS, "description": "The steps of the migration, in words."},
}
_PROPOSAL: Final = _object(
    schema_id=_TEXT,
    version=_COUNT,
    adoptable={**_FLAG, "description": "Whether it would be adopted as things are now."},
    mode=_MODE,
    objections={**_TEXTS, "description": "Why it would not be adopted."},
    comparisons=_array(_object(**_COMPARISON)),
    **_PLAN,
    statements={**_TEXTS, "description": "The same in the store's own language."},
    failures=_array(
        _object(
            stored={**_TEXT, "description": "The column or extension that the values are in."},
            projects={**_COUNT, "description": "How many hold a value that does not fit."},
            sample={**_TEXTS, "description": "A few of them."},
            detail=_TEXT,
        )
    ),
)
_CANDIDATE: Final = _object(
    **SCHEMA_SUMMARY,
    proposal={
        "anyOf": [_PROPOSAL, {"type": "null"}],
        "description": "Null if the document breaks a rule, which the reason names.",
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
    rows={**_COUNT, "description": "Projects that got a value by the step that gave most."},
    actor=_TEXT,
    reason={"type": ["string", "null"]},
    detail={"type": ["string", "null"], "description": "What stood against it."},
)
_DECISION_BODY: Final = Body(
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
    "verdict": {"type": "string", "enum": [verdict.value for verdict in Verdict]},
    "detail": _TEXT,
    "version": {"anyOf": [_object(**SCHEMA_SUMMARY), {"type": "null"}]},
}
_DECIDED: Final = {200: Success(description="What came of it.", schema=_object(**_OUTCOME))}
_BODY: Final = (
    "malformed_body",
    "invalid_input",
    "unsupported_media_type",
    "body_too_large",
    "request_timeout",
)
_STORE: Final = ("unavailable", "overloaded", "storage_full")

REFRESH: Final = Operation(
    id="refreshSchema",
    tag="governance",
    summary="Ask the ontology server again",
    description="What is new is adopted, or waits with the reason.",
    answers={
        200: Success(
            description="What came of it, and every version that is not in force.",
            schema=_object(
                **_OUTCOME,
                items=_array(_object(**SCHEMA_SUMMARY)),
                next={"type": "null"},
            ),
        )
    },
    problems=("not_found", "registry_error", "unavailable"),
)
CANDIDATE: Final = Operation(
    id="getSchemaCandidate",
    tag="governance",
    summary="Read a version that was not adopted, with every verdict",
    description=(
        "Each change is judged by what it means to stored rows, to requests written for the older "
        "version (writers) and to clients that read answers (readers), as things are now: under "
        "the mode that is configured, on this day, by the data that are there."
    ),
    answers={200: Success(description="The version and the proposal.", schema=_CANDIDATE)},
    problems=("not_found", "deadline_exceeded"),
)
CHECK: Final = Operation(
    id="checkSchema",
    tag="governance",
    summary="Judge a proposed schema without adopting it",
    description=(
        "A dry run: verdicts on every change, the plan of the migration, and the stored projects "
        "that stand against it. The body is a schema document as an ontology server serves it. "
        "Nothing is recorded."
    ),
    parameters=(
        {
            "name": "mode",
            "in": "query",
            "description": "What to demand (default: as configured).",
            "schema": _MODE,
        },
    ),
    body=Body(
        schema={"type": "object"},
        example={
            "id": "project_schema",
            "version": 2,
            "name": "Projects",
            "columns": [{"name": "hub_height_m", "type": "decimal(6,2)", "unit": "m"}],
        },
    ),
    answers={200: Success(description="The proposal.", schema=_PROPOSAL)},
    problems=("not_found", *_BODY, "deadline_exceeded"),
)
DIFF: Final = Operation(
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
    answers={
        200: Success(
            description="Every change.", schema=_object(schema_id=_TEXT, **_COMPARISON, **_PLAN)
        )
    },
    problems=("not_found", "invalid_input", "conflict"),
)
MIGRATIONS: Final = Operation(
    id="listSchemaMigrations",
    tag="governance",
    summary="List migrations, newest first",
    description="Every attempt to take the data from one version to the next, with its outcome.",
    parameters=("Limit", "After"),
    answers={
        200: Success(
            description="Attempts.",
            schema=_object(items=_array(_MIGRATION), next={"type": ["string", "null"]}),
            headers=("Link",),
        )
    },
    problems=("not_found", "cursor_invalid"),
)
APPROVE: Final = Operation(
    id="approveSchemaCandidate",
    tag="governance",
    summary="Adopt a version that was not adopted by itself",
    description=(
        "Whatever the mode says; but stored data must be readable under it, which nobody can waive."
    ),
    body=_DECISION_BODY,
    answers=_DECIDED,
    problems=("not_found", "conflict", "forbidden", *_BODY, *_STORE),
)
REJECT: Final = Operation(
    id="rejectSchemaCandidate",
    tag="governance",
    summary="Refuse a version for good",
    description="No refresh considers it again, and health no longer speaks of it.",
    body=_DECISION_BODY,
    answers=_DECIDED,
    problems=("not_found", "conflict", "forbidden", *_BODY, *_STORE),
)
