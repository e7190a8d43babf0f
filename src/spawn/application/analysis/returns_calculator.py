"""The returns calculator: rates of return, present value, multiples, payback, levelised cost."""

import math
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import msgspec

from spawn.application.analysis.explanation import Explanation, Explanations
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.limits import MAX_AMOUNT, FieldChecker
from spawn.domain.finance.returns.discounting import (
    CurvePoint,
    DiscountCurve,
    build_flat_curve,
    check_curve,
    compute_present_value,
)
from spawn.domain.finance.returns.multiples import (
    PaybackSpan,
    compute_levelised_cost,
    compute_multiples,
    find_payback,
)
from spawn.domain.finance.returns.rates_of_return import (
    DatedFlow,
    RateOutcome,
    RateReason,
    RateStatus,
    count_years,
    irr,
    mirr,
    xirr_from_flows,
)
from spawn.domain.finance.time_base.day_count import DayCount, parse_day_count
from spawn.domain.money import get_currency

_HIGH_RATE: Final = 1.0
MAX_PERIODS_PER_YEAR: Final = 366
"""Periods of a year: days of a leap year."""


class CashFlowInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount that moves on a date; receipts are positive."""

    date: date
    amount: float
    currency_code: str | None = None


class ReturnsCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Periodic `cash_flows` or dated `flows`, and what further figures need.

    `periods_per_year` (1 by default) annualises the rate of periodic flows; `day_count` (by default
    ACT/365F) counts the years between dated ones. `residual_value` is received with the last flow.
    `nearest_to` picks among several rates.

    `discount_rate`, effective a year, or `discount_curve` adds the NPV, at the first flow or at
    `base_date`, and the discounted payback; with `costs` and `energy`, one of each a flow, also
    the levelised cost. `finance_rate` and `reinvest_rate`, per period, add the modified rate of
    periodic flows. All flows are in one currency, by default `currency_code`.
    """

    cash_flows: tuple[float, ...] | None = None
    periods_per_year: int | None = None
    flows: tuple[CashFlowInput, ...] | None = None
    currency_code: str | None = None
    discount_rate: float | None = None
    finance_rate: float | None = None
    reinvest_rate: float | None = None
    day_count: str | None = None
    base_date: date | None = None
    discount_curve: tuple[CurvePoint, ...] | None = None
    residual_value: float | None = None
    nearest_to: float | None = None
    costs: tuple[float, ...] | None = None
    energy: tuple[float, ...] | None = None


class ReturnsRow(msgspec.Struct, frozen=True, kw_only=True):
    """One rate of return; a case without any has one row without a rate."""

    method: str
    status: RateStatus
    reason: RateReason
    rate: float | None
    effective_pa: float | None
    nominal_pa: float | None
    npv: float | None
    mirr: float | None
    moic: float | None
    dpi: float | None
    payback_years: float | None


class ReturnsResult(msgspec.Struct, frozen=True, kw_only=True):
    """The typed outcome: `rate` exists when there is exactly one, `rates` lists all.

    `moic` (also called TVPI) and `dpi` are multiples of the money paid in; `nearest_rate` is the
    rate nearest to the wish; `lcoe` is the levelised cost of energy.
    """

    method: str
    status: RateStatus
    rate: float | None
    rates: tuple[float, ...]
    effective_pa: tuple[float, ...]
    nominal_pa: tuple[float, ...]
    reason: RateReason
    sign_changes: int
    npv: float | None
    mirr: float | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()
    nearest_rate: float | None = None
    moic: float | None = None
    dpi: float | None = None
    payback_years: float | None = None
    discounted_payback_years: float | None = None
    lcoe: float | None = None


class _Series(msgspec.Struct, frozen=True, kw_only=True):
    """The flows of a case in order of time, with the years from the date of valuation.

    `positions` are the indices of the flows in the request.
    """

    times_years: list[float]
    amounts: list[float]
    positions: list[int]


def calculate_returns(case: ReturnsCase) -> ReturnsResult:
    """Calculate every rate of return of a series, and what else the case asks for.

    Raises:
        InvalidInput: neither or both kinds of flows, fields without a use, mixed currencies,
            numbers outside limits.
    """
    _check_case(case)
    if case.currency_code is not None:
        get_currency(case.currency_code, pointer="/currency_code")
    convention = parse_day_count(case.day_count) if case.day_count else DayCount.ACT_365F
    outcome = _find_rates(case, convention)
    series = _order_flows(case, convention)
    curve = _choose_curve(case)
    multiples = compute_multiples(_amounts(case), case.residual_value or 0.0)
    payback = _find_payback(series, series.amounts)
    discounted_payback = None if curve is None else _find_discounted_payback(curve, series)
    return ReturnsResult(
        method="irr" if case.flows is None else "xirr",
        status=outcome.status,
        rate=outcome.rate,
        rates=outcome.rates,
        effective_pa=outcome.effective_pa,
        nominal_pa=outcome.nominal_pa,
        reason=outcome.reason,
        sign_changes=outcome.sign_changes,
        npv=None if curve is None else _discount(curve, series),
        mirr=_modified_rate(case),
        conventions=outcome.conventions | _conventions(case),
        warnings=outcome.warnings + _list_warnings(case, outcome),
        nearest_rate=_pick_rate(case, outcome),
        moic=multiples.moic,
        dpi=multiples.dpi,
        payback_years=payback.years if payback else None,
        discounted_payback_years=discounted_payback.years if discounted_payback else None,
        lcoe=None if curve is None else _levelised_cost(case, curve, series),
    )


def _check_case(case: ReturnsCase) -> None:
    checker = FieldChecker()
    if (case.cash_flows is None) == (case.flows is None):
        checker.reject("/cash_flows", "ambiguous", "give exactly one of cash_flows and flows")
    if (case.finance_rate is None) != (case.reinvest_rate is None):
        checker.reject(
            "/reinvest_rate",
            "incomplete",
            "the modified rate needs both rates; give both or neither",
        )
    _check_kind_of_flows(checker, case)
    _check_discounting(checker, case)
    for name, low in (("residual_value", 0.0), ("nearest_to", -1.0)):
        value: float | None = getattr(case, name)
        if value is not None:
            checker.require_number(f"/{name}", value, low, MAX_AMOUNT)
    checker.raise_errors()


def _check_kind_of_flows(checker: FieldChecker, case: ReturnsCase) -> None:
    """Reject fields that serve the other kind of flows."""
    if case.flows is not None:
        if case.finance_rate is not None:
            detail = "the modified rate needs periodic flows"
            checker.reject("/finance_rate", "not_applicable", detail)
        if case.periods_per_year not in {None, 1}:
            detail = "dated flows have annual rates; remove it"
            checker.reject("/periods_per_year", "not_applicable", detail)
    else:
        for name in ("day_count", "base_date"):
            if getattr(case, name) is not None:
                checker.reject(f"/{name}", "not_applicable", "serves dated flows")
        if case.periods_per_year is not None:
            number = case.periods_per_year
            checker.require_number("/periods_per_year", number, 1, MAX_PERIODS_PER_YEAR)


def _check_discounting(checker: FieldChecker, case: ReturnsCase) -> None:
    if case.discount_rate is not None and case.discount_curve is not None:
        checker.reject("/discount_curve", "ambiguous", "discount_rate is set too; give one")
    has_discount = case.discount_rate is not None or case.discount_curve is not None
    if case.discount_rate is not None and not -1.0 < case.discount_rate <= MAX_AMOUNT:
        checker.reject("/discount_rate", "out_of_range", "must be a finite rate above -1")
    if case.base_date is not None and case.flows is not None and not has_discount:
        checker.reject("/base_date", "not_applicable", "serves the NPV; give a discount rate")
    if (case.costs is None) != (case.energy is None):
        checker.reject("/energy", "incomplete", "the levelised cost needs costs and energy")
    count = len(case.cash_flows or case.flows or ())
    for name in ("costs", "energy"):
        values: tuple[float, ...] | None = getattr(case, name)
        if values is None:
            continue
        if not has_discount:
            detail = "serves the levelised cost; give a discount rate"
            checker.reject(f"/{name}", "not_applicable", detail)
        if checker.require_length(f"/{name}", values, count):
            checker.require_each(f"/{name}", values, 0.0, MAX_AMOUNT)


def _amounts(case: ReturnsCase) -> list[float]:
    if case.flows is None:
        return list(case.cash_flows or ())
    return [flow.amount for flow in case.flows]


def _find_rates(case: ReturnsCase, convention: DayCount) -> RateOutcome:
    """Find the rates of the flows, the residual value received with the last of them."""
    residual = case.residual_value or 0.0
    if case.flows is None:
        cash_flows = list(case.cash_flows or ())
        if cash_flows:
            cash_flows[-1] += residual
        return irr(cash_flows, case.periods_per_year or 1)
    for index, flow in enumerate(case.flows):
        if flow.currency_code is not None:
            pointer = f"/flows/{index}/currency_code"
            get_currency(flow.currency_code, pointer=pointer)
            if case.currency_code not in {None, flow.currency_code}:
                detail = f"must be {case.currency_code}, the currency_code of all flows"
                raise InvalidInput.at(pointer, "mixed_currencies", detail)
    default = case.currency_code or ""
    records = [
        DatedFlow(flow.date, flow.amount, flow.currency_code or default) for flow in case.flows
    ]
    if records and residual:
        last = max(range(len(records)), key=lambda index: records[index].date)
        record = records[last]
        records[last] = DatedFlow(record.date, record.amount + residual, record.currency)
    try:
        return xirr_from_flows(records, convention)
    except InvalidInput as error:
        raise InvalidInput([_rename_currency_field(entry) for entry in error.errors]) from error


def _rename_currency_field(error: FieldError) -> FieldError:
    if not error.pointer.endswith("/currency"):
        return error
    return msgspec.structs.replace(error, pointer=f"{error.pointer}_code")


def _order_flows(case: ReturnsCase, convention: DayCount) -> _Series:
    """Return the flows in order of time, the residual value with the last of them."""
    amounts = _amounts(case)
    if case.flows is None:
        per_year = case.periods_per_year or 1
        times = [index / per_year for index in range(len(amounts))]
    else:
        dates = [flow.date for flow in case.flows]
        times = count_years(dates, case.base_date or min(dates), convention)
    positions = sorted(range(len(amounts)), key=times.__getitem__)
    amounts[positions[-1]] += case.residual_value or 0.0
    return _Series(
        times_years=[times[index] for index in positions],
        amounts=[amounts[index] for index in positions],
        positions=positions,
    )


def _choose_curve(case: ReturnsCase) -> DiscountCurve | None:
    if case.discount_curve is not None:
        check_curve(case.discount_curve)
        return DiscountCurve(case.discount_curve)
    return None if case.discount_rate is None else build_flat_curve(case.discount_rate)


def _discount(curve: DiscountCurve, series: _Series) -> float:
    return compute_present_value(curve, series.times_years, series.amounts)


def _find_payback(series: _Series, amounts: Sequence[float]) -> PaybackSpan | None:
    """Find the payback of amounts at the times of a series, counted from its first flow."""
    start = series.times_years[0]
    return find_payback([years - start for years in series.times_years], amounts)


def _find_discounted_payback(curve: DiscountCurve, series: _Series) -> PaybackSpan | None:
    values = [
        compute_present_value(curve, [years], [amount])
        for years, amount in zip(series.times_years, series.amounts, strict=True)
    ]
    return _find_payback(series, values)


def _levelised_cost(case: ReturnsCase, curve: DiscountCurve, series: _Series) -> float | None:
    if case.costs is None or case.energy is None:
        return None
    costs = [case.costs[index] for index in series.positions]
    energy = [case.energy[index] for index in series.positions]
    return compute_levelised_cost(curve, series.times_years, costs, energy)


def _modified_rate(case: ReturnsCase) -> float | None:
    if case.finance_rate is None or case.reinvest_rate is None:
        return None
    cash_flows = list(case.cash_flows or ())
    cash_flows[-1] += case.residual_value or 0.0
    return mirr(cash_flows, case.finance_rate, case.reinvest_rate)


def _pick_rate(case: ReturnsCase, outcome: RateOutcome) -> float | None:
    """Return the rate nearest to the wish of the case; None without a wish or a rate."""
    wish = case.nearest_to
    if wish is None:
        return None
    return min(outcome.rates, key=lambda rate: abs(rate - wish), default=None)


def _conventions(case: ReturnsCase) -> dict[str, str]:
    conventions = {
        "moic": "(receipts + residual value) / payments in, also called TVPI; dpi without residual",
        "payback": "years from the first flow until the sum stays above zero, interpolated",
    }
    if case.discount_rate is not None or case.discount_curve is not None:
        base = "the base date" if case.base_date else "the first flow"
        rate = "zero rates of the curve" if case.discount_curve else "discount_rate"
        conventions["npv"] = f"{rate}, effective a year; discounted to {base}"
    if case.discount_curve is not None:
        conventions["discount_curve"] = "log-linear discount factors, flat zero rates beyond"
    if case.finance_rate is not None:
        conventions["mirr"] = "finance_rate, reinvest_rate and the result are per period"
    if case.residual_value is not None:
        conventions["residual_value"] = "received with the last flow"
    return conventions


def _list_warnings(case: ReturnsCase, outcome: RateOutcome) -> tuple[str, ...]:
    """Warn of a total loss, and of rates of return that are odd."""
    warnings: list[str] = []
    if outcome.reason == "single_sign" and max(_amounts(case)) <= 0.0:
        warnings.append("nothing is received: a total loss, a rate of return of -100 %")
    if any(rate < 0.0 for rate in outcome.rates):
        warnings.append("a rate of return is below zero")
    if any(rate > _HIGH_RATE for rate in outcome.rates):
        warnings.append("a rate of return is above 100 %")
    if case.nearest_to is not None and case.nearest_to > _HIGH_RATE:
        warnings.append("/nearest_to is above 100 %: rates are fractions, 0.05 is 5 %")
    return tuple(warnings)


def list_returns_rows(result: ReturnsResult) -> tuple[ReturnsRow, ...]:
    """Return one row per rate, or one without a rate."""
    rate_triples = zip(result.rates, result.effective_pa, result.nominal_pa, strict=True)
    return tuple(
        ReturnsRow(
            method=result.method,
            status=result.status,
            reason=result.reason,
            rate=rate,
            effective_pa=effective,
            nominal_pa=nominal,
            npv=result.npv,
            mirr=result.mirr,
            moic=result.moic,
            dpi=result.dpi,
            payback_years=result.payback_years,
        )
        for rate, effective, nominal in tuple(rate_triples) or ((None, None, None),)
    )


def explain_returns(case: ReturnsCase, result: ReturnsResult) -> Explanations:
    """Explain the rate, the present value, the multiples and the other figures of a case."""
    convention = parse_day_count(case.day_count) if case.day_count else DayCount.ACT_365F
    series = _order_flows(case, convention)
    flows: dict[str, Any] = {"flows": series.amounts}
    per_year = (case.periods_per_year or 1) if case.flows is None else 1
    start = series.times_years[0]
    times = [(years - start) * per_year for years in series.times_years]
    explanations = {
        "rate": Explanation(
            result.rate if result.status == "unique" else result.rates,
            "sum(flows * (1 + rate) ** -times) = 0",
            flows | {"times": times, "sign_changes": result.sign_changes, "status": result.status},
            result.conventions["annualisation"],
        )
    }
    curve = _choose_curve(case)
    if curve is not None:
        factors = [math.exp(-curve.exponent(years)) for years in series.times_years]
        explanations |= _explain_discounting(case, result, series, factors)
    explanations |= _explain_payback("payback_years", _find_payback(series, series.amounts))
    if curve is not None:
        discounted_payback = _find_discounted_payback(curve, series)
        explanations |= _explain_payback("discounted_payback_years", discounted_payback)
    if result.mirr is not None:
        explanations["mirr"] = Explanation(
            result.mirr,
            "(sum(pos(flows) * (1 + reinvest_rate) ** (n - t))"
            " / -sum(neg(flows) * (1 + finance_rate) ** -t)) ** (1 / n) - 1",
            flows
            | {
                "finance_rate": case.finance_rate,
                "reinvest_rate": case.reinvest_rate,
                "t": list(range(len(series.amounts))),
                "n": len(series.amounts) - 1,
            },
        )
    if result.moic is not None:
        inputs = {"flows": _amounts(case), "residual_value": case.residual_value or 0.0}
        formula = "(sum(pos(flows)) + residual_value) / -sum(neg(flows))"
        explanations["moic"] = Explanation(result.moic, formula, inputs, "also called TVPI")
        explanations["dpi"] = Explanation(result.dpi, "sum(pos(flows)) / -sum(neg(flows))", inputs)
    return explanations


def _explain_payback(name: str, payback: PaybackSpan | None) -> Explanations:
    if payback is None:
        return {}
    formula = "years_before + (years_after - years_before) * -sum_before / (sum_after - sum_before)"
    note = "the flows between which the sum turns positive for good"
    return {name: Explanation(payback.years, formula, payback._asdict(), note)}


def _explain_discounting(
    case: ReturnsCase, result: ReturnsResult, series: _Series, factors: list[float]
) -> Explanations:
    inputs: dict[str, Any] = {"flows": series.amounts, "discount_factors": factors}
    explanations = {
        "npv": Explanation(
            result.npv,
            "sum(flows * discount_factors)",
            inputs | {"discount_rate": case.discount_rate, "times_years": series.times_years},
            result.conventions["npv"],
        )
    }
    if case.costs is not None and case.energy is not None:
        explanations["lcoe"] = Explanation(
            result.lcoe,
            "sum(costs * discount_factors) / sum(energy * discount_factors)",
            {
                "costs": [case.costs[index] for index in series.positions],
                "energy": [case.energy[index] for index in series.positions],
                "discount_factors": factors,
            },
        )
    return explanations
