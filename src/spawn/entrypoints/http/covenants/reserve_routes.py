"""Routes of reserve accounts: open, amend, balances, and the balance beside the target."""

from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, Final, Self

import msgspec

from spawn.application.covenants.reserve_accounts import (
    ReserveOnDay,
    amend_reserve,
    open_reserve,
    read_reserve,
    record_reserve_balance,
)
from spawn.application.struct_schemas import input_schema, patch_schema
from spawn.domain.approvals.approval_policy import CommandFacts
from spawn.domain.covenants.project_reserve import (
    MAX_RESERVE_NAME,
    RESERVE_KIND,
    ReserveAccountState,
    ReserveAccountTerms,
    ReserveBalance,
)
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Scope
from spawn.domain.struct_reader import compile_reader, line_reader, prose_reader
from spawn.entrypoints.http.covenants.case_routes import (
    CHANGE_PROBLEMS,
    COMMAND_PROBLEMS,
    PROJECT,
    TAG,
    read_day,
)
from spawn.entrypoints.http.covenants.case_wire import merge_terms
from spawn.entrypoints.http.covenants.covenant_codec import (
    RESERVES,
    Command,
    read_project_page,
    run_command,
)
from spawn.entrypoints.http.covenants.covenant_routes import CASE_VERSION, OPTIONAL_CASE, read_id
from spawn.entrypoints.http.covenants.reserve_wire import ReserveAccountView
from spawn.entrypoints.http.protocol.etags import version_etag
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
    read_moment,
    read_number,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Result, Route, route
from spawn.entrypoints.http.wire import PageView, Version, WireStruct

_ACCOUNT: Final = RESERVES + "/{account_id}"
_DAY: Final = Parameter(
    "on", {"type": "string", "format": "date"}, "The day of the balance; by default today, in UTC."
)
_read_terms: Final = compile_reader(
    ReserveAccountTerms, {"name": line_reader(MAX_RESERVE_NAME)}, null_is_absent=True
)
_read_balance: Final = compile_reader(
    ReserveBalance, {"reason": prose_reader(1_000, allows_blank=False)}, null_is_absent=True
)


class ReserveOnDayView(WireStruct, frozen=True, kw_only=True):
    """A reserve account on a day; `shortfall` is null where balance or target is unknown."""

    account: ReserveAccountView
    on: date
    balance: ReserveBalance | None
    target: Decimal | None
    shortfall: Decimal | None
    case_id: str | None
    case_version: Version | None

    @classmethod
    def of_reserve(cls, reserve: ReserveOnDay) -> Self:
        """Return the wire form of a reserve account on a day."""
        members = msgspec.structs.asdict(reserve)
        account = ReserveAccountView.of_account(reserve.account)
        return cls(**{**members, "account": account})


@cache
def _get_terms_schema() -> Any:
    return input_schema(ReserveAccountTerms)


@cache
def _get_balance_schema() -> Any:
    return input_schema(ReserveBalance)


@cache
def _get_patch_schema() -> Any:
    description = "Terms to replace; null removes one."
    return patch_schema(ReserveAccountTerms, "ReserveAccountPatch", description)


@route(
    "POST",
    PROJECT + "/reserve-accounts",
    "openReserveAccount",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Open a reserve account of a project",
    description="The target is an amount, or for a DSRA the debt service of the next months.",
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(
        Computed(_get_terms_schema),
        example={"name": "DSRA", "kind": "DSRA", "currency_code": "EUR", "target_months": 6},
    ),
    returns=Success(ReserveAccountView, "Opened.", status=201, headers=("Location", "ETag")),
    problems=COMMAND_PROBLEMS,
    approval=Approvable(),
)
async def post_reserve(request: StrictRequest, project_id: str) -> Response:
    """Open a reserve account under a new id."""

    def read_command(body: bytes) -> Command:
        terms: ReserveAccountTerms = _read_terms(parse_object(body), "")
        return lambda context: open_reserve(
            request.dependencies, request.principal, project_id, terms, context
        )

    return await run_command(request, read_command, status=201, project_id=project_id)


@route(
    "GET",
    PROJECT + "/reserve-accounts",
    "listReserveAccounts",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="List the reserve accounts of a project",
    parameters=(LIMIT, AFTER),
    returns=Success(PageView[ReserveAccountView], "One page, oldest first.", headers=("Link",)),
    problems=("not_found", "cursor_invalid"),
)
async def read_reserve_page(request: StrictRequest, project_id: str) -> Result:
    """List the reserve accounts of a project."""
    return await read_project_page(request, project_id, RESERVE_KIND)


@route(
    "GET",
    _ACCOUNT,
    "getReserveAccount",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a reserve account on a day",
    description=(
        "The newest balance up to the day beside the target. A target in months is the debt "
        "service of the case after the day; without `case_id` it is null."
    ),
    parameters=(_DAY, KNOWN_AS_OF, OPTIONAL_CASE, CASE_VERSION),
    returns=Success(ReserveOnDayView, "The account.", headers=("ETag",)),
    problems=("not_found",),
)
async def read_reserve_account(request: StrictRequest, account_id: str) -> Result:
    """Return a reserve account with its balance and target on a day."""
    reserve = await read_reserve(
        request.dependencies,
        request.principal,
        account_id,
        on=read_day(request),
        as_of=read_moment(request.query, "as_of"),
        case_id=read_id(request, "case_id") if "case_id" in request.query else None,
        case_version=read_number(request.query, "case_version"),
    )
    epoch = (await request.dependencies.reads.position()).epoch
    tag = version_etag(reserve.account.version, epoch, 0)
    return Result(ReserveOnDayView.of_reserve(reserve), ((b"etag", tag.encode()),))


@route(
    "PATCH",
    _ACCOUNT,
    "amendReserveAccount",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Amend the terms of a reserve account",
    description="The body is a JSON merge patch (RFC 7396); the balances stay.",
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(
        Computed(_get_patch_schema),
        media_types=("application/merge-patch+json", JSON),
        example={"target_months": 12},
    ),
    returns=Success(ReserveAccountView, "Amended.", headers=("ETag",)),
    problems=CHANGE_PROBLEMS,
    approval=Approvable(),
)
async def patch_reserve(request: StrictRequest, account_id: str) -> Response:
    """Amend a reserve account by a JSON merge patch."""

    def read_command(body: bytes) -> Command:
        patch = parse_object(body)

        def change_terms(account: ReserveAccountState) -> ReserveAccountTerms:
            terms: ReserveAccountTerms = merge_terms(
                _read_terms, account, ReserveAccountTerms, patch
            )
            return terms

        return lambda context: amend_reserve(
            request.dependencies, request.principal, account_id, change_terms, context
        )

    return await run_command(
        request, read_command, precondition=(RESERVE_KIND, account_id), account_id=account_id
    )


@route(
    "POST",
    _ACCOUNT + "/balances",
    "recordReserveBalance",
    scopes=(Scope.FINANCE_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Record the balance of a reserve account",
    description="A fact of a day; a later one of the same day corrects it and has a `reason`.",
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(
        Computed(_get_balance_schema),
        example={"value_date": "2027-12-31", "amount": "395.00", "evidence": "bank statement"},
    ),
    returns=Success(ReserveAccountView, "Recorded.", status=201, headers=("ETag",)),
    problems=COMMAND_PROBLEMS,
    approval=Approvable(CommandFacts(amount="amount")),
)
async def post_balance(request: StrictRequest, account_id: str) -> Response:
    """Record a balance of a reserve account."""

    def read_command(body: bytes) -> Command:
        balance: ReserveBalance = _read_balance(parse_object(body), "")
        return lambda context: record_reserve_balance(
            request.dependencies, request.principal, account_id, balance, context
        )

    return await run_command(request, read_command, status=201, account_id=account_id)


ROUTES: Final[list[Route]] = [
    post_reserve,
    read_reserve_page,
    read_reserve_account,
    patch_reserve,
    post_balance,
]
