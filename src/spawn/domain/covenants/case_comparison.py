"""Cases side by side, period by period, and actuals beside a case."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from spawn.domain.covenants.cash_periods import CashPeriod, add_exactly
from spawn.domain.covenants.cfads_case import CfadsCase
from spawn.domain.covenants.exact_ratios import (
    ExactRatio,
    LoanLife,
    Quotient,
    compute_dscr,
    format_ratio,
)
from spawn.domain.errors import FieldError, InvalidInput

MAX_COMPARED_CASES: Final = 8
"""Cases of one comparison, at most."""


class CaseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one case at the end of a period, and the differences to the first case.

    All are None where the case has no such period; ratios are None where they are not tested.
    Ratios are decimals, cut after six places, and their differences those of the decimals.
    """

    cfads: Decimal | None = None
    debt_service: Decimal | None = None
    dscr: str | None = None
    llcr: str | None = None
    cfads_difference: Decimal | None = None
    dscr_difference: str | None = None
    llcr_difference: str | None = None


class ComparedPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of every case at the end of a period, in the order of the cases."""

    ends_on: date
    cases: tuple[CaseFigures, ...]


class PeriodVariance(msgspec.Struct, frozen=True, kw_only=True):
    """Actual figures of a period beside those of a case; a difference is actual less case.

    `cfads_share` is the difference as a fraction of the case's CFADS, cut; None where that is 0.
    """

    starts_on: date
    ends_on: date
    case_cfads: Decimal
    actual_cfads: Decimal | None = None
    cfads_difference: Decimal | None = None
    cfads_share: str | None = None
    case_debt_service: Decimal
    actual_debt_service: Decimal | None = None
    debt_service_difference: Decimal | None = None
    case_dscr: str | None = None
    actual_dscr: str | None = None


class _Ratios(msgspec.Struct, frozen=True):
    period: CashPeriod
    dscr: str | None
    llcr: str | None


def compare_cases(cases: Sequence[CfadsCase]) -> tuple[ComparedPeriod, ...]:
    """Return the figures of each period end of any case, oldest first.

    Raises:
        InvalidInput: fewer than two cases, too many, or cases in several currencies.
    """
    if not 1 < len(cases) <= MAX_COMPARED_CASES:
        detail = f"must be 2 to {MAX_COMPARED_CASES} cases"
        raise InvalidInput.at("/cases", "wrong_length", detail)
    currency = cases[0].currency_code
    errors = [
        FieldError(
            f"/cases/{index}/case_id",
            "currency_mismatch",
            f"is in {case.currency_code}, and the first case in {currency}",
        )
        for index, case in enumerate(cases)
        if case.currency_code != currency
    ]
    if errors:
        raise InvalidInput(errors)
    tables = [_list_ratios(case) for case in cases]
    days = sorted({day for table in tables for day in table})
    return tuple(
        ComparedPeriod(
            ends_on=day,
            cases=tuple(_describe_figures(table.get(day), tables[0].get(day)) for table in tables),
        )
        for day in days
    )


def _list_ratios(case: CfadsCase) -> dict[date, _Ratios]:
    """Return period, DSCR and LLCR of a case by the end of the period."""
    life = None if case.opening_debt is None else LoanLife(case.periods, case.opening_debt)
    ratios = {}
    for period in case.periods:
        llcr = None if life is None else _print(life.compute_llcr(period.ends_on).value)
        ratios[period.ends_on] = _Ratios(period, _print(_dscr_of(period).value), llcr)
    return ratios


def _describe_figures(ratios: _Ratios | None, first: _Ratios | None) -> CaseFigures:
    if ratios is None:
        return CaseFigures()
    figures = CaseFigures(
        cfads=ratios.period.cfads,
        debt_service=ratios.period.debt_service,
        dscr=ratios.dscr,
        llcr=ratios.llcr,
    )
    if first is None:
        return figures
    return msgspec.structs.replace(
        figures,
        cfads_difference=add_exactly((ratios.period.cfads, -first.period.cfads)),
        dscr_difference=_subtract(ratios.dscr, first.dscr),
        llcr_difference=_subtract(ratios.llcr, first.llcr),
    )


def _subtract(value: str | None, other: str | None) -> str | None:
    """Return the difference of two printed ratios, which is what a reader of both expects."""
    if value is None or other is None:
        return None
    return f"{add_exactly((Decimal(value), -Decimal(other))):f}"


def _print(value: Quotient | None) -> str | None:
    return None if value is None else format_ratio(value)


def measure_variance(case: CfadsCase, actuals: Sequence[CashPeriod]) -> tuple[PeriodVariance, ...]:
    """Return actual figures less those of the case for each period of the case.

    A period without a fact of exactly its days has none; facts of other days match no period.
    """
    known = {(period.starts_on, period.ends_on): period for period in actuals}
    return tuple(
        _measure_period(period, known.get((period.starts_on, period.ends_on)))
        for period in case.periods
    )


def _measure_period(period: CashPeriod, actual: CashPeriod | None) -> PeriodVariance:
    variance = PeriodVariance(
        starts_on=period.starts_on,
        ends_on=period.ends_on,
        case_cfads=period.cfads,
        case_debt_service=period.debt_service,
        case_dscr=_print(_dscr_of(period).value),
    )
    if actual is None:
        return variance
    difference = add_exactly((actual.cfads, -period.cfads))
    share = None
    if period.cfads:
        sign = -1 if period.cfads < 0 else 1
        share = Quotient.of(sign * difference) / Quotient.of(abs(period.cfads))
    return msgspec.structs.replace(
        variance,
        actual_cfads=actual.cfads,
        cfads_difference=difference,
        cfads_share=_print(share),
        actual_debt_service=actual.debt_service,
        debt_service_difference=add_exactly((actual.debt_service, -period.debt_service)),
        actual_dscr=_print(_dscr_of(actual).value),
    )


def _dscr_of(period: CashPeriod) -> ExactRatio:
    return compute_dscr((period,), period.ends_on, months=None)
