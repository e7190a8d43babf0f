"""What OpenAPI says of the routes of projects."""

from typing import Final

from spawn.entrypoints.http.openapi.operation import Body, Operation, Success

EXAMPLE: Final = {
    "project_name": "Sierra Wind II",
    "total_amount": "125000000.00",
    "currency_code": "EUR",
    "country_code": "ESP",
    "sector": "wind",
    "maturity_years": 18,
    "expected_irr": 0.095,
    "dscr": 1.35,
    "description": "120 MW onshore wind farm",
}
_ITEM_HEADERS: Final = ("ETag", "Link", "Deprecation", "Sunset")
_WARNED: Final = (*_ITEM_HEADERS, "Spawn-Warnings")
_KEYED: Final = ("idempotency_key_reused", "conflict", "duplicate")
_BODY: Final = (
    "malformed_body",
    "invalid_input",
    "unsupported_media_type",
    "body_too_large",
    "request_timeout",
    "overloaded",
    "storage_full",
)

CREATE: Final = Operation(
    id="createProject",
    tag="operations",
    summary="Create a project",
    description=(
        "The body is checked against the active schema. Unknown fields are refused unless they "
        "begin with `x_`. First-generation payloads are accepted: amounts as JSON numbers, "
        "`expected_tri` as a percentage, `ACTIVE` for OPERATION."
    ),
    parameters=("IdempotencyKey",),
    body=Body(schema="ProjectInput", example=EXAMPLE),
    answers={
        201: Success(description="Created.", schema="Project", headers=("Location", *_WARNED))
    },
    problems=(*_BODY, *_KEYED),
)
AMEND: Final = Operation(
    id="amendProject",
    tag="operations",
    summary="Amend a project",
    description=(
        "A JSON merge patch (RFC 7396): a value replaces, null removes, absence keeps. What "
        "changes nothing writes nothing. The status changes by transitions only."
    ),
    parameters=("IfMatch", "IdempotencyKey"),
    body=Body(
        media_types=("application/merge-patch+json", "application/json"),
        schema="ProjectPatch",
        example={"description": "130 MW after repowering", "dscr": 1.4},
    ),
    answers={200: Success(description="Amended.", schema="Project", headers=_WARNED)},
    problems=(*_BODY, *_KEYED, "not_found", "stale_version", "precondition_required"),
)
TRANSITION: Final = Operation(
    id="transitionProject",
    tag="operations",
    summary="Take a step of the status machine",
    parameters=("IfMatch", "IdempotencyKey"),
    body=Body(
        schema="Transition",
        example={"to": "MANDATED", "reason": "mandate letter signed", "effective_on": "2026-03-01"},
    ),
    answers={200: Success(description="Moved on.", schema="Project", headers=_ITEM_HEADERS)},
    problems=(
        *_BODY,
        *_KEYED,
        "not_found",
        "stale_version",
        "precondition_required",
        "illegal_transition",
    ),
)
READ: Final = Operation(
    id="getProject",
    tag="operations",
    summary="Read a project",
    description=(
        "Now, or as it was recorded at an instant (`as_of`), whole or some of its fields, under "
        "the schema that rules or (`schema_version`) in the shape of an older version."
    ),
    parameters=("AsOf", "Fields", "SchemaVersion", "IfNoneMatch"),
    answers={
        200: Success(description="The project.", schema="Project", headers=_ITEM_HEADERS),
        304: Success(description="Unchanged since that ETag.", headers=("ETag",)),
    },
    problems=("not_found", "invalid_input", "schema_version_expired"),
)
LIST: Final = Operation(
    id="listProjects",
    tag="operations",
    summary="List projects",
    description=(
        "Filters are `field=value` or `field[operator]=value` on core and governed fields, with "
        "the operators eq, ne, lt, lte, gt, gte, in, like and exists; `in` takes values separated "
        "by commas. Pages are continued by `after`, and stay stable while others write."
    ),
    parameters=(
        "ProjectFilters",
        "Sort",
        "Fields",
        "Limit",
        "After",
        "SchemaVersion",
        "IfNoneMatch",
    ),
    answers={
        200: Success(description="One page.", schema="ProjectPage", headers=_ITEM_HEADERS),
        304: Success(description="Unchanged since that ETag.", headers=("ETag",)),
    },
    problems=(
        "invalid_input",
        "not_found",
        "cursor_invalid",
        "schema_version_expired",
        "deadline_exceeded",
        "uri_too_long",
    ),
)
HISTORY: Final = Operation(
    id="getProjectHistory",
    tag="operations",
    summary="Read the history of a project",
    description="Every version, oldest first, with who changed what and the document of the time.",
    parameters=("Limit", "After"),
    answers={200: Success(description="Versions.", schema="HistoryPage", headers=("Link",))},
    problems=("not_found", "invalid_input", "cursor_invalid"),
)
