"""Coverage ratios of a debt schedule: DSCR, LLCR, PLCR, average life and gearing.

All series run over payment dates 1..n at the end of their period. `period_rates` are rates of
interest for a whole period (annual rate times accrual fraction), so that a discount factor is the
product of 1/(1 + rate). A ratio whose denominator is zero does not exist and is None, never
infinity. Source of the definitions: E. R. Yescombe, Principles of Project Finance.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    ROUNDING_NOISE,
    FieldChecker,
    check_per_period,
    expand_per_period,
    reject_overflow,
)
from spawn.domain.finance.time_base.period_schedule import trailing_periods

_YEAR_MONTHS = 12
_MAX_WINDOW_MONTHS = 120


class CoverageCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A debt schedule and the cash before it, for the ratios of a term sheet.

    `cfads` runs to the end of the project; `interest` and `principal` to maturity. `period_rates`
    (one, or one per period to maturity) discount; beyond maturity the last one applies.
    `times_years` are the times of the principal payments for the WAL, by default whole periods of
    `months_per_period` (12). `look_back_months` tests the DSCR over trailing windows of so many
    months, as covenants do: a ratio exists once the window is full.
    """

    debt: float
    cfads: tuple[float, ...]
    interest: tuple[float, ...]
    principal: tuple[float, ...]
    period_rates: float | tuple[float, ...]
    times_years: tuple[float, ...] | None = None
    funded_cost: float | None = None
    months_per_period: int | None = None
    look_back_months: int | None = None


class CoverageRatios(msgspec.Struct, frozen=True, kw_only=True):
    """Ratios per payment date; `llcr` and `plcr` at each date before its payment falls due.

    `dscr[t]` is None where no debt service is due (not tested). `llcr[k]` divides the present
    value, at date k, of the cash of dates k+1..n by the balance at date k. `window_dscr` are the
    ratios of trailing windows, each at its last date.
    """

    dscr: tuple[float | None, ...]
    min_dscr: float | None
    avg_dscr: float | None
    llcr: tuple[float | None, ...]
    plcr: tuple[float | None, ...]
    min_llcr: float | None
    wal_years: float | None
    gearing: float | None
    conventions: dict[str, str]
    min_dscr_period: int | None = None
    min_llcr_period: int | None = None
    window_dscr: tuple[float | None, ...] | None = None


def compute_coverage_ratios(case: CoverageCase) -> CoverageRatios:
    """Compute DSCR, LLCR, PLCR, WAL and gearing of a schedule.

    DSCR_t = CFADS_t / (interest_t + principal_t); the minimum and the mean run over the periods
    in which debt service is due. WAL = sum t P_t / sum P_t. Gearing = debt / funded cost.

    Raises:
        InvalidInput: wrong lengths, tenor beyond the project, non-finite numbers.
    """
    periods = _check_case(case)
    rates = expand_per_period(case.period_rates, periods)
    balances = compute_opening_balances(case.debt, case.principal)
    service = [i + p for i, p in zip(case.interest, case.principal, strict=True)]
    ratios = compute_dscrs(case.cfads[:periods], service, case.debt)
    tested_ratios = [ratio for ratio in ratios if ratio is not None]
    llcr = compute_life_cover_ratios(case.cfads[:periods], rates, balances)
    plcr = compute_life_cover_ratios(case.cfads, rates, balances)
    reject_overflow("/cfads", ratios, llcr, plcr)
    months = case.months_per_period or _YEAR_MONTHS
    times = case.times_years or [t * months / _YEAR_MONTHS for t in range(1, periods + 1)]
    window_ratios = None
    if case.look_back_months is not None:
        window = _Window([float(months)] * periods, float(case.look_back_months))
        window_ratios = window.compute_dscrs(case.cfads, service, case.debt)
    return CoverageRatios(
        dscr=ratios,
        min_dscr=min(tested_ratios, default=None),
        min_dscr_period=find_lowest(ratios),
        window_dscr=window_ratios,
        avg_dscr=sum(tested_ratios) / len(tested_ratios) if tested_ratios else None,
        llcr=llcr,
        plcr=plcr,
        min_llcr=min((ratio for ratio in llcr if ratio is not None), default=None),
        min_llcr_period=find_lowest(llcr),
        wal_years=weighted_average_life(times, case.principal),
        gearing=None if not case.funded_cost else case.debt / case.funded_cost,
        conventions={
            "dscr": "CFADS / (interest + principal); no debt service = not tested",
            "llcr": "PV of CFADS to maturity at the loan rates / balance, each date",
            "plcr": "PV of CFADS to project end at the loan rates / balance, each date",
            "wal": "sum(t * principal) / sum(principal), years",
        },
    )


def _check_case(case: CoverageCase) -> int:
    checker = FieldChecker()
    periods = len(case.principal)
    checker.require_positive("/debt", case.debt)
    if checker.require_size("/principal", periods, MAX_PERIODS):
        checker.require_length("/interest", case.interest, periods)
        if checker.require_size("/cfads", len(case.cfads), MAX_PERIODS, periods):
            checker.require_each("/cfads", case.cfads, -MAX_AMOUNT, MAX_AMOUNT)
        checker.require_each("/interest", case.interest, -MAX_AMOUNT, MAX_AMOUNT)
        checker.require_each("/principal", case.principal, -MAX_AMOUNT, MAX_AMOUNT)
        check_per_period(checker, "/period_rates", case.period_rates, periods, (-0.99, MAX_RATE))
        if case.times_years is not None and checker.require_length(
            "/times_years", case.times_years, periods
        ):
            checker.require_each("/times_years", case.times_years, 0.0, MAX_PERIODS)
    if case.funded_cost is not None:
        checker.require_positive("/funded_cost", case.funded_cost)
    _check_months(checker, case)
    checker.raise_errors()
    return periods


def _check_months(checker: FieldChecker, case: CoverageCase) -> None:
    months = case.months_per_period
    if months is not None:
        checker.require_number("/months_per_period", months, 1, _YEAR_MONTHS)
        if case.times_years is not None and case.look_back_months is None:
            detail = "times_years say when principal is paid; remove one of them"
            checker.reject("/months_per_period", "ambiguous", detail)
    if case.look_back_months is not None:
        checker.require_number("/look_back_months", case.look_back_months, 1, _MAX_WINDOW_MONTHS)
        if months is None:
            checker.reject("/months_per_period", "required", "a window counts months")
        elif months > 0 and case.look_back_months % months:
            detail = "must be a whole number of periods"
            checker.reject("/look_back_months", "out_of_range", detail)


class _Window(NamedTuple):
    """A trailing window over periods of given months."""

    months_by_period: list[float]
    months: float

    def compute_dscrs(
        self, cfads: Sequence[float], service: Sequence[float], scale: float
    ) -> tuple[float | None, ...]:
        """Return sum of CFADS / sum of debt service over each full window."""
        ratios: list[float | None] = []
        for last in range(len(service)):
            count = trailing_periods(self.months_by_period, last, self.months)
            if count is None:
                ratios.append(None)
                continue
            part = slice(last + 1 - count, last + 1)
            (ratio,) = compute_dscrs([sum(cfads[part])], [sum(service[part])], scale)
            ratios.append(ratio)
        return tuple(ratios)


def compute_opening_balances(debt: float, principal: Sequence[float]) -> list[float]:
    """Return the balance before each payment."""
    return list(
        accumulate(principal[:-1], lambda balance, repayment: balance - repayment, initial=debt)
    )


def compute_dscrs(
    cfads: Sequence[float], service: Sequence[float], scale: float
) -> tuple[float | None, ...]:
    """Divide CFADS by debt service; None where service is rounding noise relative to `scale`."""
    floor = ROUNDING_NOISE * abs(scale)
    return tuple(
        cash / due if due > floor else None for cash, due in zip(cfads, service, strict=True)
    )


def compute_life_cover_ratios(
    cfads: Sequence[float], period_rates: Sequence[float], balances: Sequence[float]
) -> tuple[float | None, ...]:
    """Divide the present value of the remaining cash by each opening balance.

    One backward pass: PV_{k} = (PV_{k+1} + CFADS_{k+1}) / (1 + rate_{k+1}). Cash may run beyond
    the last rate, which then applies.
    """
    present_value = 0.0
    present_values = [0.0] * len(cfads)
    for k in range(len(cfads) - 1, -1, -1):
        rate = period_rates[min(k, len(period_rates) - 1)]
        present_value = (present_value + cfads[k]) / (1.0 + rate)
        present_values[k] = present_value
    floor = ROUNDING_NOISE * max(map(abs, balances))
    return tuple(
        present_value / balance if balance > floor else None
        for present_value, balance in zip(present_values, balances, strict=False)
    )


def find_lowest(ratios: Iterable[float | None]) -> int | None:
    """Return the number of the first period with the lowest ratio; None without any ratio."""
    ratios_by_period = [
        (ratio, number) for number, ratio in enumerate(ratios, start=1) if ratio is not None
    ]
    return min(ratios_by_period)[1] if ratios_by_period else None


def weighted_average_life(times_years: Sequence[float], principal: Sequence[float]) -> float | None:
    """Return sum of t P over sum of P, in years; None when nothing is repaid."""
    total = sum(principal)
    if total == 0.0:
        return None
    return sum(t * p for t, p in zip(times_years, principal, strict=True)) / total
