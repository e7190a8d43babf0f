"""Rates of return NPV, IRR, XIRR and MIRR, with typed outcomes.

A series of flows may have one rate of return, several, or none. `irr` and `xirr` state which and
list every root; they never pick one silently. The mathematics is in `irr_roots`.

Rates are fractions. Source of the conventions (Act/365F for dated flows, the modified rate): the
documentation of the spreadsheet functions XIRR, XNPV, NPV and MIRR.
"""

import math
from collections.abc import Sequence
from datetime import date
from operator import lt
from typing import Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_AMOUNT, MAX_FLOWS, FieldChecker
from spawn.domain.finance.returns.irr_roots import find_irr_roots
from spawn.domain.finance.returns.one_sign_change import solve_one_sign_change
from spawn.domain.finance.returns.precise_roots import WorkLimitExceeded
from spawn.domain.finance.time_base.day_count import DayCount, compute_year_fraction

_YEAR_DAYS = 365.0
_MAX_LOG_RATE = 700.0
_MIN_PERIODS_PER_YEAR = 0.1
_MAX_PERIODS_PER_YEAR = 366
_NEGLIGIBLE = 1e-60
_MIN_PLAIN_SUM = 1e-12
_MAX_PLAIN_LOG_RATE = 0.05  # a rate of e^18 a year

RateStatus = Literal["unique", "several", "none", "undefined"]
RateReason = Literal[
    "", "single_sign", "no_root", "single_date", "all_zero", "beyond_float", "work_bound"
]


class DatedFlow(msgspec.Struct, frozen=True):
    """An amount that moves on a date; receipts are positive. An empty currency means "the same"."""

    date: date
    amount: float
    currency: str = ""


class RateOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The rates of return of a series, or the reason why there are none.

    `status`: `unique` (one root in `rates`), `several` (all listed, ascending), `none`, or
    `undefined`. `reason` explains the last two: `single_sign` (flows of one sign), `no_root`,
    `single_date`, `all_zero`, `beyond_float` (a root whose rate float64 cannot tell from -1 or
    from infinity), `work_bound` (isolating the roots would exceed the limit on work).
    `rates` are per period for `irr` and per year for `xirr`; `effective_pa` is (1 + i)^m - 1 and
    `nominal_pa` is i * m, in the same order.
    """

    status: RateStatus
    rates: tuple[float, ...] = ()
    effective_pa: tuple[float, ...] = ()
    nominal_pa: tuple[float, ...] = ()
    reason: RateReason = ""
    sign_changes: int = 0
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def rate(self) -> float | None:
        """The rate when there is exactly one, otherwise None."""
        return self.rates[0] if self.status == "unique" else None


def npv(rate: float, cash_flows: Sequence[float], *, first_discounted: bool = False) -> float:
    """Compute the net present value of periodic flows: sum of c_t (1 + rate)^-t with t from 0.

    `rate` is per period. The first flow is not discounted; `first_discounted=True` gives the
    spreadsheet function, in which t runs from 1.

    Raises:
        InvalidInput: an empty or overlong series, a non-finite flow, a rate not above -1, or a
            value beyond float64.
    """
    checker = FieldChecker()
    _check_discount_rate(checker, rate)
    _check_amounts(checker, cash_flows)
    checker.raise_errors()
    start = 1 if first_discounted else 0
    log_growth = math.log1p(rate)
    return _discounted_sum([(start + t) * log_growth for t in range(len(cash_flows))], cash_flows)


def xnpv(
    rate: float, dates: Sequence[date], amounts: Sequence[float], base: date | None = None
) -> float:
    """Compute the net present value of dated flows: sum of c_i (1 + rate)^(-(d_i - base)/365).

    `rate` is effective a year, days count Act/365F, `base` is by default the earliest date;
    dates may be in any order.

    Raises:
        InvalidInput: as `npv`, or dates and amounts of different number.
    """
    checker = FieldChecker()
    _check_discount_rate(checker, rate)
    _check_amounts(checker, amounts, "/amounts")
    checker.require_length("/dates", dates, len(amounts))
    checker.raise_errors()
    origin = min(dates) if base is None else base
    log_growth = math.log1p(rate)
    return _discounted_sum(
        [log_growth * (day - origin).days / _YEAR_DAYS for day in dates], amounts
    )


def _discounted_sum(exponents: list[float], amounts: Sequence[float]) -> float:
    """Sum amounts times exp(-exponent); reject a sum beyond float64."""
    try:
        value = math.fsum(a * math.exp(-e) for a, e in zip(amounts, exponents, strict=True) if a)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise InvalidInput.at(
            "/rate", "overflow", "the present value is beyond float64; raise the rate"
        )
    return value


def irr(cash_flows: Sequence[float], periods_per_year: float = 1) -> RateOutcome:
    """Find the internal rates of return of periodic flows: all i > -1 with sum c_t (1 + i)^-t = 0.

    `periods_per_year` m annualises: effective (1 + i)^m - 1 and nominal i * m. Amounts below
    1e-60 of the largest count as zero.

    Raises:
        InvalidInput: an empty or overlong series, a non-finite flow, m outside 1..366.
    """
    checker = FieldChecker()
    _check_amounts(checker, cash_flows)
    checker.require_number(
        "/periods_per_year", periods_per_year, _MIN_PERIODS_PER_YEAR, _MAX_PERIODS_PER_YEAR
    )
    checker.raise_errors()
    first = next((t for t, amount in enumerate(cash_flows) if amount), 0)
    times = [float(t - first) for t, amount in enumerate(cash_flows) if amount]
    amounts = [amount for amount in cash_flows if amount]
    conventions = {
        "formula": "sum c_t (1+i)^-t = 0, t = 0..n",
        "annualisation": f"effective (1+i)^{periods_per_year:g} - 1; "
        f"nominal i * {periods_per_year:g}",
    }
    return _classify_outcome(times, amounts, periods_per_year, conventions, 1)


def irr_at_times(times_years: Sequence[float], amounts: Sequence[float]) -> RateOutcome:
    """Find the rates of return of flows at increasing times in years: sum c (1 + r)^-t = 0.

    Raises:
        InvalidInput: an empty or overlong series, a non-finite flow, or times and amounts of
            different number.
    """
    checker = FieldChecker()
    _check_amounts(checker, amounts, "/amounts")
    checker.require_length("/times_years", times_years, len(amounts))
    checker.raise_errors()
    flows = [(t, amount) for t, amount in zip(times_years, amounts, strict=True) if amount]
    first = flows[0][0] if flows else 0.0
    conventions = {
        "formula": "sum c_t (1+r)^-t = 0, t in years of the schedule",
        "annualisation": "effective a year",
    }
    return _classify_outcome(
        [t - first for t, _ in flows], [amount for _, amount in flows], 1, conventions
    )


def xirr(dates: Sequence[date], amounts: Sequence[float]) -> RateOutcome:
    """Find the internal rates of return of dated flows: all r > -1 with present value 0.

    The present value is sum c_i (1+r)^(-(d_i-d_0)/365), Act/365F from the earliest date; dates may
    be in any order and may repeat. A series on one date is `undefined`, never an error. Amounts
    below 1e-60 of the largest count as zero.

    Raises:
        InvalidInput: an empty or overlong series, a non-finite flow, or dates and amounts of
            different number.
    """
    days = list(map(date.toordinal, dates))
    root = _solve_plain_series(days, amounts)
    if root is not None and abs(root) < _MAX_PLAIN_LOG_RATE:
        rates = (math.expm1(root * _YEAR_DAYS),)
        return RateOutcome(
            status="unique",
            rates=rates,
            effective_pa=rates,
            nominal_pa=rates,
            sign_changes=1,
            conventions=_XIRR_CONVENTIONS,
        )
    checker = FieldChecker()
    _check_amounts(checker, amounts, "/amounts")
    checker.require_length("/dates", dates, len(amounts))
    checker.raise_errors()
    if not all(map(lt, days, days[1:])):
        days, amounts = _net_by_day(days, amounts)
    if len(days) == 1:
        return RateOutcome(status="undefined", reason="single_date", conventions=_XIRR_CONVENTIONS)
    times, net = _years_from_first(days, amounts)
    return _classify_outcome(times, net, 1, _XIRR_CONVENTIONS, int(_YEAR_DAYS))


def _solve_plain_series(days: list[int], amounts: Sequence[float]) -> float | None:
    """Return the log rate a day of ordered outlays and then receipts, or the reverse; or None.

    Most series are so, and these few passes are all that they need. A bounded sum of amounts of
    one sign bounds each of them, and excludes a NaN.
    """
    if not (days and len(days) == len(amounts) <= MAX_FLOWS and sorted(days) == days):
        return None
    is_loan = amounts[0] > 0.0
    split = 0
    for amount in amounts:
        if not (amount > 0.0 if is_loan else amount < 0.0):
            break
        split += 1
    early, late = amounts[:split], amounts[split:]
    if not (early and late and days[split - 1] < days[split]):
        return None
    changes_once = (max(late) <= 0.0) if is_loan else (min(late) >= 0.0)
    if not (changes_once and _is_plain(sum(early)) and _is_plain(sum(late))):
        return None
    # Negligible amounts count as zero, which may move the first date.
    if min(map(abs, filter(None, amounts))) > _NEGLIGIBLE * max(map(abs, amounts)):
        return solve_one_sign_change(days, amounts, split)
    return None


def _is_plain(amount: float) -> bool:
    return _MIN_PLAIN_SUM < abs(amount) <= MAX_AMOUNT


_XIRR_CONVENTIONS = {
    "formula": "sum c_i (1+r)^(-(d_i-d_0)/365) = 0",
    "day_count": "ACT/365F from the earliest date",
    "annualisation": "effective a year",
}


def xirr_by_day_count(
    dates: Sequence[date], amounts: Sequence[float], convention: DayCount
) -> RateOutcome:
    """Apply `xirr` with years counted under a convention that two dates decide.

    Raises:
        InvalidInput: as `xirr`, or a convention that needs a frequency or a calendar.
    """
    if convention is DayCount.ACT_365F:
        return xirr(dates, amounts)
    checker = FieldChecker()
    _check_amounts(checker, amounts, "/amounts")
    checker.require_length("/dates", dates, len(amounts))
    checker.raise_errors()
    amounts_by_time: dict[float, list[float]] = {}
    for years, amount in zip(count_years(dates, min(dates), convention), amounts, strict=True):
        amounts_by_time.setdefault(years, []).append(amount)
    times = sorted(amounts_by_time)
    conventions = {
        "formula": "sum c_i (1+r)^-t_i = 0, t_i in years",
        "day_count": f"{convention.value} from the earliest date",
        "annualisation": "effective a year",
    }
    if len(times) == 1:
        return RateOutcome(status="undefined", reason="single_date", conventions=conventions)
    net = [math.fsum(amounts_by_time[years]) for years in times]
    flows = [(years, amount) for years, amount in zip(times, net, strict=True) if amount]
    first = flows[0][0] if flows else 0.0
    return _classify_outcome(
        [years - first for years, _ in flows], [amount for _, amount in flows], 1, conventions
    )


def count_years(dates: Sequence[date], base: date, convention: DayCount) -> list[float]:
    """Return the years from a date to each date, negative before it.

    Raises:
        InvalidInput: a convention that needs a frequency or a calendar.
    """
    if convention.needs_frequency or convention is DayCount.BUS_252:
        detail = f"{convention.value} needs more than two dates; name another convention"
        raise InvalidInput.at("/day_count", "not_applicable", detail)
    return [
        compute_year_fraction(convention, base, day)
        if day >= base
        else -compute_year_fraction(convention, day, base)
        for day in dates
    ]


def xirr_from_flows(
    flows: Sequence[DatedFlow], convention: DayCount = DayCount.ACT_365F
) -> RateOutcome:
    """Apply `xirr_by_day_count` to flow records; their currencies must agree.

    Raises:
        InvalidInput: as `xirr`, or mixed currencies; the pointer names the flow.
    """
    checker = FieldChecker()
    if checker.require_size("/flows", len(flows), MAX_FLOWS):
        for index, flow in enumerate(flows):
            checker.require_amount(f"/flows/{index}/amount", flow.amount)
            if flow.currency != flows[0].currency:
                detail = f"must be {flows[0].currency or 'empty'} like the first flow's"
                checker.reject(f"/flows/{index}/currency", "mixed_currencies", detail)
    checker.raise_errors()
    return xirr_by_day_count(
        [flow.date for flow in flows], [flow.amount for flow in flows], convention
    )


def mirr(cash_flows: Sequence[float], finance_rate: float, reinvest_rate: float) -> float:
    """Compute the modified rate of return: (FV of receipts / -PV of outlays)^(1/n) - 1, per period.

    Outlays are discounted at `finance_rate`, receipts compounded at `reinvest_rate` to the last
    of the n periods, as the spreadsheet function documents. Outlays without a receipt have lost
    everything: the rate is -1.

    Raises:
        InvalidInput: fewer than two flows, no outlay, a rate not above -1, or a value
            beyond float64.
    """
    checker = FieldChecker()
    _check_discount_rate(checker, finance_rate, "/finance_rate")
    _check_discount_rate(checker, reinvest_rate, "/reinvest_rate")
    _check_amounts(checker, cash_flows)
    if len(cash_flows) == 1:
        checker.reject("/cash_flows", "wrong_length", "must have at least two flows")
    elif len(cash_flows) > 0 and not min(cash_flows) < 0.0:
        checker.reject("/cash_flows", "single_sign", "must have an outlay")
    checker.raise_errors()
    periods = len(cash_flows) - 1
    if periods and max(cash_flows) <= 0.0:
        return -1.0
    outlays = npv(finance_rate, [min(amount, 0.0) for amount in cash_flows])
    receipts = npv(reinvest_rate, [max(amount, 0.0) for amount in cash_flows])
    if outlays == 0.0 or receipts == 0.0:
        raise InvalidInput.at(
            "/cash_flows", "overflow", "a present value is 0 in float64; give a lower rate"
        )
    growth = (math.log(receipts) - math.log(-outlays)) / periods + math.log1p(reinvest_rate)
    if growth > _MAX_LOG_RATE:
        raise InvalidInput.at(
            "/cash_flows", "overflow", "the rate is beyond float64; give smaller receipts"
        )
    return math.expm1(growth)


def annualise(rate: float, periods_per_year: float) -> tuple[float, float]:
    """Return the effective rate (1 + i)^m - 1 and the nominal rate i * m of a period rate."""
    return math.expm1(periods_per_year * math.log1p(rate)), rate * periods_per_year


def _check_discount_rate(checker: FieldChecker, rate: float, pointer: str = "/rate") -> None:
    if not -1.0 < rate <= MAX_AMOUNT:
        checker.reject(pointer, "out_of_range", "must be a finite rate above -1")


def _check_amounts(
    checker: FieldChecker, amounts: Sequence[float], pointer: str = "/cash_flows"
) -> None:
    """Reject amounts outside the limits, in three passes in C where all are valid.

    `min` and `max` can miss a NaN, the sum cannot.
    """
    if not checker.require_size(pointer, len(amounts), MAX_FLOWS):
        return
    is_bounded = min(amounts) >= -MAX_AMOUNT and max(amounts) <= MAX_AMOUNT
    if not (is_bounded and math.isfinite(sum(amounts))):
        checker.require_each(pointer, amounts, -MAX_AMOUNT, MAX_AMOUNT)


def _net_by_day(days: list[int], amounts: Sequence[float]) -> tuple[list[int], list[float]]:
    """Return the days in order, once each, with the sums of their amounts."""
    amounts_by_day: dict[int, list[float]] = {}
    for day, amount in zip(days, amounts, strict=True):
        amounts_by_day.setdefault(day, []).append(amount)
    sorted_days = sorted(amounts_by_day)
    return sorted_days, [math.fsum(amounts_by_day[day]) for day in sorted_days]


def _years_from_first(days: list[int], amounts: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return years from the first flow and the amounts, without zeros, which affect no rate."""
    if not all(amounts):
        days = [day for day, amount in zip(days, amounts, strict=True) if amount]
        amounts = [amount for amount in amounts if amount]
    first = days[0] if days else 0
    return [(day - first) / _YEAR_DAYS for day in days], list(amounts)


def _drop_negligible(times: list[float], amounts: list[float]) -> tuple[list[float], list[float]]:
    """Drop amounts negligible beside the largest; rescale the others, also if all are tiny."""
    lowest, highest = min(amounts), max(amounts)
    largest, smallest = max(highest, -lowest), min(map(abs, amounts))
    if smallest > largest * _NEGLIGIBLE and largest > _NEGLIGIBLE:
        return times, amounts
    indices = [t for t, amount in enumerate(amounts) if abs(amount) > largest * _NEGLIGIBLE]
    return [times[t] for t in indices], [amounts[t] / largest for t in indices]


def _classify_outcome(
    times: list[float],
    amounts: list[float],
    per_year: float,
    conventions: dict[str, str],
    ticks_per_year: int | None = None,
) -> RateOutcome:
    """Return the typed outcome of flows in order of time without zeros."""
    if not amounts:
        return RateOutcome(status="undefined", reason="all_zero", conventions=conventions)
    times, amounts = _drop_negligible(times, amounts)
    try:
        roots = find_irr_roots(times, amounts, ticks_per_year)
    except WorkLimitExceeded:
        return RateOutcome(status="undefined", reason="work_bound", conventions=conventions)
    if not roots.log_rates:
        reason: RateReason = "no_root" if roots.sign_changes else "single_sign"
        return RateOutcome(
            status="none", reason=reason, sign_changes=roots.sign_changes, conventions=conventions
        )
    max_log_rate = _MAX_LOG_RATE / per_year
    log_rates = [x for x in roots.log_rates if x < max_log_rate and math.expm1(x) > -1.0]
    status: RateStatus = "unique" if len(log_rates) == 1 else "several"
    if len(log_rates) < len(roots.log_rates):
        status = "undefined"
    return RateOutcome(
        status=status,
        rates=tuple(math.expm1(x) for x in log_rates),
        effective_pa=tuple(math.expm1(x * per_year) for x in log_rates),
        nominal_pa=tuple(math.expm1(x) * per_year for x in log_rates),
        reason="beyond_float" if status == "undefined" else "",
        sign_changes=roots.sign_changes,
        conventions=conventions,
        warnings=roots.warnings,
    )
