"""The parts of the OpenAPI document that no schema changes."""

from typing import Any, Final

from spawn.domain.events.dead_letter import LetterState
from spawn.domain.iso.countries import COUNTRIES
from spawn.domain.money import CURRENCIES
from spawn.domain.projects.lifecycle import Status
from spawn.domain.projects.project import MAX_REASON
from spawn.domain.query import MAX_LIMIT
from spawn.entrypoints.http.protocol.query_params import DEFAULT_LIMIT, MAX_CURSOR
from spawn.ports.schemas import Provenance, SchemaState

Json = dict[str, Any]

TAGS: Final = {
    "operations": "Commands and queries on projects.",
    "imports": "Files of projects: mappings, imports, quarantine.",
    "data": "All of the data, as files.",
    "analysis": "Calculators and simulation: the finance engine, stateless.",
    "jobs": "Long work.",
    "events": "What happened, in order.",
    "governance": "The schemas that rule projects.",
    "admin": "Introspection and operation.",
    "monitoring": "For those who watch.",
    "product": "The product's own documents.",
}

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


def _object(properties: Json, *required: str, **more: Any) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        **more,
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(item: Json) -> Json:
    return _object({"items": {"type": "array", "items": item}, "next": _NEXT})


SCHEMA_SUMMARY: Final[Json] = {
    "schema_id": _TEXT,
    "version": _COUNT,
    "name": _TEXT,
    "state": {"type": "string", "enum": [state.value for state in SchemaState]},
    "provenance": {"type": "string", "enum": [origin.value for origin in Provenance]},
    "recorded_at": _INSTANT,
    "fingerprint": _TEXT,
    "reason": _TEXT_OR_NULL,
    "decision": {
        "anyOf": [
            _object(
                {
                    "approved": {"type": "boolean"},
                    "actor": _TEXT,
                    "reason": _TEXT,
                    "decided_at": _INSTANT,
                }
            ),
            {"type": "null"},
        ],
        "description": "What someone who governs made of it.",
    },
    "url": _TEXT,
}
"""A version of a schema without its document."""

SCHEMAS: Final[dict[str, Json]] = {
    "CurrencyCode": {
        "type": "string",
        "description": "ISO 4217.",
        "enum": sorted(code for code, unit in CURRENCIES.items() if unit.exponent is not None),
    },
    "CountryCode": {
        "type": "string",
        "description": "ISO 3166-1 alpha-3.",
        "enum": sorted(COUNTRIES),
    },
    "ProjectPage": _list(_ref("Project")),
    "Transition": _object(
        {
            "to": {"type": "string", "enum": [status.value for status in Status]},
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
    "HistoryPage": _list(
        _object(
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
    "Feed": _object({"events": {"type": "array", "items": _ref("Event")}, "next": _TEXT}),
    "Event": _object(
        {
            "specversion": {"const": "1.0"},
            "id": _TEXT,
            "source": {"type": "string", "format": "uri"},
            "type": {"type": "string", "examples": ["spawn.project.created.v1"]},
            "subject": {"type": "string", "examples": ["projects/019a2b3c-…"]},
            "time": _INSTANT,
            "datacontenttype": {"const": "application/json"},
            "dataschema": {"type": "string", "format": "uri"},
            "sequence": {"type": "string", "pattern": r"^[0-9]{10}$"},
            "traceparent": _TEXT,
            "data": _object(
                {
                    "before_version": _COUNT,
                    "changed": {"type": "array", "items": _TEXT},
                    "after": {"type": "object"},
                }
            ),
        },
        *("specversion", "id", "source", "type", "subject", "time", "sequence", "data"),
    ),
    "DeadLetterPage": _list(_ref("DeadLetter")),
    "DeadLetter": _object(
        {
            "dead_letter_id": _ID,
            "publisher": _TEXT,
            "state": {"type": "string", "enum": [state.value for state in LetterState]},
            "event_id": _TEXT,
            "event_type": {"type": "string", "examples": ["spawn.project.created.v1"]},
            "subject": _TEXT,
            "sequence": {"type": "string", "pattern": r"^[0-9]{10}$"},
            "event_time": _INSTANT,
            "tries": _COUNT,
            "reason": {"type": "string", "description": "The consumer's last answer."},
            "recorded_at": _INSTANT,
            "updated_at": _INSTANT,
        }
    ),
    "SchemaList": _list(_object(SCHEMA_SUMMARY)),
    "Schema": _object(
        {
            **SCHEMA_SUMMARY,
            "description": _TEXT,
            "columns": {
                "type": "array",
                "items": _object(
                    {
                        "name": _TEXT,
                        "type": {"type": "string", "examples": ["decimal(18,4)", "string(200)"]},
                        "description": _TEXT,
                        "required": {"type": "boolean"},
                        "governed": {"type": "boolean"},
                        "semantic": _TEXT_OR_NULL,
                        "unit": _TEXT_OR_NULL,
                        "aliases": {"type": "array", "items": _TEXT},
                        "deprecated": {"type": "boolean"},
                        "sunset": {"type": ["string", "null"], "format": "date"},
                    }
                ),
            },
            "document": {"type": "object", "description": "As received from the registry."},
        }
    ),
    "TableList": _list(_ref("Table")),
    "Table": _object(
        {
            "name": _TEXT,
            "rows": _COUNT,
            "columns": {"type": "array", "items": {"type": "object"}},
        }
    ),
    "LogLevel": _object(
        {
            "level": {
                "type": "string",
                "enum": ["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
            }
        },
        additionalProperties=False,
    ),
    "Liveness": _object({"status": {"const": "ok"}}),
    "Health": _object(
        {
            "status": {"type": "string", "enum": ["ok", "degraded", "unavailable"]},
            "version": _TEXT,
            "checks": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "status": {"type": "string", "enum": ["ok", "degraded", "unavailable"]},
                        "detail": _TEXT,
                    },
                    "required": ["status", "detail"],
                },
            },
        }
    ),
    "Problem": _object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": _TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": _TEXT,
            "instance": _TEXT,
            "code": {"type": "string", "description": "Stable; new codes may come."},
            "errors": {
                "type": "array",
                "items": _object(
                    {
                        "pointer": {"type": "string", "description": "JSON Pointer (RFC 6901)."},
                        "code": _TEXT,
                        "detail": _TEXT,
                    }
                ),
            },
            "trace_id": _TEXT,
            "oldest": {"type": "string", "description": "With cursor_expired: the first valid."},
        },
        *("type", "title", "status", "detail", "instance", "code", "trace_id"),
    ),
}

_TAG_PATTERN: Final = r'^(\*|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*)$'


def _query(name: str, description: str, schema: Json, **more: Any) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _header(name: str, description: str, schema: Json, **more: Any) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema, **more}


PARAMETERS: Final[dict[str, Json]] = {
    "IdempotencyKey": _header(
        "Idempotency-Key",
        "Makes a repeated request give the first answer again, for 24 hours.",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    ),
    "IfMatch": _header(
        "If-Match",
        "The ETag of the version the change was decided on, or * for any.",
        {"type": "string", "pattern": _TAG_PATTERN},
        required=True,
    ),
    "IfNoneMatch": _header(
        "If-None-Match", "An ETag held already.", {"type": "string", "pattern": _TAG_PATTERN}
    ),
    "AsOf": _query(
        "as_of",
        "An instant of recorded time (RFC 3339 with offset).",
        {"type": "string", "format": "date-time"},
    ),
    "SchemaVersion": _query(
        "schema_version",
        "A version of the schema whose shape the answer takes: one that the data here were under "
        "before, as long as it is served. Names in the query are that version's.",
        {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    ),
    "Fields": _query(
        "fields",
        "Comma-separated fields to show beside id and version.",
        {
            "type": "string",
            "pattern": r"^(project_name(,total_amount)?|total_amount|status|dscr|spv)$",
        },
        examples={"two": {"value": "project_name,total_amount"}},
    ),
    "Sort": _query(
        "sort",
        "Comma-separated fields; a leading minus sorts downwards. Default: order of creation.",
        {
            "type": "string",
            "pattern": r"^-?(total_amount(,project_name)?|project_name|status|created_at)$",
        },
        examples={"largest": {"value": "-total_amount,project_name"}},
    ),
    "Limit": _query(
        "limit",
        "Items in a page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    "After": _query(
        "after",
        "The next of the page before.",
        {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{1,{MAX_CURSOR}}}$"},
    ),
    "FeedAfter": _query(
        "after",
        "The next of the page before; absent for the beginning.",
        {"type": "string", "pattern": r"^[0-9]{1,18}\.[0-9]{1,18}$"},
    ),
    "LastEventId": _header(
        "Last-Event-ID",
        "The id that was received last; goes before `after`.",
        {"type": "string", "pattern": r"^[0-9]{1,18}\.[0-9]{1,18}$"},
    ),
    "LetterState": _query(
        "state",
        "Dead letters in this state only.",
        {"type": "string", "enum": [state.value for state in LetterState]},
    ),
    "EventTypes": _query(
        "type",
        "Comma-separated event types.",
        {"type": "string", "pattern": r"^spawn\.project\.(created|amended|transitioned)\.v1$"},
    ),
    "EventSubject": _query(
        "subject",
        "One aggregate only.",
        {"type": "string", "pattern": r"^projects/[0-9a-f-]{36}$"},
    ),
}

HEADERS: Final[dict[str, Json]] = {
    "ETag": {"description": "The strong tag of this representation.", "schema": _TEXT},
    "Link": {
        "description": (
            "`describedby` names the schema version, `next` the next page; a document's own links "
            "lead to the other documents of the product."
        ),
        "schema": _TEXT,
    },
    "Location": {"description": "Where it is.", "schema": _TEXT},
    "Deprecation": {
        "description": (
            "Since when some of the answer is deprecated (RFC 9745): columns that the schema marks "
            "so, or the shape of an older version. Absent if nothing is."
        ),
        "schema": _TEXT,
    },
    "Sunset": {
        "description": "From when that may be gone (RFC 8594). Absent if no day was announced.",
        "schema": _TEXT,
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": _COUNT},
    "Spawn-Warnings": {
        "description": (
            "What is odd about the body, which was accepted all the same: a list (RFC 9651) of "
            'JSON Pointers with a code and a detail each, such as `"/sector";code=deprecated;'
            'detail="is deprecated and may go"`. Absent if there is nothing.'
        ),
        "schema": _TEXT,
    },
    "X-Request-ID": {"description": "The id of this request in the logs.", "schema": _TEXT},
}

_PATH_SCHEMAS: Final[dict[str, Json]] = {
    "number": {"type": "string", "pattern": r"^(0|[1-9][0-9]{0,8})$"},
    "schema_id": {"type": "string", "pattern": r"^[a-z][a-z0-9_-]{0,63}$"},
    "name": {"type": "string", "pattern": r"^[a-z0-9][a-z0-9._-]{0,62}$"},
    "code": {"type": "string", "pattern": r"^[a-z]+([_-][a-z]+)*$"},
    "dataset": {"type": "string", "pattern": r"^projects$"},
}


def parameter_of_path(name: str) -> Json:
    """A path parameter by its name; whatever ends in `_id` and has no grammar is a UUIDv7."""
    schema = _PATH_SCHEMAS.get(name, _ID)
    return {"name": name, "in": "path", "required": True, "schema": schema}
