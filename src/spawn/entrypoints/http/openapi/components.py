"""Components of the OpenAPI document that do not depend on the active schema."""

from typing import Any, Final

from spawn.domain.events.dead_letter import DeadLetterState
from spawn.domain.projects.codes import CODE_FIELDS, CodeField
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import MAX_REASON
from spawn.domain.query import MAX_LIMIT
from spawn.entrypoints.http.protocol.cursors import MAX_CURSOR_LENGTH
from spawn.entrypoints.http.protocol.operation import PATH_PATTERNS
from spawn.entrypoints.http.protocol.query_params import DEFAULT_LIMIT

Json = dict[str, Any]

TAGS: Final = {
    "operations": "Projects: commands and queries.",
    "imports": "Imports of project files, with mappings and quarantine.",
    "data": "Downloads of whole datasets.",
    "analysis": "Financial calculators and simulations.",
    "jobs": "Background jobs.",
    "events": "The event feed and dead letters.",
    "governance": "Schemas of projects, data quality and lineage.",
    "admin": "Tables of the store and log level.",
    "monitoring": "Health and metrics.",
    "product": "Documents of the data product.",
}

MAX_LISTED_CODES: Final = 500
"""Codes that a schema lists one by one, at most."""

_ID: Final[Json] = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    "examples": ["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"],
}
_INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
_TEXT: Final[Json] = {"type": "string"}
_TEXT_OR_NULL: Final[Json] = {"type": ["string", "null"]}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_VERSION: Final[Json] = {"type": "integer", "minimum": 1}
_NEXT: Final[Json] = {"type": ["string", "null"], "description": "Cursor of the next page."}


def _object_schema(properties: Json, *required: str, **more: Any) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        **more,
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _page_schema(item: Json) -> Json:
    return _object_schema({"items": {"type": "array", "items": item}, "next": _NEXT})


def code_schema_name(field: CodeField) -> str:
    """Return the name of the schema of a code field's values."""
    return field.name.title().replace("_", "")


def _code_schema(field: CodeField) -> Json:
    """Return the schema of a code field's values; a long list of codes is left to its pattern."""
    is_short = len(field.codes) <= MAX_LISTED_CODES
    values = {"enum": field.codes} if is_short else {"pattern": field.pattern}
    return {"type": "string", "description": f"{field.standard}.", **values}


SCHEMAS: Final[dict[str, Json]] = {
    **{code_schema_name(code): _code_schema(code) for code in CODE_FIELDS.values()},
    "ProjectPage": _page_schema(_ref("Project")),
    "Transition": _object_schema(
        {
            "to": {"type": "string", "enum": [status.value for status in ProjectStatus]},
            "reason": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_REASON,
                "pattern": r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$",
            },
            "effective_on": {"type": ["string", "null"], "format": "date"},
        },
        "to",
        "reason",
        additionalProperties=False,
    ),
    "HistoryPage": _page_schema(
        _object_schema(
            {
                "version": _VERSION,
                "type": {"type": "string", "examples": ["project.created"]},
                "actor": _TEXT,
                "recorded_at": _INSTANT,
                "schema_version": _COUNT,
                "changed": {"type": "array", "items": _TEXT},
                "document": {"type": "object"},
                "reason": _TEXT,
            },
            *("version", "type", "actor", "recorded_at", "schema_version", "changed", "document"),
        )
    ),
    "Problem": _object_schema(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": _TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": _TEXT,
            "instance": _TEXT,
            "code": {"type": "string", "description": "Stable; new codes may be added."},
            "errors": {
                "type": "array",
                "items": _object_schema(
                    {
                        "pointer": {"type": "string", "description": "JSON Pointer (RFC 6901)."},
                        "code": _TEXT,
                        "detail": _TEXT,
                    }
                ),
            },
            "trace_id": _TEXT,
            "error_id": {
                "type": "string",
                "description": "The id of the log line with the cause of a 5xx; for the operator.",
            },
            "oldest": {
                "type": "string",
                "description": "With cursor_expired: the oldest valid cursor.",
            },
        },
        *("type", "title", "status", "detail", "instance", "code", "trace_id"),
    ),
}

_ETAG_LIST_PATTERN: Final = r'^(\*|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*)$'


def _query_parameter(name: str, description: str, schema: Json, **more: Any) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _header_parameter(name: str, description: str, schema: Json, **more: Any) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema, **more}


PARAMETERS: Final[dict[str, Json]] = {
    "IdempotencyKey": _header_parameter(
        "Idempotency-Key",
        "Return the first response again when the request is repeated within 24 hours.",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    ),
    "IfMatch": _header_parameter(
        "If-Match",
        "The ETag of the version that the change is based on, or * for any.",
        {"type": "string", "pattern": _ETAG_LIST_PATTERN},
        required=True,
    ),
    "IfNoneMatch": _header_parameter(
        "If-None-Match",
        "The ETag of a cached response.",
        {"type": "string", "pattern": _ETAG_LIST_PATTERN},
    ),
    "AsOf": _query_parameter(
        "as_of",
        "An instant of recorded time (RFC 3339 with offset).",
        {"type": "string", "format": "date-time"},
    ),
    "SchemaVersion": _query_parameter(
        "schema_version",
        "The schema version of the response: an earlier version of the data that is still served. "
        "Names in the query are those of this version.",
        {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    ),
    "Fields": _query_parameter(
        "fields",
        "Comma-separated fields to return beside id and version.",
        {
            "type": "string",
            "pattern": r"^(project_name(,total_amount)?|total_amount|status|dscr|spv)$",
        },
        examples={"two": {"value": "project_name,total_amount"}},
    ),
    "Sort": _query_parameter(
        "sort",
        "Comma-separated fields; a leading minus sorts descending. Default: order of creation.",
        {
            "type": "string",
            "pattern": r"^-?(total_amount(,project_name)?|project_name|status|created_at)$",
        },
        examples={"largest": {"value": "-total_amount,project_name"}},
    ),
    "Limit": _query_parameter(
        "limit",
        "Maximum items of a page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    "After": _query_parameter(
        "after",
        "The `next` of the previous page.",
        {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{1,{MAX_CURSOR_LENGTH}}}$"},
    ),
    "FeedAfter": _query_parameter(
        "after",
        "The `next` of the previous page; absent for the start of the feed.",
        {"type": "string", "pattern": r"^[0-9]{1,18}\.[0-9]{1,18}$"},
    ),
    "LastEventId": _header_parameter(
        "Last-Event-ID",
        "The id of the last received event; takes precedence over `after`.",
        {"type": "string", "pattern": r"^[0-9]{1,18}\.[0-9]{1,18}$"},
    ),
    "LetterState": _query_parameter(
        "state",
        "Only dead letters in this state.",
        {"type": "string", "enum": [state.value for state in DeadLetterState]},
    ),
    "EventTypes": _query_parameter(
        "type",
        "Comma-separated event types.",
        {"type": "string", "pattern": r"^spawn\.project\.(created|amended|transitioned)\.v1$"},
    ),
    "EventSubject": _query_parameter(
        "subject",
        "Only events of one aggregate.",
        {"type": "string", "pattern": r"^projects/[0-9a-f-]{36}$"},
    ),
}

HEADERS: Final[dict[str, Json]] = {
    "ETag": {"description": "The strong tag of this representation.", "schema": _TEXT},
    "Link": {
        "description": (
            "`describedby` is the schema version, `next` the next page; links of a document are "
            "the other documents of the product."
        ),
        "schema": _TEXT,
    },
    "Location": {"description": "The address of the resource.", "schema": _TEXT},
    "Deprecation": {
        "description": (
            "The time since which a part of the response is deprecated (RFC 9745): a column, or "
            "the older schema version of the response. Absent if nothing is deprecated."
        ),
        "schema": _TEXT,
    },
    "Sunset": {
        "description": (
            "The time at which the deprecated part may be removed (RFC 8594). Absent if "
            "unannounced."
        ),
        "schema": _TEXT,
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": _COUNT},
    "Spawn-Warnings": {
        "description": (
            "Warnings about a body that was accepted: a list (RFC 9651) of JSON Pointers with a "
            'code and a detail each, such as `"/sector";code=deprecated;'
            'detail="is deprecated and may go"`. Absent without warnings.'
        ),
        "schema": _TEXT,
    },
    "X-Request-ID": {"description": "The id of this request in the logs.", "schema": _TEXT},
}


def path_parameter(name: str) -> Json:
    """Return a path parameter by its name; names without a pattern of their own are UUIDv7."""
    pattern = PATH_PATTERNS.get(name)
    schema = _ID if pattern is None else {"type": "string", "pattern": pattern}
    return {"name": name, "in": "path", "required": True, "schema": schema}
