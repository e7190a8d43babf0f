"""OpenAPI operations of projects."""

from typing import Final

from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    RequestBody,
    SuccessResponse,
)

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
_PROJECT_HEADERS: Final = ("ETag", "Link", "Deprecation", "Sunset")
_WRITE_HEADERS: Final = (*_PROJECT_HEADERS, "Spawn-Warnings")
_IDEMPOTENCY_PROBLEMS: Final = ("idempotency_key_reused", "conflict", "duplicate")
_BODY_PROBLEMS: Final = (
    "malformed_body",
    "invalid_input",
    "unsupported_media_type",
    "body_too_large",
    "request_timeout",
    "overloaded",
    "storage_full",
)

CREATE: Final = HandlerOperation(
    id="createProject",
    tag="operations",
    summary="Create a project",
    description=(
        "The body is validated against the active schema. Unknown fields are rejected unless they "
        "begin with `x_`. First-generation payloads are accepted: amounts as JSON numbers, "
        "`expected_tri` as a percentage, `ACTIVE` for OPERATION."
    ),
    parameters=("IdempotencyKey",),
    body=RequestBody(schema="ProjectInput", example=EXAMPLE),
    responses={
        201: SuccessResponse(
            description="Created.", schema="Project", headers=("Location", *_WRITE_HEADERS)
        )
    },
    problems=(*_BODY_PROBLEMS, *_IDEMPOTENCY_PROBLEMS),
)
AMEND: Final = HandlerOperation(
    id="amendProject",
    tag="operations",
    summary="Amend a project",
    description=(
        "The body is a JSON merge patch (RFC 7396): a value replaces, null removes, absent fields "
        "stay. A patch without changes writes nothing. The status changes by transitions only."
    ),
    parameters=("IfMatch", "IdempotencyKey"),
    body=RequestBody(
        media_types=("application/merge-patch+json", "application/json"),
        schema="ProjectPatch",
        example={"description": "130 MW after repowering", "dscr": 1.4},
    ),
    responses={
        200: SuccessResponse(description="Amended.", schema="Project", headers=_WRITE_HEADERS)
    },
    problems=(
        *_BODY_PROBLEMS,
        *_IDEMPOTENCY_PROBLEMS,
        "not_found",
        "stale_version",
        "precondition_required",
    ),
)
TRANSITION: Final = HandlerOperation(
    id="transitionProject",
    tag="operations",
    summary="Transition a project",
    description="Moves the project to another status that its lifecycle allows, with a reason.",
    parameters=("IfMatch", "IdempotencyKey"),
    body=RequestBody(
        schema="Transition",
        example={"to": "MANDATED", "reason": "mandate letter signed", "effective_on": "2026-03-01"},
    ),
    responses={
        200: SuccessResponse(
            description="Transitioned.", schema="Project", headers=_PROJECT_HEADERS
        )
    },
    problems=(
        *_BODY_PROBLEMS,
        *_IDEMPOTENCY_PROBLEMS,
        "not_found",
        "stale_version",
        "precondition_required",
        "illegal_transition",
    ),
)
READ: Final = HandlerOperation(
    id="getProject",
    tag="operations",
    summary="Get a project",
    description=(
        "The current version, or the one recorded at an instant (`as_of`); all fields, or some "
        "(`fields`); under the active schema, or an older version of it (`schema_version`)."
    ),
    parameters=("AsOf", "Fields", "SchemaVersion", "IfNoneMatch"),
    responses={
        200: SuccessResponse(
            description="The project.", schema="Project", headers=_PROJECT_HEADERS
        ),
        304: SuccessResponse(description="Unchanged since that ETag.", headers=("ETag",)),
    },
    problems=("not_found", "invalid_input", "schema_version_expired"),
)
LIST: Final = HandlerOperation(
    id="listProjects",
    tag="operations",
    summary="List projects",
    description=(
        "Filters are `field=value` or `field[operator]=value` on core and governed fields, with "
        "the operators eq, ne, lt, lte, gt, gte, in, like and exists; `in` takes values separated "
        "by commas. Continue with `after`; pages stay stable while projects change."
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
    responses={
        200: SuccessResponse(
            description="One page.", schema="ProjectPage", headers=_PROJECT_HEADERS
        ),
        304: SuccessResponse(description="Unchanged since that ETag.", headers=("ETag",)),
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
HISTORY: Final = HandlerOperation(
    id="getProjectHistory",
    tag="operations",
    summary="Get the history of a project",
    description=(
        "Every version, oldest first, with its actor, its changed fields and the document as it "
        "was stored."
    ),
    parameters=("Limit", "After"),
    responses={
        200: SuccessResponse(description="Versions.", schema="HistoryPage", headers=("Link",))
    },
    problems=("not_found", "invalid_input", "cursor_invalid"),
)
