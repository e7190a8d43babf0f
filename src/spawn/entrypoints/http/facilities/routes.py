"""Routes of facilities: create, list, read and amend."""

from functools import partial
from typing import Final

from spawn.application.commands import retry_on
from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import (
    FacilityResult,
    FinanceContext,
    amend_facility_terms,
    create_facility,
)
from spawn.application.facilities.facility_queries import (
    get_facility,
    list_facilities,
    query_facilities,
)
from spawn.application.projects.versioned_views import convert_to_version
from spawn.application.schemas.served_versions import find_schema
from spawn.domain.approvals.approval_policy import CommandFacts, StateFacts
from spawn.domain.errors import SchemaVersionChanged
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.principal import Scope
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.validator import ProjectInput, compile_schema
from spawn.entrypoints.http.facilities.facility_responses import (
    FACILITIES,
    FACILITY_CODEC,
    CommandAttempt,
    render_facility,
    render_served_facility,
)
from spawn.entrypoints.http.facilities.wire import (
    FacilityView,
    facility_fields,
    read_facility,
    read_facility_patch,
)
from spawn.entrypoints.http.projects.preconditions import read_expected_version
from spawn.entrypoints.http.projects.representation import build_warning_headers
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.idempotency import render_stored_response
from spawn.entrypoints.http.protocol.operation import (
    BODY_PROBLEMS,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    JSON,
    Approvable,
    Body,
    Success,
)
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    KNOWN_AS_OF,
    LIMIT,
    SCHEMA_VERSION,
    read_after,
    read_limit,
    read_moment,
)
from spawn.entrypoints.http.protocol.request import StrictRequest, read_document
from spawn.entrypoints.http.protocol.response import Header, Response
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.schemas.version_headers import build_active_headers, read_served_version
from spawn.entrypoints.http.wire import PageView

TAG: Final = "facilities"
PROJECT_FACILITIES: Final = "/v1/ops/projects/{project_id}/facilities"
FACILITY: Final = FACILITIES + "/{facility_id}"
COMMAND_PROBLEMS: Final = (
    *BODY_PROBLEMS,
    *("not_found", "overloaded", "storage_full", "idempotency_key_reused", "conflict", "duplicate"),
)
EXAMPLE: Final = {
    "name": "Term loan A",
    "kind": "senior",
    "currency_code": "EUR",
    "commitment": "90000000.00",
    "availability_start": "2026-03-31",
    "availability_end": "2027-12-31",
    "lenders": [
        {"lender": "First Infrastructure Bank", "share": "60"},
        {"lender": "Second Infrastructure Bank", "share": "40"},
    ],
    "lender_steps": [
        {
            "from_date": "2033-03-31",
            "lenders": [
                {"lender": "First Infrastructure Bank", "share": "60"},
                {"lender": "Pension Fund", "share": "40"},
            ],
        }
    ],
    "rate": {
        "curve": "EURIBOR-6M",
        "margin": "0.0175",
        "margin_steps": [{"from_date": "2031-03-31", "margin": "0.02"}],
        "floor": "0",
    },
    "fees": {"upfront_fee": "0.0125", "commitment_fee": "0.006", "agency_fee": "25000.00"},
    "day_count": "ACT/360",
    "payment_dates": {"start": "2026-03-31", "end": "2043-03-31", "frequency": "semi_annual"},
    "repayment": {"profile": "annuity", "grace_periods": 4},
}


_READ_HEADERS: Final = ("ETag", "Link", "Deprecation", "Sunset")
_WRITE_HEADERS: Final = (*_READ_HEADERS, "Spawn-Warnings")


@route(
    "POST",
    PROJECT_FACILITIES,
    "createFacility",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Create a facility of a project",
    description=(
        "A loan has a rate, a repayment and payment dates; a grant or equity has none of these. "
        "The shares of the lenders add up to exactly 100, and from the date of each step in "
        "`lender_steps` on those of the lenders that it names."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body("FacilityInput", example=EXAMPLE, has_many_values=True),
    returns=Success(FacilityView, "Created.", status=201, headers=("Location", *_WRITE_HEADERS)),
    problems=COMMAND_PROBLEMS,
    approval=Approvable(CommandFacts(kind="kind", amount="commitment")),
)
async def post_facility(request: StrictRequest, project_id: str) -> Response:
    """Create a facility under a new id."""
    body = await request.read_body()
    path = PROJECT_FACILITIES.format(project_id=project_id)
    attempt = CommandAttempt(request, path, body, FACILITY_CODEC)
    dependencies = request.dependencies

    async def create() -> Response:
        epoch = (await dependencies.reads.position()).epoch
        schema = (await dependencies.active_schema(FACILITY_KIND)).schema
        today = dependencies.clock.now().date()
        validator = compile_schema(schema)
        facility = await read_document(lambda text: read_facility(text, validator, today), body)
        headers = await _build_headers(dependencies, schema, facility.governed_input)
        context = FinanceContext(
            receipt=attempt.receipt(epoch, 201, headers), traceparent=request.context.traceparent
        )
        result = await create_facility(
            dependencies,
            request.principal,
            project_id,
            facility.terms,
            context,
            facility.governed_input,
        )
        return await _respond(request, result, epoch, 201, headers)

    return await attempt.run(partial(retry_on, SchemaVersionChanged, create))


async def _build_headers(
    dependencies: Dependencies, schema: Schema, governed_input: ProjectInput
) -> tuple[Header, ...]:
    """Return the headers of the active version, and the warnings about a body."""
    headers = await build_active_headers(dependencies, schema)
    return (*headers, *build_warning_headers(governed_input.warnings))


async def _respond(
    request: StrictRequest,
    result: FacilityResult,
    epoch: int,
    status: int,
    headers: tuple[Header, ...],
) -> Response:
    if result.replayed_response is not None:
        return await render_stored_response(request, result.replayed_response)
    aggregate = result.aggregate
    if aggregate is None:
        raise RuntimeError("a command that was not replayed must return a facility")
    schema = await find_schema(request.dependencies, aggregate.schema_version, FACILITY_KIND)
    return render_facility(aggregate, epoch, status, schema, headers)


@route(
    "PATCH",
    FACILITY,
    "amendFacility",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Amend the terms of a facility",
    description=(
        "The body is a JSON merge patch (RFC 7396): a value replaces, null removes, absent terms "
        "stay. A patch without changes writes nothing."
    ),
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(
        "FacilityPatch",
        media_types=("application/merge-patch+json", JSON),
        example={"commitment": "95000000.00"},
        has_many_values=True,
    ),
    returns=Success(FacilityView, "Amended.", headers=_WRITE_HEADERS),
    problems=(*COMMAND_PROBLEMS, "stale_version", "precondition_required"),
    approval=Approvable(
        CommandFacts(amount="commitment"),
        StateFacts(
            FACILITY_KIND, "commitment", "currency_code", kind="kind", counts_as="createFacility"
        ),
    ),
)
async def patch_facility(request: StrictRequest, facility_id: str) -> Response:
    """Amend a facility by a JSON merge patch."""
    body = await request.read_body()
    path = FACILITY.format(facility_id=facility_id)
    attempt = CommandAttempt(request, path, body, FACILITY_CODEC)
    dependencies = request.dependencies

    async def amend() -> Response:
        version = await read_expected_version(request, FACILITY_KIND, facility_id)
        epoch = (await dependencies.reads.position()).epoch
        schema = (await dependencies.active_schema(FACILITY_KIND)).schema
        today = dependencies.clock.now().date()
        validator = compile_schema(schema)
        patch = await read_document(lambda text: read_facility_patch(text, validator, today), body)
        headers = await _build_headers(dependencies, schema, patch.governed_input)
        context = FinanceContext(
            expected_version=version,
            receipt=attempt.receipt(epoch, 200, headers),
            traceparent=request.context.traceparent,
        )
        result = await amend_facility_terms(
            dependencies,
            request.principal,
            facility_id,
            patch.change_terms,
            context,
            patch.governed_input,
        )
        return await _respond(request, result, epoch, 200, headers)

    return await attempt.run(partial(retry_on, SchemaVersionChanged, amend))


@route(
    "GET",
    FACILITY,
    "getFacility",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a facility",
    description=(
        "The terms now, or as recorded at an instant (`as_of`); under the active schema of "
        "facilities, or an older version of it (`schema_version`)."
    ),
    parameters=(KNOWN_AS_OF, SCHEMA_VERSION, IF_NONE_MATCH),
    returns=Success(FacilityView, "The facility.", headers=_READ_HEADERS),
    problems=("not_found", "schema_version_expired"),
)
async def get_one_facility(request: StrictRequest, facility_id: str) -> Response:
    """Return one facility, or 304 if the client has it."""
    dependencies = request.dependencies
    as_of = read_moment(request.query, "as_of")
    served_version = await read_served_version(request, FACILITY_KIND)
    aggregate = await get_facility(dependencies, request.principal, facility_id, as_of=as_of)
    epoch = (await dependencies.reads.position()).epoch
    facility = await convert_to_version(dependencies, aggregate, served_version.schema.version)
    if_none_match = request.header(b"if-none-match")
    return render_served_facility(facility, epoch, served_version, if_none_match)


@route(
    "GET",
    PROJECT_FACILITIES,
    "listFacilities",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="List the facilities of a project",
    parameters=(LIMIT, AFTER, SCHEMA_VERSION),
    returns=Success(
        PageView[FacilityView],
        "One page, by rank and then as created.",
        headers=("Link", "Deprecation", "Sunset"),
    ),
    problems=("not_found", "cursor_invalid", "schema_version_expired"),
)
async def read_facility_page(request: StrictRequest, project_id: str) -> Result:
    """List the facilities of a project."""
    binding = cursor_binding(FACILITY_KIND, project_id)
    limit, after = read_limit(request.query.get("limit")), read_after(request.query, binding)
    dependencies = request.dependencies
    served_version = await read_served_version(request, FACILITY_KIND)
    page = await list_facilities(
        dependencies,
        request.principal,
        project_id,
        query_facilities(project_id, limit, after),
    )
    schema = served_version.schema
    items = [
        facility_fields(await convert_to_version(dependencies, one, schema.version), schema)
        for one in page.items
    ]
    return page_result(request, items, page.next, binding, headers=served_version.headers)


ROUTES: Final[list[Route]] = [post_facility, read_facility_page, get_one_facility, patch_facility]
