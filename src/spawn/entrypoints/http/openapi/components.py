"""Components of the OpenAPI document that do not depend on the active schema."""

from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec

from spawn.domain.projects.codes import CODE_FIELDS, CodeField
from spawn.entrypoints.http.protocol.operation import PATH_PATTERNS

Json = dict[str, Any]

TAGS: Final = {
    "operations": "Projects: commands and queries.",
    "facilities": "Facilities of projects: terms, ledgers, balances and schedules.",
    "covenants": "Cases, actuals, covenants and their tests.",
    "approvals": "Commands that wait for the decision of another person.",
    "portfolios": "Portfolios, their holdings and exposure, and exchange rates.",
    "imports": "Imports of project files, with mappings and quarantine.",
    "data": "Downloads of whole datasets.",
    "analysis": "Financial calculators and simulations.",
    "jobs": "Background jobs.",
    "events": "The event feed and dead letters.",
    "governance": "Schemas of projects, data quality and lineage.",
    "admin": "API clients and their keys, tables of the store, log level.",
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
_TEXT: Final[Json] = {"type": "string"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}


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


@cache
def load_property_examples() -> Json:
    """Load examples by `Component.property` or `property`, for what no whole example has."""
    file = files("spawn.entrypoints.http.openapi") / "property_examples.json"
    examples: Json = msgspec.json.decode(file.read_bytes())
    return examples


def path_parameter(name: str) -> Json:
    """Return a path parameter by its name; names without a pattern of their own are UUIDv7."""
    pattern = PATH_PATTERNS.get(name)
    schema = _ID if pattern is None else {"type": "string", "pattern": pattern}
    return {"name": name, "in": "path", "required": True, "schema": schema}
