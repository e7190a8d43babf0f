"""Parameters of lists: filters, sorts, fields and limits as a typed query."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from spawn.application.projects.list_query import read_filters, read_selection
from spawn.application.schemas.version_selection import VERSION_SELECTION
from spawn.domain.dates import parse_instant, parse_moment
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.query import MAX_LIMIT, Query
from spawn.domain.schema_version import Value
from spawn.domain.schemas.validator import SchemaValidator
from spawn.entrypoints.http.protocol.cursors import MAX_CURSOR_LENGTH, decode_cursor
from spawn.entrypoints.http.protocol.operation import Parameter

C = TypeVar("C", bound=StrEnum)
DEFAULT_LIMIT: Final = 50
LIMIT: Final = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    "Maximum items of a page.",
    component="Limit",
)
AFTER: Final = Parameter(
    "after",
    {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{1,{MAX_CURSOR_LENGTH}}}$"},
    "The `next` of the previous page.",
    component="After",
)
SCHEMA_VERSION: Final = Parameter(
    "schema_version",
    {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    "The schema version of the response: an earlier version of the data that is still served. "
    "Names in the query are those of this version.",
    component="SchemaVersion",
)
SCHEMA_VERSIONS: Final = Parameter(
    "schema_version",
    {"type": "string", "pattern": f"^{VERSION_SELECTION}$"},
    "The schema version of each governed kind, if it is not the active one: a number alone is a "
    "version of the schema of projects, or of `schema_id`; `facility_schema@2` of another one. "
    "With commas there is one for each kind.",
    examples={
        "projects": {"value": "0"},
        "facilities": {"value": "facility_schema@0"},
    },
    component="SchemaVersions",
)
SCHEMA_ID: Final = Parameter(
    "schema_id",
    {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
    "The schema that the document describes; that of projects by default.",
    component="SchemaId",
)
KNOWN_AS_OF: Final = Parameter(
    "as_of",
    {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]},
    "As recorded at an instant in the past, or by the end of a past day in UTC; by default now.",
    examples={
        "year_end": {"value": "2025-12-31"},
        "instant": {"value": "2025-12-31T17:00:00+01:00"},
    },
)
"""The instant of figures that must not change any more: one that is yet to come is an error."""

_LIMIT: Final = re.compile(r"[0-9]{1,6}")
_POSITIVE: Final = re.compile(r"[1-9][0-9]{0,8}")
_UNBOUND_PARAMETERS: Final = frozenset({"fields", "limit", "after", "schema_version"})
"""Parameters of a list that do not change which items follow a cursor."""

_OTHER_PARAMETERS: Final = _UNBOUND_PARAMETERS | {"as_of"}
"""Parameters of a list that are neither filters nor order."""

_COUNT_PARAMETERS: Final = ("schema_version", "as_of")


class ListParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a list: query, fields (empty: all) and the binding of its cursors."""

    query: Query
    fields: tuple[str, ...]
    binding: bytes


def read_list_parameters(
    parameters: Mapping[str, str], validator: SchemaValidator
) -> ListParameters:
    """Read the query of a list from its parameters.

    Raises:
        InvalidInput: naming each parameter that is unknown or not of its type.
        CursorInvalid: `after` is not the `next` of a page of this query.
    """
    errors: list[FieldError] = []
    query = {name: text for name, text in parameters.items() if name not in _OTHER_PARAMETERS}
    fields = parameters.get("fields")
    selection = read_selection(query, fields, validator, errors, _OTHER_PARAMETERS)
    limit, as_of = DEFAULT_LIMIT, None
    try:
        limit = read_limit(parameters.get("limit"))
    except InvalidInput as error:
        errors.extend(error.errors)
    try:
        as_of = read_moment(parameters, "as_of")
    except InvalidInput as error:
        errors.extend(error.errors)
    if errors:
        raise InvalidInput(errors)
    binding = _cursor_binding(parameters)
    after = parameters.get("after")
    return ListParameters(
        query=Query(
            filters=selection.filters,
            sort=selection.sort,
            limit=limit,
            as_of=as_of,
            after=None if after is None else decode_cursor(after, binding),
        ),
        fields=selection.fields,
        binding=binding,
    )


def read_count_parameters(parameters: Mapping[str, str], validator: SchemaValidator) -> Query:
    """Read the query of a count: filters and an instant, as in lists.

    Raises:
        InvalidInput: naming each parameter that is unknown or not of its type.
    """
    errors: list[FieldError] = []
    texts = {name: text for name, text in parameters.items() if name not in _COUNT_PARAMETERS}
    filters = read_filters(texts, validator, errors, _COUNT_PARAMETERS)
    as_of = None
    try:
        as_of = read_moment(parameters, "as_of")
    except InvalidInput as error:
        errors.extend(error.errors)
    if errors:
        raise InvalidInput(errors)
    return Query(filters=filters, as_of=as_of)


def read_limit(text: str | None) -> int:
    """Return the limit of a page, at most the cap; the default when absent."""
    if text is None:
        return DEFAULT_LIMIT
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidInput.at(
            "/limit", "out_of_range", f"A limit is a number from 1 to {MAX_LIMIT}."
        )
    return int(text)


def read_after(parameters: Mapping[str, str], binding: bytes) -> tuple[Value | None, ...] | None:
    """Return the sort keys after which a page starts; None for the first page.

    Raises:
        CursorInvalid: `after` is not the `next` of a page of this list.
    """
    return decode_cursor(parameters["after"], binding) if "after" in parameters else None


def read_instant(parameters: Mapping[str, str], name: str) -> datetime | None:
    """Return the instant that a parameter names; None when absent."""
    return parse_instant(parameters[name], pointer=f"/{name}") if name in parameters else None


def read_number(parameters: Mapping[str, str], name: str) -> int | None:
    """Return the positive integer that a parameter names; None when absent.

    Raises:
        InvalidInput: it is not an integer from 1 to 999999999.
    """
    text = parameters.get(name)
    if text is None:
        return None
    if not _POSITIVE.fullmatch(text):
        raise InvalidInput.at(f"/{name}", "out_of_range", "must be an integer from 1 to 999999999")
    return int(text)


def read_moment(
    parameters: Mapping[str, str], name: str, *, is_start: bool = False
) -> datetime | None:
    """Return the instant that a parameter names, perhaps by its date; None when absent.

    A date is the last instant of its day in UTC, or the first one (`is_start`).

    Raises:
        InvalidInput: it is neither a date nor an instant.
    """
    text = parameters.get(name)
    if text is None:
        return None
    return parse_moment(text, pointer=f"/{name}", is_start=is_start)


def read_choice(parameters: Mapping[str, str], name: str, choices: type[C]) -> C | None:
    """Return the member of an enumeration that a parameter names; None when absent.

    Raises:
        InvalidInput: the enumeration has no such member.
    """
    text = parameters.get(name)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        detail = f"The {name} must be one of: {', '.join(choices)}."
        raise InvalidInput.at(f"/{name}", "not_in_enum", detail) from None


def _cursor_binding(parameters: Mapping[str, str]) -> bytes:
    """Return a digest of filters and order, independent of limit and fields.

    It uses the texts of the request, so that a scan continues after a schema change renames or
    retypes a column.
    """
    query = sorted(
        (name, text) for name, text in parameters.items() if name not in _UNBOUND_PARAMETERS
    )
    return hashlib.blake2b(msgspec.json.encode(query), digest_size=8).digest()
