"""The stateless calculators: one case in, its figures, schedule, conventions and warnings out.

A case of several domain steps (dates, then a loan on them; ratios, then a covenant) is put
together here, and refusals of the steps are told in the words of the case: each pointer leads to
the field of the case that was given.
"""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar

import msgspec

from spawn.application.analysis.error_pointers import renamed
from spawn.application.analysis.schedule_calculator import (
    Schedule,
    ScheduleCase,
    ScheduleRow,
    calculate_schedule,
)
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.construction_funding import (
    ConstructionCase,
    ConstructionFunding,
    ConstructionRow,
    fund_construction,
)
from spawn.domain.finance.covenants import (
    CovenantResult,
    CovenantTerms,
    CovenantTest,
    Waiver,
    exact_series,
    run_covenant,
)
from spawn.domain.finance.coverage_ratios import Coverage, CoverageCase, coverage
from spawn.domain.finance.day_count import AccrualPeriod, count_days, parse_day_count
from spawn.domain.finance.debt_sizing import Sizing, SizingRow, size_debt
from spawn.domain.finance.debt_sizing_case import SizingCase
from spawn.domain.finance.limits import MAX_PERIODS, Checker
from spawn.domain.finance.returns.rates_of_return import (
    DatedFlow,
    RateOutcome,
    Reason,
    Status,
    irr,
    mirr,
    npv,
    xirr_of_flows,
    xnpv,
)
from spawn.domain.finance.waterfall import Waterfall, WaterfallCase, WaterfallRow, run_waterfall
from spawn.domain.money import currency

C = TypeVar("C", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)

_METRICS: Final = ("DSCR", "LLCR", "PLCR")


class Calculator(msgspec.Struct, Generic[C, R], frozen=True, kw_only=True):
    """One calculator: what it takes, what it gives, and the rows of its table form."""

    case: type[C]
    result: type[R]
    row: type[msgspec.Struct]
    run: Callable[[C], R]
    rows: Callable[[R], tuple[Any, ...]]


# Returns


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount that moves on a date; receipts are positive."""

    date: date
    amount: float
    currency_code: str | None = None


class ReturnsCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Periodic `cash_flows` or dated `flows`, and what to know of them beside the rate.

    `discount_rate` asks for the NPV (per period, or effective a year for dated flows);
    `finance_rate` and `reinvest_rate` together ask for the modified rate of periodic flows. All
    flows are in one currency, `currency_code` where a flow names none.
    """

    cash_flows: tuple[float, ...] | None = None
    periods_per_year: int = 1
    flows: tuple[Flow, ...] | None = None
    currency_code: str | None = None
    discount_rate: float | None = None
    finance_rate: float | None = None
    reinvest_rate: float | None = None


class ReturnsRow(msgspec.Struct, frozen=True, kw_only=True):
    """One root; a case without a root has one row without a rate."""

    method: str
    status: Status
    reason: Reason
    rate: float | None
    effective_pa: float | None
    nominal_pa: float | None
    npv: float | None
    mirr: float | None


class Returns(msgspec.Struct, frozen=True, kw_only=True):
    """The typed outcome: `rate` exists when there is exactly one root, `rates` lists them all."""

    method: str
    status: Status
    rate: float | None
    rates: tuple[float, ...]
    effective_pa: tuple[float, ...]
    nominal_pa: tuple[float, ...]
    reason: Reason
    sign_changes: int
    npv: float | None
    mirr: float | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def calculate_returns(case: ReturnsCase) -> Returns:
    """Every rate of return of a series, and on request its NPV and modified rate.

    Raises:
        InvalidInput: neither or both kinds of flows, mixed currencies, numbers out of bounds.
    """
    check = Checker()
    if (case.cash_flows is None) == (case.flows is None):
        check.refuse("/cash_flows", "ambiguous", "give either cash_flows or flows")
    if (case.finance_rate is None) != (case.reinvest_rate is None):
        check.refuse("/reinvest_rate", "incomplete", "the modified rate needs both rates")
    if case.flows is not None and case.finance_rate is not None:
        check.refuse("/finance_rate", "not_applicable", "the modified rate is of periodic flows")
    if case.flows is not None and case.periods_per_year != 1:
        check.refuse("/periods_per_year", "not_applicable", "dated flows have a rate a year")
    check.done()
    if case.currency_code is not None:
        currency(case.currency_code, pointer="/currency_code")
    dated = case.flows is not None
    outcome = _xirr(case) if dated else irr(case.cash_flows or (), case.periods_per_year)
    return Returns(
        method="xirr" if dated else "irr",
        status=outcome.status,
        rate=outcome.rate,
        rates=outcome.rates,
        effective_pa=outcome.effective_pa,
        nominal_pa=outcome.nominal_pa,
        reason=outcome.reason,
        sign_changes=outcome.sign_changes,
        npv=_present_value(case),
        mirr=_modified(case),
        conventions=outcome.conventions | _npv_convention(case),
        warnings=outcome.warnings,
    )


def _xirr(case: ReturnsCase) -> RateOutcome:
    flows = case.flows or ()
    for index, flow in enumerate(flows):
        if flow.currency_code is not None:
            currency(flow.currency_code, pointer=f"/flows/{index}/currency_code")
    default = case.currency_code or ""
    records = [DatedFlow(flow.date, flow.amount, flow.currency_code or default) for flow in flows]
    try:
        return xirr_of_flows(records)
    except InvalidInput as failure:
        raise InvalidInput([_of_flows(error) for error in failure.errors]) from failure


def _of_flows(error: FieldError) -> FieldError:
    if not error.pointer.endswith("/currency"):
        return error
    return msgspec.structs.replace(error, pointer=f"{error.pointer}_code")


def _present_value(case: ReturnsCase) -> float | None:
    if case.discount_rate is None:
        return None
    with renamed({"/rate": "/discount_rate"}):
        if case.flows is None:
            return npv(case.discount_rate, case.cash_flows or ())
        dates = [flow.date for flow in case.flows]
        return xnpv(case.discount_rate, dates, [flow.amount for flow in case.flows])


def _modified(case: ReturnsCase) -> float | None:
    if case.finance_rate is None or case.reinvest_rate is None:
        return None
    return mirr(case.cash_flows or (), case.finance_rate, case.reinvest_rate)


def _npv_convention(case: ReturnsCase) -> dict[str, str]:
    if case.discount_rate is None:
        return {}
    return {"npv": "the first flow is not discounted; for dated flows the earliest date"}


def _returns_rows(result: Returns) -> tuple[ReturnsRow, ...]:
    triples = zip(result.rates, result.effective_pa, result.nominal_pa, strict=True)
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
        )
        for rate, effective, nominal in tuple(triples) or ((None, None, None),)
    )


# Covenants


class CovenantCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A covenant and either its `ratios` (null where nothing is due) or the cash and the debt.

    Ratios and levels are exact decimals. With `coverage` the `metric` is DSCR, LLCR or PLCR and
    the ratios of the schedule are computed first.
    """

    lockup_below: Decimal
    default_below: Decimal | None = None
    lockup_release_at_or_above: Decimal | None = None
    waivers: tuple[Waiver, ...] = ()
    metric: str = "DSCR"
    ratios: tuple[Decimal | None, ...] | None = None
    coverage: CoverageCase | None = None


class Covenants(msgspec.Struct, frozen=True, kw_only=True):
    """All tests, the first breach of each level, and the ratios of a schedule that was given."""

    tests: tuple[CovenantTest, ...]
    first_lockup: int | None
    first_default: int | None
    final_state: str
    coverage: Coverage | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def calculate_covenants(case: CovenantCase) -> Covenants:
    """Test a covenant over its dates.

    Raises:
        InvalidInput: neither or both of ratios and coverage, or terms that do not fit.
    """
    if (case.ratios is None) == (case.coverage is None):
        raise InvalidInput.at("/ratios", "ambiguous", "give either ratios or coverage")
    covered: Coverage | None = None
    ratios = case.ratios or ()
    if case.coverage is not None:
        if case.metric not in _METRICS:
            listed = ", ".join(_METRICS)
            raise InvalidInput.at("/metric", "not_in_enum", f"with coverage one of {listed}")
        with renamed({"": "/coverage"}):
            covered = coverage(case.coverage)
        ratios = exact_series(getattr(covered, case.metric.lower()))
    terms = CovenantTerms(
        lockup_below=case.lockup_below,
        default_below=case.default_below,
        lockup_release_at_or_above=case.lockup_release_at_or_above,
        waivers=case.waivers,
        metric=case.metric,
    )
    # A ratio that was computed leads to the cash that it divides.
    with renamed({"/ratios": "/coverage/cfads"} if covered else {}):
        result: CovenantResult = run_covenant(terms, ratios)
    return Covenants(
        tests=result.tests,
        first_lockup=result.first_lockup,
        first_default=result.first_default,
        final_state=result.final_state,
        coverage=covered,
        conventions=result.conventions | (covered.conventions if covered else {}),
        warnings=result.warnings,
    )


# Day counts


class DayCountCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Periods to count under one convention; `frequency` serves ACT/ACT ICMA."""

    day_count: str
    periods: tuple[AccrualPeriod, ...]
    frequency: int | None = None


class DayCountRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period: first day included, last day excluded."""

    start: date
    end: date
    days: int
    year_fraction: float


class DayCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The rows and their sum."""

    rows: tuple[DayCountRow, ...]
    total_days: int
    total_year_fraction: float
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def calculate_day_counts(case: DayCountCase) -> DayCounts:
    """Days and year fraction of each period.

    Raises:
        InvalidInput: an unknown convention, no or too many periods, an end before its start, or
            an ICMA reference that does not fit.
    """
    rule = parse_day_count(case.day_count)
    check = Checker()
    check.size("/periods", len(case.periods), MAX_PERIODS)
    check.done()
    rows = []
    for index, period in enumerate(case.periods):
        frequency = period.frequency if period.frequency is not None else case.frequency
        whole = msgspec.structs.replace(period, frequency=frequency)
        counted = count_days(rule, whole, f"/periods/{index}")
        rows.append(
            DayCountRow(
                start=period.start,
                end=period.end,
                days=counted.days,
                year_fraction=counted.year_fraction,
            )
        )
    return DayCounts(
        rows=tuple(rows),
        total_days=sum(row.days for row in rows),
        total_year_fraction=sum(row.year_fraction for row in rows),
        conventions={"day_count": rule.value, "days": "first day included, last day excluded"},
    )


CALCULATORS: Final[dict[str, Calculator[Any, Any]]] = {
    "returns": Calculator(
        case=ReturnsCase,
        result=Returns,
        row=ReturnsRow,
        run=calculate_returns,
        rows=_returns_rows,
    ),
    "debt-sizing": Calculator(
        case=SizingCase,
        result=Sizing,
        row=SizingRow,
        run=size_debt,
        rows=lambda sizing: sizing.rows,
    ),
    "schedule": Calculator(
        case=ScheduleCase,
        result=Schedule,
        row=ScheduleRow,
        run=calculate_schedule,
        rows=lambda schedule: schedule.rows,
    ),
    "construction-funding": Calculator(
        case=ConstructionCase,
        result=ConstructionFunding,
        row=ConstructionRow,
        run=fund_construction,
        rows=lambda funding: funding.rows,
    ),
    "waterfall": Calculator(
        case=WaterfallCase,
        result=Waterfall,
        row=WaterfallRow,
        run=run_waterfall,
        rows=lambda waterfall: waterfall.rows,
    ),
    "covenants": Calculator(
        case=CovenantCase,
        result=Covenants,
        row=CovenantTest,
        run=calculate_covenants,
        rows=lambda covenants: covenants.tests,
    ),
    "day-count": Calculator(
        case=DayCountCase,
        result=DayCounts,
        row=DayCountRow,
        run=calculate_day_counts,
        rows=lambda counts: counts.rows,
    ),
}
"""Every calculator by the last segment of its path."""
