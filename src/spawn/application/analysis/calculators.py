"""The table of stateless calculators: a case in, figures, schedule, conventions, warnings out.

A case of several domain steps (dates, then a loan on them; ratios, then a covenant) is composed
here, and the errors of the steps are rewritten for the case: each pointer leads to a field of the
request.
"""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar

import msgspec

from spawn.application.analysis.error_pointers import rewrite_pointers
from spawn.application.analysis.rate_warnings import warn_of_rate_fields
from spawn.application.analysis.returns_calculator import (
    ReturnsCase,
    ReturnsResult,
    ReturnsRow,
    calculate_returns,
    list_returns_rows,
)
from spawn.application.analysis.schedule_calculator import (
    ScheduleCase,
    ScheduleResult,
    ScheduleRow,
    calculate_schedule,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.cash_flow.cash_flow_build_up import build_cash_flow
from spawn.domain.finance.cash_flow.cash_flow_case import CashFlowCase
from spawn.domain.finance.cash_flow.cash_flow_result import CashFlowResult, CashFlowRow
from spawn.domain.finance.construction.construction_case import ConstructionCase
from spawn.domain.finance.construction.construction_funding import fund_construction
from spawn.domain.finance.construction.construction_result import (
    ConstructionFunding,
    ConstructionRow,
)
from spawn.domain.finance.covenants import (
    CovenantOutcome,
    CovenantTerms,
    CovenantTest,
    WaiverRange,
    run_covenant_tests,
    to_exact_decimals,
)
from spawn.domain.finance.coverage_ratios import (
    CoverageCase,
    CoverageRatios,
    compute_coverage_ratios,
)
from spawn.domain.finance.deal.deal_case import DealCase
from spawn.domain.finance.deal.deal_result import DealResult, DealRow
from spawn.domain.finance.deal.joined_deal import model_deal
from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import SizingCase
from spawn.domain.finance.limits import MAX_PERIODS, FieldChecker
from spawn.domain.finance.sizing.sizing_result import SizingResult, SizingRow
from spawn.domain.finance.time_base.business_calendar import BusinessCalendar, check_calendar
from spawn.domain.finance.time_base.day_count import (
    AccrualPeriod,
    DayCount,
    count_days,
    is_notional_period,
    parse_day_count,
)
from spawn.domain.finance.waterfall.cash_waterfall import run_waterfall
from spawn.domain.finance.waterfall.waterfall_case import WaterfallCase
from spawn.domain.finance.waterfall.waterfall_result import WaterfallResult, WaterfallRow

CaseT = TypeVar("CaseT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound=msgspec.Struct)

_METRICS: Final = ("DSCR", "LLCR", "PLCR")


class Calculator(msgspec.Struct, Generic[CaseT, ResultT], frozen=True, kw_only=True):
    """A calculator: its case and result types, its function, and its table rows.

    `line_count` is the number of further series in a result that are as long as its rows.
    """

    case: type[CaseT]
    result: type[ResultT]
    row: type[msgspec.Struct]
    solve: Callable[[CaseT], ResultT]
    rows: Callable[[ResultT], tuple[Any, ...]]
    line_count: Callable[[ResultT], int] = lambda _result: 0

    def run(self, case: CaseT) -> ResultT:
        """Return the result of a case, with a warning of each rate above 100 %.

        Raises:
            InvalidInput: names each field outside its limits.
        """
        result = self.solve(case)
        warnings = tuple(warn_of_rate_fields(case))
        if not warnings:
            return result
        earlier_warnings: tuple[str, ...] = result.warnings  # type: ignore[attr-defined]  # each has
        return msgspec.structs.replace(result, warnings=earlier_warnings + warnings)


# Covenants


class CovenantCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A covenant and either its `ratios` (null where nothing is due) or the cash and the debt.

    Ratios and levels are exact decimals. With `coverage` the `metric` is DSCR, LLCR or PLCR and
    the ratios of the schedule are computed first.
    """

    lockup_below: Decimal
    default_below: Decimal | None = None
    lockup_release_at_or_above: Decimal | None = None
    waivers: tuple[WaiverRange, ...] = ()
    metric: str = "DSCR"
    ratios: tuple[Decimal | None, ...] | None = None
    coverage: CoverageCase | None = None


class CovenantResult(msgspec.Struct, frozen=True, kw_only=True):
    """All tests, the first breach of each level, and the ratios of a given schedule."""

    tests: tuple[CovenantTest, ...]
    first_lockup: int | None
    first_default: int | None
    final_state: str
    coverage: CoverageRatios | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def calculate_covenants(case: CovenantCase) -> CovenantResult:
    """Test a covenant over its dates.

    Raises:
        InvalidInput: neither or both of ratios and coverage, or terms outside their limits.
    """
    if (case.ratios is None) == (case.coverage is None):
        raise InvalidInput.at("/ratios", "ambiguous", "give exactly one of ratios and coverage")
    coverage: CoverageRatios | None = None
    ratios = case.ratios or ()
    if case.coverage is not None:
        if case.metric not in _METRICS:
            metrics = ", ".join(_METRICS)
            raise InvalidInput.at(
                "/metric", "not_in_enum", f"with coverage must be one of {metrics}"
            )
        with rewrite_pointers({"": "/coverage"}):
            coverage = compute_coverage_ratios(case.coverage)
        ratios = to_exact_decimals(_select_ratios(coverage, case))
    terms = CovenantTerms(
        lockup_below=case.lockup_below,
        default_below=case.default_below,
        lockup_release_at_or_above=case.lockup_release_at_or_above,
        waivers=case.waivers,
        metric=case.metric,
    )
    # An error of a computed ratio points to its numerator.
    with rewrite_pointers({"/ratios": "/coverage/cfads"} if coverage else {}):
        outcome: CovenantOutcome = run_covenant_tests(terms, ratios)
    return CovenantResult(
        tests=outcome.tests,
        first_lockup=outcome.first_lockup,
        first_default=outcome.first_default,
        final_state=outcome.final_state,
        coverage=coverage,
        conventions=outcome.conventions | (coverage.conventions if coverage else {}),
        warnings=outcome.warnings + (coverage.warnings if coverage else ()),
    )


def _select_ratios(coverage: CoverageRatios, case: CovenantCase) -> tuple[float | None, ...]:
    """Return the ratios of the metric; those of windows where the case has one."""
    if coverage.window_dscr is None:
        ratios: tuple[float | None, ...] = getattr(coverage, case.metric.lower())
        return ratios
    if case.metric != "DSCR":
        detail = "serves the DSCR; a life cover ratio looks ahead to maturity"
        looks_back = case.coverage is not None and case.coverage.look_back_months is not None
        name = "look_back_months" if looks_back else "look_ahead_months"
        raise InvalidInput.at(f"/coverage/{name}", "not_applicable", detail)
    return coverage.window_dscr


# Day counts


class DayCountCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Periods to count under one convention.

    `frequency` serves ACT/ACT ICMA and ACT/365L, where a period has none of its own, `calendar`
    BUS/252.
    """

    day_count: str
    periods: tuple[AccrualPeriod, ...]
    frequency: int | None = None
    calendar: BusinessCalendar | None = None


class DayCountRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period: first day included, last day excluded."""

    start: date
    end: date
    days: int
    year_fraction: float


class DayCountResult(msgspec.Struct, frozen=True, kw_only=True):
    """The rows and their sum."""

    rows: tuple[DayCountRow, ...]
    total_days: int
    total_year_fraction: float
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def calculate_day_counts(case: DayCountCase) -> DayCountResult:
    """Calculate days and year fraction of each period.

    Raises:
        InvalidInput: an unknown convention, no or too many periods, an end before its start, an
            invalid ICMA reference, or a field that the convention has no use for.
    """
    convention = parse_day_count(case.day_count)
    _check_day_count_fields(case, convention)
    rows = []
    for index, period in enumerate(case.periods):
        frequency = period.frequency if period.frequency is not None else case.frequency
        complete_period = msgspec.structs.replace(period, frequency=frequency)
        length = count_days(convention, complete_period, f"/periods/{index}", case.calendar)
        rows.append(
            DayCountRow(
                start=period.start,
                end=period.end,
                days=length.days,
                year_fraction=length.year_fraction,
            )
        )
    return DayCountResult(
        rows=tuple(rows),
        total_days=sum(row.days for row in rows),
        total_year_fraction=sum(row.year_fraction for row in rows),
        conventions={
            "day_count": convention.value,
            "days": "first day included, last day excluded",
        },
    )


_FIELDS_OF_CONVENTIONS: Final = {
    "frequency": frozenset({DayCount.ACT_ACT_ICMA, DayCount.ACT_365L}),
    "reference_start": frozenset({DayCount.ACT_ACT_ICMA, DayCount.ACT_365L}),
    "reference_end": frozenset({DayCount.ACT_ACT_ICMA, DayCount.ACT_365L}),
    "maturity": frozenset({DayCount.THIRTY_E_360_ISDA}),
}
"""The conventions that use a field of a period."""

_FREQUENCIES: Final = frozenset({1, 2, 3, 4, 6, 12})


def _check_day_count_fields(case: DayCountCase, convention: DayCount) -> None:
    checker = FieldChecker()
    checker.require_size("/periods", len(case.periods), MAX_PERIODS)
    has_no_use = f"has no use under {convention.value}"
    if case.frequency is not None and convention not in _FIELDS_OF_CONVENTIONS["frequency"]:
        checker.reject("/frequency", "not_applicable", has_no_use)
    elif case.frequency is not None and case.frequency not in _FREQUENCIES:
        checker.reject("/frequency", "out_of_range", "must divide 12")
    for index, period in enumerate(case.periods[:MAX_PERIODS]):
        for name, conventions in _FIELDS_OF_CONVENTIONS.items():
            if getattr(period, name) is not None and convention not in conventions:
                checker.reject(f"/periods/{index}/{name}", "not_applicable", has_no_use)
        frequency = period.frequency if period.frequency is not None else case.frequency
        if frequency is not None and frequency in _FREQUENCIES:
            _check_reference(checker, f"/periods/{index}", period, frequency, convention)
    if convention is DayCount.BUS_252 and case.calendar is None:
        checker.reject("/calendar", "required", "BUS/252 counts its business days")
    elif convention is DayCount.BUS_252 and case.calendar is not None:
        check_calendar(checker, "/calendar", case.calendar)
    elif case.calendar is not None:
        checker.reject("/calendar", "not_applicable", has_no_use)
    checker.raise_errors()


def _check_reference(
    checker: FieldChecker, pointer: str, period: AccrualPeriod, frequency: int, rule: DayCount
) -> None:
    """Reject a reference period apart from its period, or of another length than the frequency."""
    start, end = period.reference_start, period.reference_end
    if start is None or end is None or end <= start:
        return
    if rule is DayCount.ACT_365L:
        if not start <= period.start <= period.end <= end:
            detail = f"the coupon period from {start} to {end} does not contain the period"
            checker.reject(f"{pointer}/reference_end", "contradiction", detail)
    elif end < period.start or start > period.end:
        detail = f"the reference period from {start} to {end} is apart from the period"
        checker.reject(f"{pointer}/reference_start", "contradiction", detail)
    elif not is_notional_period(start, end, frequency):
        detail = f"the reference period has {(end - start).days} days, but {frequency} are a year"
        checker.reject(f"{pointer}/reference_end", "contradiction", detail)


CALCULATORS: Final[dict[str, Calculator[Any, Any]]] = {
    "returns": Calculator(
        case=ReturnsCase,
        result=ReturnsResult,
        row=ReturnsRow,
        solve=calculate_returns,
        rows=list_returns_rows,
    ),
    "cash-flow": Calculator(
        case=CashFlowCase,
        result=CashFlowResult,
        row=CashFlowRow,
        solve=build_cash_flow,
        rows=lambda cash_flow: cash_flow.rows,
        line_count=lambda cash_flow: len(cash_flow.lines),
    ),
    "debt-sizing": Calculator(
        case=SizingCase,
        result=SizingResult,
        row=SizingRow,
        solve=size_debt,
        rows=lambda sizing: sizing.rows,
        line_count=lambda sizing: len(sizing.facilities),
    ),
    "schedule": Calculator(
        case=ScheduleCase,
        result=ScheduleResult,
        row=ScheduleRow,
        solve=calculate_schedule,
        rows=lambda schedule: schedule.rows,
    ),
    "construction-funding": Calculator(
        case=ConstructionCase,
        result=ConstructionFunding,
        row=ConstructionRow,
        solve=fund_construction,
        rows=lambda funding: funding.rows,
        line_count=lambda funding: len(funding.facilities),
    ),
    "deal": Calculator(
        case=DealCase,
        result=DealResult,
        row=DealRow,
        solve=model_deal,
        rows=lambda deal: deal.rows,
        line_count=lambda deal: 1 + len(deal.facilities),
    ),
    "waterfall": Calculator(
        case=WaterfallCase,
        result=WaterfallResult,
        row=WaterfallRow,
        solve=run_waterfall,
        rows=lambda waterfall: waterfall.rows,
    ),
    "covenants": Calculator(
        case=CovenantCase,
        result=CovenantResult,
        row=CovenantTest,
        solve=calculate_covenants,
        rows=lambda covenants: covenants.tests,
    ),
    "day-count": Calculator(
        case=DayCountCase,
        result=DayCountResult,
        row=DayCountRow,
        solve=calculate_day_counts,
        rows=lambda counts: counts.rows,
    ),
}
"""Calculators by the last segment of their paths."""
