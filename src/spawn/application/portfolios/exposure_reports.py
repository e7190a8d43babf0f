"""Exposure and concentration of a portfolio on a day, as recorded at an instant.

A report rests on states as of one instant that no later change can alter: the same day and instant
give the same report at any time. Without an instant it is that of the newest change.
"""

from collections.abc import Sequence
from datetime import date, datetime
from fractions import Fraction

import msgspec

from spawn.application.dependencies import Dependencies, require, require_past
from spawn.application.portfolios.books.past_states import read_past
from spawn.application.portfolios.books.portfolio_books import load_book
from spawn.application.portfolios.fx_rate_sets import FxUse, find_rates
from spawn.application.portfolios.portfolio_queries import PORTFOLIO_READERS
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.money import get_exponent
from spawn.domain.portfolios.exposure import (
    MAX_KEYS,
    ExposureAmounts,
    ExposureGroup,
    HeldExposure,
    KeyConcentration,
    LimitStatus,
    PortfolioExposure,
)
from spawn.domain.portfolios.held_facility import PortfolioBook
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND, ExposureKey, Portfolio
from spawn.domain.principal import Principal

_NOTHING_RECORDED = "There is no portfolio of this id."


class ReportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The day and the instant of a report, and its currency; None is the portfolio's."""

    on: date | None = None
    as_of: datetime | None = None
    currency_code: str | None = None


class PortfolioSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio with what it held on a day, as recorded at an instant."""

    portfolio: StoredAggregate[Portfolio]
    on: date
    as_of: datetime
    book: PortfolioBook


class ExposureReport(msgspec.Struct, frozen=True, kw_only=True):
    """The exposure of a portfolio in one currency, and its limits in the portfolio's own."""

    snapshot: PortfolioSnapshot
    currency_code: str
    fx: FxUse | None
    exposure: PortfolioExposure
    groups: Sequence[ExposureGroup] = ()
    limits: Sequence[LimitStatus] = ()
    limits_total: ExposureAmounts = ExposureAmounts()
    concentration: Sequence[KeyConcentration] = ()


async def view_portfolio(
    dependencies: Dependencies, principal: Principal, portfolio_id: str, query: ReportQuery
) -> PortfolioSnapshot:
    """Load a portfolio with what it held on a day, as recorded at an instant.

    Raises:
        NotFound: no such portfolio, or none yet at that instant.
        InvalidInput: the instant is not in the past.
    """
    require(principal, *PORTFOLIO_READERS)
    now = dependencies.clock.now()
    # The position comes first: every change up to it was recorded by the newest instant.
    position = await dependencies.reads.position()
    latest = await dependencies.reads.latest_recorded_at()
    if latest is None:
        raise NotFound(_NOTHING_RECORDED)
    await require_past(dependencies, query.as_of)
    # Later changes are recorded after the newest one, so that states as of it are final.
    as_of = latest if query.as_of is None else min(query.as_of, latest)
    on = now.date() if query.on is None else query.on
    portfolios = await read_past(dependencies, PORTFOLIO_KIND, [portfolio_id], as_of)
    if portfolio_id not in portfolios:
        raise NotFound(_NOTHING_RECORDED)
    newest = position if as_of == latest else None
    book = await load_book(dependencies, portfolio_id, on, as_of, newest)
    portfolio = portfolios[portfolio_id]
    return PortfolioSnapshot(portfolio=portfolio, on=on, as_of=as_of, book=book)


async def report_exposure(
    dependencies: Dependencies,
    principal: Principal,
    portfolio_id: str,
    keys: Sequence[ExposureKey],
    query: ReportQuery,
) -> ExposureReport:
    """Return the exposure of a portfolio by keys, with its limits.

    Raises:
        NotFound: no such portfolio, or none yet at that instant.
        InvalidInput: too many keys or groups, an instant that is not in the past, or a missing
            exchange rate.
    """
    if len(keys) > MAX_KEYS:
        raise InvalidInput.at("/by", "too_many", f"at most {MAX_KEYS} keys")
    report = await _measure(dependencies, principal, portfolio_id, query)
    exposure, portfolio = report.exposure, report.snapshot.portfolio.state
    own = exposure
    if portfolio.limits and report.currency_code != portfolio.currency_code:
        own, _ = await _convert(
            dependencies, report.snapshot, exposure.positions, portfolio.currency_code
        )
    return msgspec.structs.replace(
        report,
        groups=exposure.drill_down(keys),
        limits=own.check_limits(portfolio.limits),
        limits_total=own.total,
    )


async def report_concentration(
    dependencies: Dependencies,
    principal: Principal,
    portfolio_id: str,
    keys: Sequence[ExposureKey],
    top: int,
    query: ReportQuery,
) -> ExposureReport:
    """Return the concentration of a portfolio by each of the keys.

    Raises:
        NotFound, InvalidInput: as `report_exposure`.
    """
    report = await _measure(dependencies, principal, portfolio_id, query)
    concentration = [report.exposure.measure_concentration(key, top) for key in keys]
    return msgspec.structs.replace(report, concentration=concentration)


async def _measure(
    dependencies: Dependencies, principal: Principal, portfolio_id: str, query: ReportQuery
) -> ExposureReport:
    view = await view_portfolio(dependencies, principal, portfolio_id, query)
    currency_code = query.currency_code or view.portfolio.state.currency_code
    get_exponent(currency_code, pointer="/currency")
    exposure, fx = await _convert(dependencies, view, view.book.exposures, currency_code)
    return ExposureReport(snapshot=view, currency_code=currency_code, fx=fx, exposure=exposure)


async def _convert(
    dependencies: Dependencies,
    view: PortfolioSnapshot,
    parts: Sequence[HeldExposure],
    currency_code: str,
) -> tuple[PortfolioExposure, FxUse | None]:
    """Return the exposure in a currency, and the set of rates if it needs one."""
    codes = {part.currency_code for part in parts}
    fx = await find_portfolio_rates(dependencies, view, codes - {currency_code})

    def rate_of(code: str) -> Fraction:
        if fx is None:
            return Fraction(1)
        return fx.rate_set.state.cross_rate(code, currency_code, pointer="/currency")

    return PortfolioExposure(parts, currency_code, rate_of), fx


async def find_portfolio_rates(
    dependencies: Dependencies, view: PortfolioSnapshot, foreign_codes: set[str]
) -> FxUse | None:
    """Return the rates of a portfolio on the day of a view; None if it needs none.

    Raises:
        InvalidInput: `missing_rates`, the portfolio names no source, or that has none.
    """
    if not foreign_codes:
        return None
    portfolio = view.portfolio.state
    if portfolio.fx_source is None:
        codes = ", ".join(sorted(foreign_codes))
        detail = f"the portfolio holds {codes} and names no source of exchange rates (fx_source)"
        raise InvalidInput.at("/currency", "missing_rates", detail)
    return await find_rates(
        dependencies,
        source=portfolio.fx_source,
        on=view.on,
        max_age_days=portfolio.max_fx_age_days,
        as_of=view.as_of,
    )
