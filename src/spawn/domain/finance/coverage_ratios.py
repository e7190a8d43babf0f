"""Coverage ratios of a debt schedule: DSCR, LLCR, PLCR, average life and gearing.

All series run over payment dates 1..n at the end of their period. `period_rates` are rates of
interest for a whole period (annual rate times accrual fraction), so that a discount factor is the
product of 1/(1 + rate). A ratio whose denominator is zero does not exist and is None, never
infinity. Source of the definitions: E. R. Yescombe, Principles of Project Finance.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

import msgspec

from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MIN_POSITIVE,
    ROUNDING_NOISE,
    FieldChecker,
    check_per_period,
    expand_per_period,
    reject_overflow,
)
from spawn.domain.finance.period_lists import list_periods
from spawn.domain.finance.time_base.period_schedule import trailing_periods

_YEAR_MONTHS = 12
_MAX_WINDOW_MONTHS = 120
_ROUNDED_SHARE = 1e-2
_PRINCIPAL_NOISE = 1e-3
_LEVEL_NOISE = 1e-9


class CoverageCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A debt schedule and the cash before it, for the ratios of a term sheet.

    `cfads` runs to the end of the project; `interest` and `principal` to maturity. `period_rates`
    (one, or one per period to maturity) discount; beyond maturity the last one applies.
    `times_years` are the times of the principal payments for the WAL, by default whole periods of
    `months_per_period` (12). `look_back_months` tests the DSCR over trailing windows of so many
    months, the date's own payment included, `look_ahead_months` over the months after the date, as
    covenants do; with both, the lower ratio counts. A ratio exists where a window is full.
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
    look_ahead_months: int | None = None


class CoverageRatios(msgspec.Struct, frozen=True, kw_only=True):
    """Ratios per payment date; `llcr` and `plcr` at each date before its payment falls due.

    `dscr[t]` is None where no debt service is due (not tested). `llcr[k]` divides the present
    value, at date k, of the cash of dates k+1..n by the balance at date k. `window_dscr` are the
    ratios of the windows that the case looks back or ahead over, each at its date.
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
    warnings: tuple[str, ...] = ()


def compute_coverage_ratios(case: CoverageCase) -> CoverageRatios:
    """Compute DSCR, LLCR, PLCR, WAL and gearing of a schedule.

    DSCR_t = CFADS_t / (interest_t + principal_t); the minimum and the mean run over the periods
    in which debt service is due. WAL = sum t P_t / sum P_t. Gearing = debt / funded cost.

    Raises:
        InvalidInput: wrong lengths, tenor beyond the project, non-finite numbers, principal above
            the debt, or times that decrease.
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
    if case.look_back_months is not None or case.look_ahead_months is not None:
        window_ratios = _compute_window_dscrs(case, service, months)
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
            **_describe_windows(case),
        },
        warnings=_warn_of_case(case, rates, balances),
    )


def _warn_of_case(
    case: CoverageCase, rates: Sequence[float], balances: Sequence[float]
) -> tuple[str, ...]:
    """Warn of interest that is not that of the rates, beyond rounding, and of the gearing."""
    warnings: list[str] = []
    noise = _ROUNDED_SHARE * max(map(abs, case.interest))
    others = [
        number
        for number, (paid, rate, balance) in enumerate(
            zip(case.interest, rates, balances, strict=True), start=1
        )
        if abs(paid - rate * balance) > noise + ROUNDING_NOISE * abs(case.debt)
    ]
    if others:
        periods = list_periods(others)
        warnings.append(f"the interest is not the period rate x balance in {periods}")
    rest = balances[-1] - case.principal[-1]
    if rest > _PRINCIPAL_NOISE * case.debt:
        warnings.append(f"at the end {rest:.10g} of the debt is left")
    cost = case.funded_cost
    if cost is not None and case.debt > cost * (1.0 + ROUNDING_NOISE):
        warnings.append(f"the gearing of {case.debt / cost:.4g} is above 100 %")
    return tuple(warnings)


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
            _check_order(checker, case.times_years)
        if case.debt >= MIN_POSITIVE:
            _check_principal(checker, case)
    if case.funded_cost is not None:
        checker.require_positive("/funded_cost", case.funded_cost)
    _check_months(checker, case)
    checker.raise_errors()
    return periods


def _check_order(checker: FieldChecker, times_years: Sequence[float]) -> None:
    for index, (before, after) in enumerate(pairwise(times_years), start=1):
        if 0.0 <= after < before <= MAX_PERIODS:
            detail = f"is before the {before:g} of the payment before it; payments are in order"
            checker.reject(f"/times_years/{index}", "out_of_order", detail)


def _check_principal(checker: FieldChecker, case: CoverageCase) -> None:
    """Reject the payment of principal beyond what is owed, but for rounded figures."""
    balance = case.debt
    for index, repayment in enumerate(case.principal):
        if not abs(repayment) <= MAX_AMOUNT:
            return  # rejected by its limits
        balance -= repayment
        if balance < -_PRINCIPAL_NOISE * case.debt:
            detail = f"principal sums up to {case.debt - balance:.10g}, above the debt; lower it"
            checker.reject(f"/principal/{index}", "exceeds_debt", detail)
            return


def _check_months(checker: FieldChecker, case: CoverageCase) -> None:
    months = case.months_per_period
    if months is not None:
        checker.require_number("/months_per_period", months, 1, _YEAR_MONTHS)
        has_window = case.look_back_months is not None or case.look_ahead_months is not None
        if case.times_years is not None and not has_window:
            detail = "times_years say when principal is paid; remove one of them"
            checker.reject("/months_per_period", "ambiguous", detail)
    for name in ("look_back_months", "look_ahead_months"):
        window: int | None = getattr(case, name)
        if window is None:
            continue
        checker.require_number(f"/{name}", window, 1, _MAX_WINDOW_MONTHS)
        if months is None:
            checker.reject("/months_per_period", "required", "a window counts months")
        elif months > 0 and window % months:
            checker.reject(f"/{name}", "out_of_range", "must be a whole number of periods")


def _compute_window_dscrs(
    case: CoverageCase, service: Sequence[float], months: int
) -> tuple[float | None, ...]:
    """Return the lowest ratio of the full windows of each date; None where none is full."""
    months_by_period = [float(months)] * len(service)
    ratios: list[float | None] = []
    for last in range(len(service)):
        parts: list[slice] = []
        if case.look_back_months is not None:
            count = trailing_periods(months_by_period, last, float(case.look_back_months))
            if count is not None:
                parts.append(slice(last + 1 - count, last + 1))
        if case.look_ahead_months is not None:
            later_months = months_by_period[last + 1 :][::-1]
            count = trailing_periods(
                later_months, len(later_months) - 1, float(case.look_ahead_months)
            )
            if count is not None:
                parts.append(slice(last + 1, last + 1 + count))
        full_ratios = compute_dscrs(
            [sum(case.cfads[part]) for part in parts],
            [sum(service[part]) for part in parts],
            case.debt,
        )
        ratios.append(min((ratio for ratio in full_ratios if ratio is not None), default=None))
    return tuple(ratios)


def _describe_windows(case: CoverageCase) -> dict[str, str]:
    windows = {"back": case.look_back_months, "ahead": case.look_ahead_months}
    parts = [f"{months} months {name}" for name, months in windows.items() if months is not None]
    if not parts:
        return {}
    return {"window_dscr": f"lowest DSCR of {' and '.join(parts)} of each date; full windows only"}


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


def is_below(ratio: float, level: float) -> bool:
    """Return whether a ratio is below a level by more than the rounding of its terms.

    The ratios of debt that is sculpted to a target are that target but for rounding, and a level at
    the target would hold in some periods and not in others.
    """
    return ratio < level - _LEVEL_NOISE * abs(level)


def find_lowest(ratios: Iterable[float | None]) -> int | None:
    """Return the number of the first period with the lowest ratio; None without any ratio.

    Ratios that differ by rounding alone, as those of sculpted debt do, are equal.
    """
    ratios_by_period = [
        (number, ratio) for number, ratio in enumerate(ratios, start=1) if ratio is not None
    ]
    if not ratios_by_period:
        return None
    lowest = min(ratio for _number, ratio in ratios_by_period)
    limit = lowest + ROUNDING_NOISE * max(abs(lowest), 1.0)
    return next(number for number, ratio in ratios_by_period if ratio <= limit)


def weighted_average_life(times_years: Sequence[float], principal: Sequence[float]) -> float | None:
    """Return sum of t P over sum of P, in years; None when nothing is repaid."""
    total = sum(principal)
    if total == 0.0:
        return None
    return sum(t * p for t, p in zip(times_years, principal, strict=True)) / total
