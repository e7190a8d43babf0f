"""Routes of CFADS cases and actuals."""

from datetime import date
from functools import cache
from typing import Any, Final

from spawn.application.covenants.case_commands import (
    change_case,
    create_case,
    record_actual_periods,
)
from spawn.application.covenants.case_queries import (
    compare_stored_cases,
    get_case,
    read_known_actuals,
    read_variance,
)
from spawn.application.projects.commands import CommandContext
from spawn.application.struct_schemas import input_schema, patch_schema
from spawn.domain.approvals.approval_policy import CommandFacts
from spawn.domain.covenants.cfads_case import CASE_KIND, CaseTerms
from spawn.domain.dates import parse_date
from spawn.domain.errors import InvalidInput
from spawn.domain.principal import Scope
from spawn.entrypoints.http.covenants.case_wire import (
    REASON_SCHEMA,
    ActualsRequestView,
    ActualsView,
    CaseComparisonRequestView,
    CaseComparisonView,
    CaseVarianceView,
    CaseView,
    RecordedActualsView,
    read_actual_facts,
    read_case_patch,
    read_case_terms,
    read_comparison,
)
from spawn.entrypoints.http.covenants.covenant_codec import (
    CASES,
    Command,
    read_project_page,
    render_state,
    run_command,
)
from spawn.entrypoints.http.protocol.operation import (
    BODY_PROBLEMS,
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
    read_moment,
    read_number,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Result, Route, route
from spawn.entrypoints.http.wire import PageView

TAG: Final = "covenants"
PROJECT: Final = "/v1/ops/projects/{project_id}"
COMMAND_PROBLEMS: Final = (
    *BODY_PROBLEMS,
    *("not_found", "overloaded", "storage_full", "idempotency_key_reused", "conflict"),
)
CHANGE_PROBLEMS: Final = (*COMMAND_PROBLEMS, "stale_version", "precondition_required")
ON: Final = Parameter(
    "on", {"type": "string", "format": "date"}, "Value date: figures of periods ended by this day."
)
VERSION: Final = Parameter(
    "version",
    {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "A recorded version instead of the current one.",
)
_CASE: Final = CASES + "/{case_id}"
_EXAMPLE: Final = {
    "name": "Bank base case",
    "kind": "BASE",
    "currency_code": "EUR",
    "opening_debt": "3201.00",
    "equity": "900.00",
    "periods": [
        {
            "starts_on": "2027-01-01",
            "ends_on": "2027-06-30",
            "cfads": "300.00",
            "interest": "120.00",
            "principal": "280.00",
            "lines": {"revenue": "410.00", "operating costs": "-110.00"},
        },
        {
            "starts_on": "2027-07-01",
            "ends_on": "2027-12-31",
            "cfads": "700.00",
            "interest": "112.00",
            "principal": "288.00",
        },
    ],
}


def read_day(request: StrictRequest, name: str = "on") -> date | None:
    """Return the day that a parameter names; None when absent.

    Raises:
        InvalidInput: it is not a date.
    """
    text = request.query.get(name)
    return None if text is None else parse_date(text, pointer=f"/{name}")


@cache
def _get_terms_schema() -> Any:
    return input_schema(CaseTerms)


@cache
def _get_patch_schema() -> Any:
    description = "Figures to replace; null removes one. A change of a used case has a `reason`."
    return patch_schema(CaseTerms, "CasePatch", description, reason=REASON_SCHEMA)


@route(
    "POST",
    PROJECT + "/cases",
    "createCase",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Create a CFADS case of a project",
    description=(
        "Periods follow one another without a gap. Interest and principal are optional; `lines` "
        "add up to `cfads`. The case is a draft until a covenant test uses it."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(Computed(_get_terms_schema), example=_EXAMPLE),
    returns=Success(CaseView, "Created.", status=201, headers=("Location", "ETag")),
    problems=COMMAND_PROBLEMS,
    approval=Approvable(CommandFacts(kind="kind")),
)
async def post_case(request: StrictRequest, project_id: str) -> Response:
    """Create a case under a new id."""

    def read_command(body: bytes) -> Command:
        terms = read_case_terms(body)
        return lambda context: create_case(
            request.dependencies, request.principal, project_id, terms, context
        )

    return await run_command(request, read_command, status=201, project_id=project_id)


@route(
    "GET",
    PROJECT + "/cases",
    "listCases",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="List the CFADS cases of a project",
    parameters=(LIMIT, AFTER),
    returns=Success(PageView[CaseView], "One page, oldest first.", headers=("Link",)),
    problems=("not_found", "cursor_invalid"),
)
async def read_case_page(request: StrictRequest, project_id: str) -> Result:
    """List the cases of a project."""
    return await read_project_page(request, project_id, CASE_KIND)


@route(
    "GET",
    _CASE,
    "getCase",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a CFADS case",
    description="The case now, at a version, or as recorded at an instant (`as_of`).",
    parameters=(VERSION, KNOWN_AS_OF),
    returns=Success(CaseView, "The case.", headers=("ETag",)),
    problems=("not_found",),
)
async def read_case(request: StrictRequest, case_id: str) -> Response:
    """Return one case."""
    version, as_of = read_number(request.query, "version"), read_moment(request.query, "as_of")
    if version is not None and as_of is not None:
        raise InvalidInput.at("/as_of", "contradiction", "a version has one time: omit as_of")
    dependencies = request.dependencies
    case = await get_case(dependencies, request.principal, case_id, version=version, as_of=as_of)
    return render_state(case, (await dependencies.reads.position()).epoch)


@route(
    "PATCH",
    _CASE,
    "reviseCase",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Revise a CFADS case",
    description=(
        "The body is a JSON merge patch (RFC 7396). A draft changes in place. A used case becomes "
        "the draft of its next revision and needs a `reason`; tests keep the version they used. "
        "A patch without changes writes nothing."
    ),
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(
        Computed(_get_patch_schema),
        media_types=("application/merge-patch+json", JSON),
        example={"name": "Bank base case, refinanced", "reason": "margin step-down agreed"},
    ),
    returns=Success(CaseView, "Revised.", headers=("ETag",)),
    problems=CHANGE_PROBLEMS,
    approval=Approvable(),
)
async def patch_case(request: StrictRequest, case_id: str) -> Response:
    """Revise a case by a JSON merge patch."""

    def read_command(body: bytes) -> Command:
        change_terms, reason = read_case_patch(body)
        return lambda context: change_case(
            request.dependencies, request.principal, case_id, change_terms, reason, context
        )

    precondition = (CASE_KIND, case_id)
    return await run_command(request, read_command, precondition=precondition, case_id=case_id)


@route(
    "POST",
    CASES + "/compare",
    "compareCases",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Compare CFADS cases",
    description=(
        "CFADS, debt service, DSCR and LLCR of each case side by side for each period end, and the "
        "differences to the first case. The cases have one currency."
    ),
    body=Body(
        CaseComparisonRequestView,
        example={
            "cases": [
                {"case_id": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"},
                {"case_id": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5c", "version": 2},
            ]
        },
    ),
    returns=Success(CaseComparisonView, "The comparison."),
    problems=BODY_PROBLEMS,
)
async def post_comparison(request: StrictRequest) -> CaseComparisonView:
    """Compare stored cases."""
    view = read_comparison(await request.read_body())
    cases, periods = await compare_stored_cases(request.dependencies, request.principal, view.cases)
    return CaseComparisonView.of_comparison(cases, periods)


@route(
    "GET",
    _CASE + "/variance",
    "getCaseVariance",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the variance of the actuals from a case",
    description="Actual less case for each period of the case, where a fact has its very days.",
    parameters=(VERSION, ON, KNOWN_AS_OF),
    returns=Success(CaseVarianceView, "The variance."),
    problems=("not_found",),
)
async def read_case_variance(request: StrictRequest, case_id: str) -> CaseVarianceView:
    """Return the actuals beside a case."""
    variance = await read_variance(
        request.dependencies,
        request.principal,
        case_id,
        version=read_number(request.query, "version"),
        on=read_day(request),
        as_of=read_moment(request.query, "as_of"),
    )
    return CaseVarianceView.of_variance(variance)


@route(
    "POST",
    PROJECT + "/actuals",
    "recordActuals",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Record actual CFADS of a project",
    description=(
        "All facts of the body are recorded, or none. A fact of the days of an earlier one "
        "corrects it and has a `reason`; the earlier one stays readable by `as_of`."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(
        ActualsRequestView,
        example={
            "currency_code": "EUR",
            "periods": [
                {
                    "starts_on": "2027-01-01",
                    "ends_on": "2027-06-30",
                    "cfads": "310.00",
                    "interest": "120.00",
                    "principal": "280.00",
                    "evidence": "management accounts, June 2027",
                }
            ],
        },
    ),
    returns=Success(RecordedActualsView, "Recorded.", status=201, headers=("ETag",)),
    problems=COMMAND_PROBLEMS,
    approval=Approvable(),
)
async def post_actuals(request: StrictRequest, project_id: str) -> Response:
    """Record actual periods of a project."""

    def read_command(body: bytes) -> Command:
        currency_code, facts = read_actual_facts(body)

        async def run(context: CommandContext) -> Any:
            return await record_actual_periods(
                request.dependencies, request.principal, project_id, currency_code, facts, context
            )

        return run

    return await run_command(request, read_command, status=201, project_id=project_id)


@route(
    "GET",
    PROJECT + "/actuals",
    "getActuals",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the actual CFADS of a project",
    description="The newest fact of each period, with the time at which it was recorded.",
    parameters=(ON, KNOWN_AS_OF),
    returns=Success(ActualsView, "The actuals."),
    problems=("not_found",),
)
async def read_actuals(request: StrictRequest, project_id: str) -> ActualsView:
    """Return the actuals of a project as they were known."""
    actuals = await read_known_actuals(
        request.dependencies,
        request.principal,
        project_id,
        on=read_day(request),
        as_of=read_moment(request.query, "as_of"),
    )
    return ActualsView.of_known(actuals)


ROUTES: Final[list[Route]] = [
    post_case,
    read_case_page,
    read_case,
    patch_case,
    post_comparison,
    read_case_variance,
    post_actuals,
    read_actuals,
]
