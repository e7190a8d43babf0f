"""HTTP routes of exchange rates."""

from typing import Final

from spawn.application.portfolios.fx_rate_sets import (
    convert_amount,
    get_rate_set,
    list_rate_sets,
    publish_rate_set,
)
from spawn.domain.dates import parse_date
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.money import Money, parse_amount
from spawn.domain.portfolios.fx_rate_set import FX_RATE_SET_KIND, MAX_AGE_DAYS, check_source
from spawn.domain.principal import Scope
from spawn.domain.query import Filter, Operator, Query
from spawn.entrypoints.http.portfolios.fx_wire import (
    CURRENCY_CODE,
    FxConversionView,
    FxRateSetRequestView,
    FxRateSetView,
    read_rate_set_request,
)
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.operation import (
    BODY_PROBLEMS,
    Approvable,
    Body,
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
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.wire import PageView

FX_RATE_SETS: Final = "/v1/ops/fx-rate-sets"
TAG: Final = "portfolios"
READERS: Final = (Scope.FINANCE_READ, Scope.FINANCE_WRITE)
WRITE_PROBLEMS: Final = ("conflict", "overloaded", "storage_full")
DAY: Final = {"type": "string", "format": "date"}
_SOURCE: Final = Parameter(
    "source",
    {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,39}$"},
    "Sets of this source.",
    examples={"central bank": {"value": "ecb"}},
)
_MAX_CONVERTED_AGE: Final = 366


@route(
    "POST",
    FX_RATE_SETS,
    "publishFxRateSet",
    tag=TAG,
    scopes=(Scope.FINANCE_WRITE,),
    summary="Publish or correct a set of exchange rates",
    description=(
        "A set has the rates of one source on one day and never changes. Sending equal rates again "
        "changes nothing; other rates need a `correction`, which names the newest revision and a "
        "reason, and every revision remains readable."
    ),
    body=Body(
        FxRateSetRequestView,
        example={
            "on": "2026-11-27",
            "source": "ecb",
            "base_currency": "EUR",
            "rates": {"USD": "1.0573", "GBP": "0.8312", "JPY": "160.94"},
        },
    ),
    returns=Success(FxRateSetView, "Published.", status=201, headers=("Location",)),
    also=(Success(FxRateSetView, "The source has these rates of the day already."),),
    problems=(*BODY_PROBLEMS, *WRITE_PROBLEMS, "duplicate", "stale_version"),
    approval=Approvable(),
)
async def post_rate_set(request: StrictRequest) -> Result:
    """Publish a set of rates, or a correction of one."""
    rate_input = read_rate_set_request(await request.read_json_object())
    result = await publish_rate_set(request.dependencies, request.principal, rate_input)
    view = FxRateSetView.of_aggregate(result.aggregate)
    if not result.is_new:
        return Result(view, status=200)
    return Result(view, ((b"location", f"{FX_RATE_SETS}/{result.aggregate.id}".encode()),))


@route(
    "GET",
    FX_RATE_SETS,
    "listFxRateSets",
    tag=TAG,
    scopes=READERS,
    serves_row_scopes=True,
    summary="List sets of exchange rates",
    parameters=(
        _SOURCE,
        Parameter("on", DAY, "Sets of this day.", examples={"day": {"value": "2026-11-27"}}),
        KNOWN_AS_OF,
        LIMIT,
        AFTER,
    ),
    returns=Success(
        PageView[FxRateSetView],
        "One page, in order of first publication; of each set the newest revision.",
        headers=("Link",),
    ),
    problems=("cursor_invalid",),
)
async def get_rate_set_page(request: StrictRequest) -> Result:
    """List sets of rates."""
    parameters = request.query
    filters = []
    if "source" in parameters:
        filters.append(Filter("source", Operator.EQ, (parameters["source"],)))
    if "on" in parameters:
        day = parse_date(parameters["on"], pointer="/on")
        filters.append(Filter("on", Operator.EQ, (day,)))
    selection = sorted(f"{n}={v}" for n, v in parameters.items() if n not in {"limit", "after"})
    binding = cursor_binding(FX_RATE_SETS, *selection)
    query = Query(
        kind=FX_RATE_SET_KIND,
        filters=tuple(filters),
        limit=read_limit(parameters.get("limit")),
        as_of=read_moment(parameters, "as_of"),
        after=read_after(parameters, binding),
    )
    page = await list_rate_sets(request.dependencies, request.principal, query)
    return page_result(request, map(FxRateSetView.of_aggregate, page.items), page.next, binding)


@route(
    "GET",
    FX_RATE_SETS + "/{name}",
    "getFxRateSet",
    tag=TAG,
    scopes=READERS,
    serves_row_scopes=True,
    summary="Get a set of exchange rates",
    description="The newest revision, or that of a number, or the one recorded at an instant.",
    parameters=(
        Parameter("revision", {"type": "integer", "minimum": 1}, "An earlier revision of the set."),
        KNOWN_AS_OF,
    ),
    returns=Success(FxRateSetView, "The set."),
    problems=("not_found",),
)
async def read_rate_set(request: StrictRequest, name: str) -> FxRateSetView:
    """Return a set of rates by its id, such as `2026-11-27.ecb`."""
    aggregate = await get_rate_set(
        request.dependencies,
        request.principal,
        name,
        revision=read_number(request.query, "revision"),
        as_of=read_moment(request.query, "as_of"),
    )
    return FxRateSetView.of_aggregate(aggregate)


@route(
    "GET",
    "/v1/ops/fx-conversion",
    "convertAmount",
    tag=TAG,
    scopes=READERS,
    serves_row_scopes=True,
    summary="Convert an amount to another currency",
    description=(
        "By the newest set of the source on or before the day `on`, unless it is older than "
        "`max_age_days`: then, and for a pair without a rate, there is no result."
    ),
    parameters=(
        Parameter("amount", str, "The amount.", is_required=True, examples={"a": {"value": "100"}}),
        Parameter(
            "from",
            CURRENCY_CODE,
            "Its currency.",
            is_required=True,
            examples={"dollar": {"value": "USD"}},
        ),
        Parameter(
            "to",
            CURRENCY_CODE,
            "The other currency.",
            is_required=True,
            examples={"euro": {"value": "EUR"}},
        ),
        Parameter(
            "source",
            {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,39}$"},
            "The source of the rates.",
            is_required=True,
            examples={"central bank": {"value": "ecb"}},
        ),
        Parameter(
            "on", DAY, "The day.", is_required=True, examples={"day": {"value": "2026-11-30"}}
        ),
        Parameter(
            "max_age_days",
            {
                "type": "integer",
                "minimum": 0,
                "maximum": _MAX_CONVERTED_AGE,
                "default": MAX_AGE_DAYS,
            },
            "Days that the set may be older than the day `on`.",
        ),
        KNOWN_AS_OF,
    ),
    returns=Success(FxConversionView, "The amount in the other currency."),
)
async def read_conversion(request: StrictRequest) -> FxConversionView:
    """Convert an amount by the rates of a source on a day."""
    parameters = request.query
    _require_parameters(request)
    errors: list[FieldError] = []
    check_source(parameters["source"], "/source", errors)
    if errors:
        raise InvalidInput(errors)
    source_code, target_code = parameters["from"], parameters["to"]
    amount = parse_amount(parameters["amount"], source_code, pointer="/amount")
    on = parse_date(parameters["on"], pointer="/on")
    conversion = await convert_amount(
        request.dependencies,
        request.principal,
        Money(amount, source_code),
        target_code,
        source=parameters["source"],
        on=on,
        max_age_days=_read_max_age(parameters.get("max_age_days")),
        as_of=read_moment(parameters, "as_of"),
    )
    return FxConversionView.of_conversion(conversion, on)


def _require_parameters(request: StrictRequest) -> None:
    names = [p.name for p in request.operation.parameters if p.is_required]
    errors = [
        FieldError(f"/{n}", "missing", "is required") for n in names if n not in request.query
    ]
    if errors:
        raise InvalidInput(errors)


def _read_max_age(text: str | None) -> int:
    if text is None:
        return MAX_AGE_DAYS
    if not text.isascii() or not text.isdecimal() or int(text[:9]) > _MAX_CONVERTED_AGE:
        detail = f"must be a number of days from 0 to {_MAX_CONVERTED_AGE}"
        raise InvalidInput.at("/max_age_days", "out_of_range", detail)
    return int(text)


ROUTES: Final[list[Route]] = [post_rate_set, get_rate_set_page, read_rate_set, read_conversion]
"""Routes of exchange rates."""
