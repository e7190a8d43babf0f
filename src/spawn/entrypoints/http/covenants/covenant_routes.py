"""Routes of covenants, their tests, waivers and states."""

from functools import cache
from typing import Any, Final

from spawn.application.covenants.covenant_commands import (
    change_covenant,
    create_covenant,
    record_covenant_test,
    waive_covenant,
)
from spawn.application.covenants.covenant_queries import (
    get_covenant,
    get_covenant_test,
    list_covenant_tests,
    read_covenant_state,
    read_outlook,
)
from spawn.application.struct_schemas import input_schema, patch_schema
from spawn.domain.covenants.covenant_record import COVENANT_TEST_KIND
from spawn.domain.covenants.covenant_set import COVENANT_KIND, CovenantTermSheet
from spawn.domain.errors import InvalidInput
from spawn.domain.principal import Scope
from spawn.entrypoints.http.covenants.case_routes import (
    CHANGE_PROBLEMS,
    COMMAND_PROBLEMS,
    PROJECT,
    TAG,
    read_day,
)
from spawn.entrypoints.http.covenants.case_wire import REASON_SCHEMA
from spawn.entrypoints.http.covenants.covenant_codec import (
    COVENANT_TESTS,
    COVENANTS,
    Command,
    read_project_page,
    render_state,
    run_command,
)
from spawn.entrypoints.http.covenants.covenant_wire import (
    CovenantOutlookView,
    CovenantStateView,
    CovenantTestRequestView,
    CovenantView,
    RecordedTestView,
    WaiverRequestView,
    parse_id,
    read_covenant_patch,
    read_covenant_terms,
    read_test_order,
    read_waiver,
)
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.operation import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    JSON,
    Approvable,
    Body,
    Computed,
    Parameter,
    Success,
)
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    KNOWN_AS_OF,
    LIMIT,
    read_after,
    read_limit,
    read_moment,
    read_number,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.wire import RESOURCE_ID_SCHEMA, PageView

_COVENANT: Final = COVENANTS + "/{covenant_id}"
_DAY: Final = Parameter(
    "on", {"type": "string", "format": "date"}, "The day of the state; by default today, in UTC."
)
_CASE: Final = Parameter(
    "case_id", {"type": "string", **RESOURCE_ID_SCHEMA}, "A case of the project.", is_required=True
)
CASE_VERSION: Final = Parameter(
    "case_version",
    {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "A used version of the case instead of the current one.",
)
OPTIONAL_CASE: Final = Parameter(
    "case_id", {"type": "string", **RESOURCE_ID_SCHEMA}, "A case of the project."
)
_OF_COVENANT: Final = Parameter(
    "covenant_id", {"type": "string", **RESOURCE_ID_SCHEMA}, "Only tests of this covenant."
)
_EXAMPLE: Final = {
    "name": "Historic DSCR",
    "metric": "DSCR",
    "lockup_level": "1.15",
    "release_level": "1.20",
    "default_level": "1.05",
    "window_months": 12,
    "test_dates": ["2027-12-31", "2028-06-30", "2028-12-31"],
    "cure_rights": {"max_cures": 3, "max_consecutive": 1},
}


@cache
def _get_terms_schema() -> Any:
    return input_schema(CovenantTermSheet)


@cache
def _get_patch_schema() -> Any:
    description = "Terms to replace; null removes one. `reason` is recorded in the history."
    return patch_schema(CovenantTermSheet, "CovenantPatch", description, reason=REASON_SCHEMA)


@route(
    "POST",
    PROJECT + "/covenants",
    "createCovenant",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Create a covenant of a project",
    description=(
        "A metric with lock-up, release and default levels, test dates and a window of months. "
        "DSCR and LLCR may not fall below their levels, gearing may not rise above them."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(Computed(_get_terms_schema), example=_EXAMPLE),
    returns=Success(CovenantView, "Created.", status=201, headers=("Location", "ETag")),
    problems=COMMAND_PROBLEMS,
    approval=Approvable(),
)
async def post_covenant(request: StrictRequest, project_id: str) -> Response:
    """Create a covenant under a new id."""

    def read_command(body: bytes) -> Command:
        terms = read_covenant_terms(body)
        return lambda context: create_covenant(
            request.dependencies, request.principal, project_id, terms, context
        )

    return await run_command(request, read_command, status=201, project_id=project_id)


@route(
    "GET",
    PROJECT + "/covenants",
    "listCovenants",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="List the covenants of a project",
    parameters=(LIMIT, AFTER),
    returns=Success(PageView[CovenantView], "One page, oldest first.", headers=("Link",)),
    problems=("not_found", "cursor_invalid"),
)
async def read_covenant_page(request: StrictRequest, project_id: str) -> Result:
    """List the covenants of a project."""
    return await read_project_page(request, project_id, COVENANT_KIND)


@route(
    "GET",
    _COVENANT,
    "getCovenant",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a covenant",
    description="The terms, waivers and tests now, or as recorded at an instant (`as_of`).",
    parameters=(KNOWN_AS_OF,),
    returns=Success(CovenantView, "The covenant.", headers=("ETag",)),
    problems=("not_found",),
)
async def read_covenant(request: StrictRequest, covenant_id: str) -> Response:
    """Return one covenant."""
    dependencies, as_of = request.dependencies, read_moment(request.query, "as_of")
    covenant = await get_covenant(dependencies, request.principal, covenant_id, as_of=as_of)
    return render_state(covenant, (await dependencies.reads.position()).epoch)


@route(
    "PATCH",
    _COVENANT,
    "amendCovenant",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Amend the terms of a covenant",
    description=(
        "The body is a JSON merge patch (RFC 7396). Earlier tests keep the levels of their day; "
        "the metric of a tested covenant does not change."
    ),
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(
        Computed(_get_patch_schema),
        media_types=("application/merge-patch+json", JSON),
        example={"lockup_level": "1.10", "reason": "amendment letter"},
    ),
    returns=Success(CovenantView, "Amended.", headers=("ETag",)),
    problems=CHANGE_PROBLEMS,
    approval=Approvable(),
)
async def patch_covenant(request: StrictRequest, covenant_id: str) -> Response:
    """Amend a covenant by a JSON merge patch."""

    def read_command(body: bytes) -> Command:
        change_terms, reason = read_covenant_patch(body)
        return lambda context: change_covenant(
            request.dependencies, request.principal, covenant_id, change_terms, reason, context
        )

    return await run_command(
        request,
        read_command,
        precondition=(COVENANT_KIND, covenant_id),
        covenant_id=covenant_id,
    )


@route(
    "POST",
    _COVENANT + "/waivers",
    "waiveCovenant",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Record a waiver of a covenant",
    description=(
        "A waiver covers the defaults of tests on its days, and a default that stands when it "
        "begins; with `covers_lockup` also a lock-up. Its end revives nothing."
    ),
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(
        WaiverRequestView,
        example={
            "starts_on": "2028-06-30",
            "ends_on": "2028-12-30",
            "reason": "grid outage, consent letter of the lenders",
            "granted_by": "Facility agent",
        },
    ),
    returns=Success(CovenantView, "The covenant with its waiver.", status=201, headers=("ETag",)),
    problems=CHANGE_PROBLEMS,
    approval=Approvable(),
)
async def post_waiver(request: StrictRequest, covenant_id: str) -> Response:
    """Record a waiver of a covenant."""

    def read_command(body: bytes) -> Command:
        build_waiver = read_waiver(body)
        return lambda context: waive_covenant(
            request.dependencies, request.principal, covenant_id, build_waiver, context
        )

    return await run_command(
        request,
        read_command,
        status=201,
        precondition=(COVENANT_KIND, covenant_id),
        covenant_id=covenant_id,
    )


@route(
    "POST",
    _COVENANT + "/tests",
    "testCovenant",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Test a covenant on a date",
    description=(
        "The ratio is exact and compared unrounded. Without debt service the outcome is "
        "NOT_TESTED, which neither breaches nor cures. Nothing changes a test later: a re-test of "
        "a date has a `reason` and names the test that it follows. A case becomes a used one."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(
        CovenantTestRequestView,
        example={
            "tested_on": "2027-12-31",
            "figures": "CASE",
            "case_id": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
        },
    ),
    returns=Success(RecordedTestView, "Tested.", status=201, headers=("Location", "ETag")),
    problems=COMMAND_PROBLEMS,
    approval=Approvable(),
)
async def post_covenant_test(request: StrictRequest, covenant_id: str) -> Response:
    """Test a covenant and record the test."""

    def read_command(body: bytes) -> Command:
        order = read_test_order(body)
        return lambda context: record_covenant_test(
            request.dependencies, request.principal, covenant_id, order, context
        )

    return await run_command(request, read_command, status=201, covenant_id=covenant_id)


@route(
    "GET",
    COVENANT_TESTS + "/{test_id}",
    "getCovenantTest",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a test of a covenant",
    returns=Success(RecordedTestView, "The test.", headers=("ETag",)),
    problems=("not_found",),
)
async def read_covenant_test(request: StrictRequest, test_id: str) -> Response:
    """Return one test with its figures."""
    dependencies = request.dependencies
    test = await get_covenant_test(dependencies, request.principal, test_id)
    return render_state(test, (await dependencies.reads.position()).epoch)


@route(
    "GET",
    PROJECT + "/covenant-tests",
    "listCovenantTests",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="List the covenant tests of a project",
    parameters=(_OF_COVENANT, LIMIT, AFTER),
    returns=Success(PageView[RecordedTestView], "One page, by test date.", headers=("Link",)),
    problems=("not_found", "cursor_invalid"),
)
async def read_covenant_test_page(request: StrictRequest, project_id: str) -> Result:
    """List the tests of a project by their dates; a re-test follows the test that it repeats."""
    covenant_id = read_id(request, "covenant_id") if "covenant_id" in request.query else None
    binding = cursor_binding(COVENANT_TEST_KIND, project_id, covenant_id or "")
    page = await list_covenant_tests(
        request.dependencies,
        request.principal,
        project_id,
        read_limit(request.query.get("limit")),
        read_after(request.query, binding),
        covenant_id,
    )
    items = [RecordedTestView.of_test(aggregate) for aggregate in page.items]
    return page_result(request, items, page.next, binding)


def read_id(request: StrictRequest, name: str) -> str:
    """Return the id that a parameter names.

    Raises:
        InvalidInput: the parameter is absent, or no id.
    """
    text = request.query.get(name)
    if text is None:
        raise InvalidInput.at(f"/{name}", "missing", "is required")
    try:
        return parse_id(text)
    except ValueError as error:
        raise InvalidInput.at(f"/{name}", "malformed", str(error)) from error


@route(
    "GET",
    _COVENANT + "/state",
    "getCovenantState",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the state of a covenant on a day",
    description=(
        "A default lasts until it is waived, a lock-up until its release level is reached. A test "
        "date without a test changes nothing, and is named as overdue."
    ),
    parameters=(_DAY, KNOWN_AS_OF),
    returns=Success(CovenantStateView, "The state."),
    problems=("not_found",),
)
async def read_state(request: StrictRequest, covenant_id: str) -> CovenantStateView:
    """Return the state of a covenant, its newest test and its headroom."""
    state = await read_covenant_state(
        request.dependencies,
        request.principal,
        covenant_id,
        on=read_day(request),
        as_of=read_moment(request.query, "as_of"),
    )
    return CovenantStateView.of_state(covenant_id, state)


@route(
    "GET",
    _COVENANT + "/headroom",
    "getCovenantHeadroom",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the headroom of a covenant over its test dates",
    description=(
        "The ratio of a case at each test date, its distance from the levels, and the cash that "
        "may be lost until a level is just met. Nothing is recorded."
    ),
    parameters=(_CASE, CASE_VERSION),
    returns=Success(CovenantOutlookView, "The headroom."),
    problems=("not_found",),
)
async def read_headroom(request: StrictRequest, covenant_id: str) -> CovenantOutlookView:
    """Return the headroom of a covenant on a case."""
    outlook = await read_outlook(
        request.dependencies,
        request.principal,
        covenant_id,
        read_id(request, "case_id"),
        read_number(request.query, "case_version"),
    )
    return CovenantOutlookView.of_outlook(outlook)


ROUTES: Final[list[Route]] = [
    post_covenant,
    read_covenant_page,
    read_covenant,
    patch_covenant,
    post_waiver,
    post_covenant_test,
    read_covenant_test,
    read_covenant_test_page,
    read_state,
    read_headroom,
]
