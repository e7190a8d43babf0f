"""What the routes of imports say of themselves in OpenAPI."""

from typing import Any, Final

from spawn.domain.imports.mapping import (
    DELIMITERS,
    ENCODINGS,
    MAX_ADDENDS,
    MAX_CHECKS,
    MAX_COLUMNS,
    Duplicates,
    OnExisting,
    OnFailure,
    Whitespace,
)
from spawn.domain.jobs import JobStatus
from spawn.domain.money import Rounding
from spawn.entrypoints.http.openapi.operation import Body, Operation, Success

TAG: Final = "imports"
LINES: Final = ("application/x-ndjson", "text/csv")
Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_ID: Final[Schema] = {"type": "string", "format": "uuid"}
_INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
_MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}


def _object(properties: Schema, *required: str, closed: bool = False) -> Schema:
    shape: Schema = {"type": "object", "properties": properties}
    if required:
        shape["required"] = list(required)
    if closed:
        shape["additionalProperties"] = False
    return shape


def _exact(**bounds: object) -> Schema:
    """A number given exactly: as a JSON number or as text."""
    return {"anyOf": [{"type": "number", **bounds}, {"type": "string", "maxLength": 64}]}


_COLUMN: Final = _object(
    {
        "attribute": _TEXT,
        "column": _TEXT,
        "constant": {"type": ["string", "integer", "boolean"]},
        "null": {"type": "array", "items": _TEXT},
        "enum": {"type": "object", "additionalProperties": _TEXT},
        "date_format": {"type": "string", "examples": ["%d/%m/%Y", "year", "year_end"]},
        "unit_factor": _exact(),
        "rounding": {"type": "string", "enum": [*Rounding]},
        "whitespace": {"type": "string", "enum": [*Whitespace]},
    },
    "attribute",
    closed=True,
)
_CHECK: Final = _object(
    {
        "sum_of": {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MAX_ADDENDS},
        "equals": _TEXT,
        "tolerance": _exact(minimum=0),
        "on_failure": {"type": "string", "enum": [*OnFailure]},
    },
    "sum_of",
    "equals",
    closed=True,
)
MAPPING_SCHEMA: Final = _object(
    {
        "name": _TEXT,
        "encoding": {
            "anyOf": [
                {"type": "string", "enum": sorted(ENCODINGS)},
                {"type": "array", "items": {"type": "string", "enum": sorted(ENCODINGS)}},
            ]
        },
        "delimiter": {"type": "string", "enum": sorted(DELIMITERS)},
        "null": {"type": "array", "items": _TEXT},
        "columns": {"type": "array", "items": _COLUMN, "minItems": 1, "maxItems": MAX_COLUMNS},
        "checks": {"type": "array", "items": _CHECK, "maxItems": MAX_CHECKS},
        "key": _object({"source": _TEXT, "column": _TEXT}, "source", "column", closed=True),
        "duplicates": {"type": "string", "enum": [*Duplicates]},
        "on_existing": {"type": "string", "enum": [*OnExisting]},
    },
    "columns",
    closed=True,
)
MAPPING_EXAMPLE: Final[Schema] = {
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
JOB_SCHEMA: Final = _object(
    {
        "job_id": _ID,
        "kind": {"type": "string", "examples": ["import"]},
        "status": {"type": "string", "examples": [*JobStatus]},
        "progress": _object({"done": _COUNT, "total": _COUNT}, "done", "total"),
        "result_url": _MAYBE_TEXT,
        "error": _MAYBE_TEXT,
    },
    "job_id",
    "kind",
    "status",
    "progress",
    "result_url",
    "error",
)
_COUNTS: Final = ("rows", "accepted", "unchanged", "quarantined", "warnings")
IMPORT_SCHEMA: Final = _object(
    {
        "import_id": _ID,
        **dict.fromkeys(_COUNTS, _COUNT),
        "by_reason": {"type": "object", "additionalProperties": _COUNT},
        "failed_checks": {"type": "object", "additionalProperties": _COUNT},
        "mapping": _MAYBE_TEXT,
        "format": {"type": "string", "examples": ["csv", "ndjson"]},
        "size_bytes": _COUNT,
        "sha256": _TEXT,
        "requested_by": _TEXT,
        "created_at": _INSTANT,
        "updated_at": _INSTANT,
        "job_url": _TEXT,
        "quarantine_url": _TEXT,
    },
    "import_id",
    *_COUNTS,
    "by_reason",
    "failed_checks",
)
_NAME: Final[Schema] = {
    "name": "mapping",
    "in": "query",
    "required": False,
    "description": "The mapping to read the rows through; CSV needs one.",
    "schema": _TEXT,
}
_LIMIT: Final[Schema] = {
    "name": "limit",
    "in": "query",
    "required": False,
    "description": "How many items a page has.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
}
_AFTER: Final[Schema] = {
    "name": "after",
    "in": "query",
    "required": False,
    "description": "The `next` of the page before.",
    "schema": _TEXT,
}


def _condition(name: str, description: str) -> Schema:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": _TEXT,
    }


PUT_MAPPING: Final = Operation(
    id="putImportMapping",
    tag=TAG,
    summary="Create or replace an import mapping",
    description="A mapping that says what is stored already changes nothing. To replace another "
    "one, name the version that you have seen in `If-Match`.",
    parameters=(
        _condition("If-Match", "The ETag of the version to replace."),
        _condition("If-None-Match", "`*`: create, never replace."),
    ),
    body=Body(schema=MAPPING_SCHEMA, example=MAPPING_EXAMPLE),
    answers={
        200: Success(description="Replaced, or as it was", schema=MAPPING_SCHEMA),
        201: Success(description="Created", schema=MAPPING_SCHEMA),
    },
    problems=(
        "malformed_body",
        "not_acceptable",
        "body_too_large",
        "unsupported_media_type",
        "invalid_input",
        "stale_version",
        "precondition_required",
    ),
)
GET_MAPPING: Final = Operation(
    id="getImportMapping",
    tag=TAG,
    summary="Read an import mapping",
    parameters=(_condition("If-None-Match", "The ETag that you have."),),
    answers={
        200: Success(description="The mapping", schema=MAPPING_SCHEMA),
        304: Success(description="You have it"),
    },
    problems=("not_found", "not_acceptable", "invalid_input"),
)
LIST_MAPPINGS: Final = Operation(
    id="listImportMappings",
    tag=TAG,
    summary="List import mappings",
    parameters=(_LIMIT, _AFTER),
    answers={
        200: Success(
            description="A page of mappings, oldest first",
            schema=_object(
                {"items": {"type": "array", "items": MAPPING_SCHEMA}, "next": _MAYBE_TEXT},
                "items",
                "next",
            ),
        )
    },
    problems=("cursor_invalid", "not_acceptable", "invalid_input"),
)
START_IMPORT: Final = Operation(
    id="startImport",
    tag=TAG,
    summary="Import projects from a file",
    description="The file is on disk when this answers; a job reads it. Rows that make no project "
    "are set aside with their reasons. The same file again changes nothing.",
    parameters=(_NAME, _condition("Idempotency-Key", "Repeats the first answer for 24 hours.")),
    body=Body(
        media_types=LINES,
        schema=_TEXT,
        example='{"project_name":"Rio Verde Solar","total_amount":"104000000.00"}\n',
    ),
    answers={
        202: Success(description="Queued; `Location` is the job's address", schema=JOB_SCHEMA)
    },
    problems=(
        "malformed_body",
        "not_acceptable",
        "request_timeout",
        "unsupported_media_type",
        "invalid_input",
        "idempotency_key_reused",
        "overloaded",
        "storage_full",
    ),
)
GET_IMPORT: Final = Operation(
    id="getImport",
    tag=TAG,
    summary="What came of an import",
    answers={200: Success(description="The counts so far", schema=IMPORT_SCHEMA)},
    problems=("not_found", "not_acceptable", "invalid_input"),
)
GET_QUARANTINE: Final = Operation(
    id="getImportQuarantine",
    tag=TAG,
    summary="The rows that were set aside",
    description="Each with its line, fields, reasons and raw line. Correct the fields and post the "
    "lines back as another import through the same mapping.",
    answers={200: Success(description="One row a line", schema=_TEXT, media_types=LINES)},
    problems=("not_found", "not_acceptable", "invalid_input"),
)
GET_WARNINGS: Final = Operation(
    id="getImportWarnings",
    tag=TAG,
    summary="The rows that were taken in with a warning",
    answers={200: Success(description="One row a line", schema=_TEXT, media_types=LINES[:1])},
    problems=("not_found", "not_acceptable", "invalid_input"),
)
GET_JOB: Final = Operation(
    id="getJob",
    tag="jobs",
    summary="How far a job is",
    answers={200: Success(description="The job", schema=JOB_SCHEMA)},
    problems=("not_found", "not_acceptable", "invalid_input"),
)
CANCEL_JOB: Final = Operation(
    id="cancelJob",
    tag="jobs",
    summary="Cancel a job",
    description="What it has committed stays.",
    answers={200: Success(description="The job, cancelled", schema=JOB_SCHEMA)},
    problems=("not_found", "conflict", "not_acceptable", "invalid_input"),
)
