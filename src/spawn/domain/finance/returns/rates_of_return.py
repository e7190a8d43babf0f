"""Net present value and internal rates of return with typed outcomes.

A series of flows may have one rate of return, several, or none. `irr` and `xirr` say which and
list every root; they never pick one silently. The mathematics is in `roots`.

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
from spawn.domain.finance.limits import MAX_AMOUNT, MAX_FLOWS, Checker
from spawn.domain.finance.returns.irr_root_isolation import WorkBound
from spawn.domain.finance.returns.irr_roots import find_roots

_YEAR_DAYS = 365.0
_LOG_RATE_TOP = 700.0
_MAX_PERIODS_PER_YEAR = 366
_DUST = 1e-60

Status = Literal["unique", "several", "none", "undefined"]
Reason = Literal[
    "", "single_sign", "no_root", "single_date", "all_zero", "beyond_float", "work_bound"
]


class DatedFlow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An amount that moves on a date; receipts are positive. An empty currency means "the same"."""

    date: date
    amount: float
    currency: str = ""


class RateOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a series says about its rate of return.

    `status`: `unique` (one root in `rates`), `several` (all listed, ascending), `none`, or
    `undefined`. `reason` explains the last two: `single_sign` (flows of one sign), `no_root`,
    `single_date`, `all_zero`, `beyond_float` (a root whose rate float64 cannot tell from -1 or
    from infinity), `work_bound` (isolating the roots would exceed the bound on work).
    `rates` are per period for `irr` and per year for `xirr`; `effective_pa` is (1 + i)^m - 1 and
    `nominal_pa` is i * m, in the same order.
    """

    status: Status
    rates: tuple[float, ...] = ()
    effective_pa: tuple[float, ...] = ()
    nominal_pa: tuple[float, ...] = ()
    reason: Reason = ""
    sign_changes: int = 0
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def rate(self) -> float | None:
        """The rate when there is exactly one, otherwise None."""
        return self.rates[0] if self.status == "unique" else None


def npv(rate: float, cash_flows: Sequence[float], *, first_discounted: bool = False) -> float:
    """Net present value of periodic flows: sum of c_t (1 + rate)^-t with t from 0.

    `rate` is per period. The first flow is not discounted; `first_discounted=True` gives the
    spreadsheet function, in which t runs from 1.

    Raises:
        InvalidInput: an empty or overlong series, a non-finite flow, a rate not above -1, or a
            value beyond float64.
    """
    check = Checker()
    _check_discount_rate(check, rate)
    _check_amounts(check, cash_flows)
    check.done()
    start = 1 if first_discounted else 0
    log_growth = math.log1p(rate)
    return _total([(start + t) * log_growth for t in range(len(cash_flows))], cash_flows)


def xnpv(
    rate: float, dates: Sequence[date], amounts: Sequence[float], base: date | None = None
) -> float:
    """Net present value of dated flows: sum of c_i (1 + rate)^(-(d_i - base)/365).

    `rate` is effective a year, days count Act/365F, `base` is the earliest date unless given;
    dates may come in any order.

    Raises:
        InvalidInput: as `npv`, or dates and amounts of different number.
    """
    check = Checker()
    _check_discount_rate(check, rate)
    _check_amounts(check, amounts, "/amounts")
    check.length("/dates", dates, len(amounts))
    check.done()
    origin = min(dates) if base is None else base
    log_growth = math.log1p(rate)
    return _total([log_growth * (day - origin).days / _YEAR_DAYS for day in dates], amounts)


def _total(exponents: list[float], amounts: Sequence[float]) -> float:
    """Sum of amounts times exp(-exponent), refused when it leaves float64."""
    try:
        value = math.fsum(a * math.exp(-e) for a, e in zip(amounts, exponents, strict=True) if a)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise InvalidInput.at("/rate", "overflow", "the present value is beyond float64")
    return value


def irr(cash_flows: Sequence[float], periods_per_year: int = 1) -> RateOutcome:
    """Internal rates of return of periodic flows: all i > -1 with sum c_t (1 + i)^-t = 0.

    `periods_per_year` m annualises: effective (1 + i)^m - 1 and nominal i * m. Amounts below
    1e-60 of the largest count as zero.

    Raises:
        InvalidInput: an empty or overlong series, a non-finite flow, m outside 1..366.
    """
    check = Checker()
    _check_amounts(check, cash_flows)
    check.number("/periods_per_year", periods_per_year, 1, _MAX_PERIODS_PER_YEAR)
    check.done()
    first = next((t for t, amount in enumerate(cash_flows) if amount), 0)
    times = [float(t - first) for t, amount in enumerate(cash_flows) if amount]
    amounts = [amount for amount in cash_flows if amount]
    conventions = {
        "formula": "sum c_t (1+i)^-t = 0, t = 0..n",
        "annualisation": f"effective (1+i)^{periods_per_year} - 1; nominal i * {periods_per_year}",
    }
    return _outcome(times, amounts, periods_per_year, conventions)


def xirr(dates: Sequence[date], amounts: Sequence[float]) -> RateOutcome:
    """Internal rates of return of dated flows: all r > -1 with sum c_i (1+r)^(-(d_i-d_0)/365) = 0.

    Act/365F from the earliest date; dates come in any order and may repeat. Equal dates
    throughout are `undefined`, never an error. Amounts below 1e-60 of the largest count as zero.

    Raises:
        InvalidInput: an empty or overlong series, a non-finite flow, or dates and amounts of
            different number.
    """
    check = Checker()
    _check_amounts(check, amounts, "/amounts")
    check.length("/dates", dates, len(amounts))
    check.done()
    conventions = {
        "formula": "sum c_i (1+r)^(-(d_i-d_0)/365) = 0",
        "day_count": "ACT/365F from the earliest date",
        "annualisation": "effective a year",
    }
    days = list(map(date.toordinal, dates))
    if not all(map(lt, days, days[1:])):
        days, amounts = _netted(days, amounts)
    if len(days) == 1:
        return RateOutcome(status="undefined", reason="single_date", conventions=conventions)
    times, net = _from_first(days, amounts)
    return _outcome(times, net, 1, conventions)


def xirr_of_flows(flows: Sequence[DatedFlow]) -> RateOutcome:
    """`xirr` of flow records; their currencies must agree.

    Raises:
        InvalidInput: as `xirr`, or mixed currencies; the pointer names the flow.
    """
    check = Checker()
    if check.size("/flows", len(flows), MAX_FLOWS):
        for index, flow in enumerate(flows):
            check.amount(f"/flows/{index}/amount", flow.amount)
            if flow.currency != flows[0].currency:
                detail = f"must be {flows[0].currency or 'empty'} like the first flow's"
                check.refuse(f"/flows/{index}/currency", "mixed_currencies", detail)
    check.done()
    return xirr([flow.date for flow in flows], [flow.amount for flow in flows])


def mirr(cash_flows: Sequence[float], finance_rate: float, reinvest_rate: float) -> float:
    """Modified rate of return: (FV of receipts / -PV of outlays)^(1/n) - 1, per period.

    Outlays are discounted at `finance_rate`, receipts compounded at `reinvest_rate` to the last
    of the n periods, as the spreadsheet function documents.

    Raises:
        InvalidInput: fewer than two flows, flows of one sign, a rate not above -1, or a value
            beyond float64.
    """
    check = Checker()
    _check_discount_rate(check, finance_rate, "/finance_rate")
    _check_discount_rate(check, reinvest_rate, "/reinvest_rate")
    _check_amounts(check, cash_flows)
    if len(cash_flows) > 0 and not min(cash_flows) < 0.0 < max(cash_flows):
        check.refuse("/cash_flows", "single_sign", "needs an outlay and a receipt")
    check.done()
    periods = len(cash_flows) - 1
    outlays = npv(finance_rate, [min(amount, 0.0) for amount in cash_flows])
    receipts = npv(reinvest_rate, [max(amount, 0.0) for amount in cash_flows])
    if outlays == 0.0 or receipts == 0.0:
        raise InvalidInput.at("/cash_flows", "overflow", "a present value vanishes in float64")
    growth = (math.log(receipts) - math.log(-outlays)) / periods + math.log1p(reinvest_rate)
    if growth > _LOG_RATE_TOP:
        raise InvalidInput.at("/cash_flows", "overflow", "the rate is beyond float64")
    return math.expm1(growth)


def annualised(rate: float, periods_per_year: int) -> tuple[float, float]:
    """The effective rate (1 + i)^m - 1 and the nominal rate i * m of a rate per period."""
    return math.expm1(periods_per_year * math.log1p(rate)), rate * periods_per_year


def _check_discount_rate(check: Checker, rate: float, pointer: str = "/rate") -> None:
    if not -1.0 < rate <= MAX_AMOUNT:
        check.refuse(pointer, "out_of_range", "must be a finite rate above -1")


def _check_amounts(check: Checker, amounts: Sequence[float], pointer: str = "/cash_flows") -> None:
    """Three passes in C for the good case; the fields are named only when something is wrong.

    A NaN can hide from `min` and `max` but not from the sum.
    """
    if not check.size(pointer, len(amounts), MAX_FLOWS):
        return
    bounded = min(amounts) >= -MAX_AMOUNT and max(amounts) <= MAX_AMOUNT
    if not (bounded and math.isfinite(sum(amounts))):
        check.each(pointer, amounts, -MAX_AMOUNT, MAX_AMOUNT)


def _netted(days: list[int], amounts: Sequence[float]) -> tuple[list[int], list[float]]:
    """Days in order, each once, with the sum of its amounts."""
    by_day: dict[int, list[float]] = {}
    for day, amount in zip(days, amounts, strict=True):
        by_day.setdefault(day, []).append(amount)
    ordered = sorted(by_day)
    return ordered, [math.fsum(by_day[day]) for day in ordered]


def _from_first(days: list[int], amounts: Sequence[float]) -> tuple[list[float], list[float]]:
    """Years from the first flow and the amounts, zeros left out: they say nothing about a rate."""
    if not all(amounts):
        days = [day for day, amount in zip(days, amounts, strict=True) if amount]
        amounts = [amount for amount in amounts if amount]
    first = days[0] if days else 0
    return [(day - first) / _YEAR_DAYS for day in days], list(amounts)


def _of_one_scale(times: list[float], amounts: list[float]) -> tuple[list[float], list[float]]:
    """Drop amounts that are nothing beside the largest, and lift a series of nothing but dust."""
    lowest, highest = min(amounts), max(amounts)
    largest, smallest = max(highest, -lowest), min(map(abs, amounts))
    if smallest > largest * _DUST and largest > _DUST:
        return times, amounts
    kept = [t for t, amount in enumerate(amounts) if abs(amount) > largest * _DUST]
    return [times[t] for t in kept], [amounts[t] / largest for t in kept]


def _outcome(
    times: list[float], amounts: list[float], per_year: int, conventions: dict[str, str]
) -> RateOutcome:
    """The typed outcome of flows in order of time without zeros."""
    if not amounts:
        return RateOutcome(status="undefined", reason="all_zero", conventions=conventions)
    times, amounts = _of_one_scale(times, amounts)
    try:
        found = find_roots(times, amounts)
    except WorkBound:
        return RateOutcome(status="undefined", reason="work_bound", conventions=conventions)
    if not found.log_rates:
        reason: Reason = "no_root" if found.sign_changes else "single_sign"
        return RateOutcome(
            status="none", reason=reason, sign_changes=found.sign_changes, conventions=conventions
        )
    top = _LOG_RATE_TOP / per_year
    kept = [x for x in found.log_rates if x < top and math.expm1(x) > -1.0]
    status: Status = "unique" if len(kept) == 1 else "several"
    if len(kept) < len(found.log_rates):
        status = "undefined"
    return RateOutcome(
        status=status,
        rates=tuple(math.expm1(x) for x in kept),
        effective_pa=tuple(math.expm1(x * per_year) for x in kept),
        nominal_pa=tuple(math.expm1(x) * per_year for x in kept),
        reason="beyond_float" if status == "undefined" else "",
        sign_changes=found.sign_changes,
        conventions=conventions,
        warnings=found.warnings,
    )
