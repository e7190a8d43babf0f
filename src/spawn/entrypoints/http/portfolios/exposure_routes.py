"""HTTP routes of the exposure and the concentration of a portfolio."""

from collections.abc import Mapping
from typing import Final

from spawn.application.portfolios.exposure_reports import (
    ReportQuery,
    report_concentration,
    report_exposure,
)
from spawn.domain.dates import parse_date
from spawn.domain.errors import InvalidInput
from spawn.domain.money import get_currency
from spawn.domain.portfolios.exposure import MAX_KEYS
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.entrypoints.http.portfolios.exposure_wire import (
    PortfolioConcentrationView,
    PortfolioExposureView,
)
from spawn.entrypoints.http.portfolios.fx_routes import DAY, READERS, TAG
from spawn.entrypoints.http.portfolios.fx_wire import CURRENCY_CODE
from spawn.entrypoints.http.portfolios.routes import PORTFOLIO
from spawn.entrypoints.http.protocol.operation import Cache, Parameter, Success
from spawn.entrypoints.http.protocol.query_params import KNOWN_AS_OF, read_moment
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Route, route

MAX_TOP: Final = 100
"""Largest groups of a key that a response lists."""

_DEFAULT_TOP: Final = 10
_KEY: Final = "|".join(ExposureKey)
REPORT_PARAMETERS: Final = (
    Parameter(
        "on",
        DAY,
        "The day of the amounts (value date); default: today in UTC.",
        examples={"quarter": {"value": "2026-09-30"}},
    ),
    KNOWN_AS_OF,
    Parameter(
        "currency",
        CURRENCY_CODE,
        "Currency of the report; default: that of the portfolio.",
        examples={"dollar": {"value": "USD"}},
    ),
)
"""Parameters of every report of a portfolio."""


def _by(default: str, description: str) -> Parameter:
    return Parameter(
        "by",
        {
            "type": "string",
            "pattern": f"^({_KEY})(,({_KEY}))*$",
            "default": default,
        },
        description,
        examples={"two": {"value": "country,sector"}},
    )


@route(
    "GET",
    PORTFOLIO + "/exposure",
    "getPortfolioExposure",
    scopes=READERS,
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the exposure of a portfolio",
    description=(
        "What the portfolio holds of every exposure on a day, outstanding and undrawn, grouped by "
        f"up to {MAX_KEYS} keys: the groups of each level add up exactly to those above them and "
        "to the total. The result rests on what was recorded at `as_of`, and is the same at any "
        "later time. Limits are reported with every breach."
    ),
    parameters=(
        _by("country", "Keys of the drill-down, from the first level on, separated by commas."),
        *REPORT_PARAMETERS,
    ),
    returns=Success(PortfolioExposureView, "The exposure."),
    problems=("not_found",),
    cache=Cache.NO_STORE,
)
async def read_exposure(request: StrictRequest, portfolio_id: str) -> PortfolioExposureView:
    """Return the exposure of a portfolio by keys."""
    keys = _read_keys(request.query, "country")
    report = await report_exposure(
        request.dependencies,
        request.principal,
        portfolio_id,
        keys,
        read_report_query(request.query),
    )
    return PortfolioExposureView.of_report(report, keys)


@route(
    "GET",
    PORTFOLIO + "/concentration",
    "getPortfolioConcentration",
    scopes=READERS,
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the concentration of a portfolio",
    description=(
        "For each key the Herfindahl-Hirschman index of the exposure, from 0 to 10000, and the "
        "largest groups."
    ),
    parameters=(
        _by("name", "Keys, each of which is measured on its own, separated by commas."),
        Parameter(
            "top",
            {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": _DEFAULT_TOP},
            "Largest groups to list for each key.",
        ),
        *REPORT_PARAMETERS,
    ),
    returns=Success(PortfolioConcentrationView, "The concentration."),
    problems=("not_found",),
    cache=Cache.NO_STORE,
)
async def read_concentration(
    request: StrictRequest, portfolio_id: str
) -> PortfolioConcentrationView:
    """Return the concentration of a portfolio by each of the keys."""
    report = await report_concentration(
        request.dependencies,
        request.principal,
        portfolio_id,
        _read_keys(request.query, "name"),
        _read_top(request.query.get("top")),
        read_report_query(request.query),
    )
    return PortfolioConcentrationView.of_report(report)


def read_report_query(parameters: Mapping[str, str]) -> ReportQuery:
    """Return the day, the instant and the currency of a report.

    Raises:
        InvalidInput: one of them is malformed.
    """
    on = parse_date(parameters["on"], pointer="/on") if "on" in parameters else None
    code = parameters.get("currency")
    if code is not None:
        code = get_currency(code, pointer="/currency").code
    return ReportQuery(on=on, as_of=read_moment(parameters, "as_of"), currency_code=code)


def _read_keys(parameters: Mapping[str, str], default: str) -> tuple[ExposureKey, ...]:
    names = parameters.get("by", default).split(",")
    try:
        keys = tuple(map(ExposureKey, names))
    except ValueError:
        detail = f"Each key must be one of: {', '.join(ExposureKey)}."
        raise InvalidInput.at("/by", "not_in_enum", detail) from None
    if len(set(keys)) < len(keys):
        raise InvalidInput.at("/by", "duplicate", "A key occurs twice.")
    return keys


def _read_top(text: str | None) -> int:
    if text is None:
        return _DEFAULT_TOP
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_TOP:
        raise InvalidInput.at("/top", "out_of_range", f"must be a number from 1 to {MAX_TOP}")
    return int(text)


ROUTES: Final[list[Route]] = [read_exposure, read_concentration]
"""Routes of the exposure of a portfolio."""
