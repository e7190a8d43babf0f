"""OpenAPI operations of imports and jobs."""

from typing import Any, Final

from spawn.domain.imports.mapping import (
    DELIMITERS,
    ENCODINGS,
    MAX_ADDENDS,
    MAX_CHECKS,
    MAX_COLUMNS,
    DuplicatePolicy,
    OnExisting,
    OnFailure,
    Whitespace,
)
from spawn.domain.jobs import JobStatus
from spawn.domain.money import Rounding
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    RequestBody,
    SuccessResponse,
)

TAG: Final = "imports"
LINE_MEDIA_TYPES: Final = ("application/x-ndjson", "text/csv")
Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_ID: Final[Json] = {"type": "string", "format": "uuid"}
_INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
_OPTIONAL_TEXT: Final[Json] = {"type": ["string", "null"]}


def _object(properties: Json, *required: str, closed: bool = False) -> Json:
    schema: Json = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    if closed:
        schema["additionalProperties"] = False
    return schema


def _exact_number(**bounds: object) -> Json:
    """Return the schema of an exact number: a JSON number or a text."""
    return {"anyOf": [{"type": "number", **bounds}, {"type": "string", "maxLength": 64}]}


_COLUMN: Final = _object(
    {
        "attribute": _TEXT,
        "column": _TEXT,
        "constant": {"type": ["string", "integer", "boolean"]},
        "null": {"type": "array", "items": _TEXT},
        "enum": {"type": "object", "additionalProperties": _TEXT},
        "date_format": {"type": "string", "examples": ["%d/%m/%Y", "year", "year_end"]},
        "unit_factor": _exact_number(),
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
        "tolerance": _exact_number(minimum=0),
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
        "duplicates": {"type": "string", "enum": [*DuplicatePolicy]},
        "on_existing": {"type": "string", "enum": [*OnExisting]},
    },
    "columns",
    closed=True,
)
MAPPING_EXAMPLE: Final[Json] = {
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
        "result_url": _OPTIONAL_TEXT,
        "error": _OPTIONAL_TEXT,
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
        "mapping": _OPTIONAL_TEXT,
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
_MAPPING_PARAMETER: Final[Json] = {
    "name": "mapping",
    "in": "query",
    "required": False,
    "description": "Name of the mapping that converts rows to projects; required for CSV.",
    "schema": _TEXT,
}
_LIMIT: Final[Json] = {
    "name": "limit",
    "in": "query",
    "required": False,
    "description": "Maximum number of items in the page.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
}
_AFTER: Final[Json] = {
    "name": "after",
    "in": "query",
    "required": False,
    "description": "Cursor: the `next` of the previous page.",
    "schema": _TEXT,
}


def _header_parameter(name: str, description: str) -> Json:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": _TEXT,
    }


PUT_MAPPING: Final = HandlerOperation(
    id="putImportMapping",
    tag=TAG,
    summary="Create or replace an import mapping",
    description="Putting the stored content again changes nothing. To replace other content, send "
    "the ETag of the version that you read in `If-Match`.",
    parameters=(
        _header_parameter("If-Match", "The ETag of the version to replace."),
        _header_parameter("If-None-Match", "`*`: create only, never replace."),
    ),
    body=RequestBody(schema=MAPPING_SCHEMA, example=MAPPING_EXAMPLE),
    responses={
        200: SuccessResponse(description="Replaced, or unchanged", schema=MAPPING_SCHEMA),
        201: SuccessResponse(description="Created", schema=MAPPING_SCHEMA),
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
GET_MAPPING: Final = HandlerOperation(
    id="getImportMapping",
    tag=TAG,
    summary="Get an import mapping",
    parameters=(_header_parameter("If-None-Match", "The ETag of the copy that you have."),),
    responses={
        200: SuccessResponse(description="The mapping", schema=MAPPING_SCHEMA),
        304: SuccessResponse(description="Unchanged since that ETag"),
    },
    problems=("not_found", "not_acceptable", "invalid_input"),
)
LIST_MAPPINGS: Final = HandlerOperation(
    id="listImportMappings",
    tag=TAG,
    summary="List import mappings",
    parameters=(_LIMIT, _AFTER),
    responses={
        200: SuccessResponse(
            description="A page of mappings, oldest first",
            schema=_object(
                {"items": {"type": "array", "items": MAPPING_SCHEMA}, "next": _OPTIONAL_TEXT},
                "items",
                "next",
            ),
        )
    },
    problems=("cursor_invalid", "not_acceptable", "invalid_input"),
)
START_IMPORT: Final = HandlerOperation(
    id="startImport",
    tag=TAG,
    summary="Import projects from a file",
    description="The file is stored before the response is sent; a background job imports it. "
    "Invalid rows are quarantined with their reasons. Importing the same file again changes "
    "nothing.",
    parameters=(
        _MAPPING_PARAMETER,
        _header_parameter(
            "Idempotency-Key",
            "Requests with the same key get the first response again for 24 hours.",
        ),
    ),
    body=RequestBody(
        media_types=LINE_MEDIA_TYPES,
        schema=_TEXT,
        example='{"project_name":"Rio Verde Solar","total_amount":"104000000.00"}\n',
    ),
    responses={
        202: SuccessResponse(
            description="Queued; `Location` is the job's address", schema=JOB_SCHEMA
        )
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
GET_IMPORT: Final = HandlerOperation(
    id="getImport",
    tag=TAG,
    summary="Get an import",
    responses={200: SuccessResponse(description="The counts so far", schema=IMPORT_SCHEMA)},
    problems=("not_found", "not_acceptable", "invalid_input"),
)
GET_QUARANTINE: Final = HandlerOperation(
    id="getImportQuarantine",
    tag=TAG,
    summary="List the quarantined rows of an import",
    description="Each row has its line number, fields, reasons and raw line. Correct the fields "
    "and import the lines again with the same mapping.",
    responses={
        200: SuccessResponse(
            description="One row per line", schema=_TEXT, media_types=LINE_MEDIA_TYPES
        )
    },
    problems=("not_found", "not_acceptable", "invalid_input"),
)
GET_WARNINGS: Final = HandlerOperation(
    id="getImportWarnings",
    tag=TAG,
    summary="List the rows of an import that have warnings",
    description="These rows were imported. Each has its line number, project and reasons.",
    responses={
        200: SuccessResponse(
            description="One row per line", schema=_TEXT, media_types=LINE_MEDIA_TYPES[:1]
        )
    },
    problems=("not_found", "not_acceptable", "invalid_input"),
)
GET_JOB: Final = HandlerOperation(
    id="getJob",
    tag="jobs",
    summary="Get a job",
    responses={200: SuccessResponse(description="The job", schema=JOB_SCHEMA)},
    problems=("not_found", "not_acceptable", "invalid_input"),
)
CANCEL_JOB: Final = HandlerOperation(
    id="cancelJob",
    tag="jobs",
    summary="Cancel a job",
    description="Projects that the job has committed already stay.",
    responses={200: SuccessResponse(description="The job, cancelled", schema=JOB_SCHEMA)},
    problems=("not_found", "conflict", "not_acceptable", "invalid_input"),
)
