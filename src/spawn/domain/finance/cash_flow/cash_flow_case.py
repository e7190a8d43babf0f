"""Input of a cash flow build-up: the case, its checks, and its time."""

from collections.abc import Sequence
from datetime import date
from typing import Final, NamedTuple, Protocol

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.cash_flow.cash_flow_lines import (
    AvailabilityPayment,
    CapitalCost,
    LineChecker,
    OperatingCost,
    RevenueLine,
)
from spawn.domain.finance.cash_flow.price_index import (
    PriceIndex,
    check_price_index,
    compute_index_factors,
)
from spawn.domain.finance.limits import MAX_AMOUNT, MAX_PERIODS, FieldChecker
from spawn.domain.finance.tax.tax_terms import TaxTerms, check_tax_terms
from spawn.domain.finance.time_base.period_bounds import PeriodBounds, find_period_bounds
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    TimeTerms,
    resolve_schedule,
)

MAX_LINES = 100
"""Lines of one kind, at most."""

MAX_INDICES = 20
"""Price indices of a case, at most."""

_MAX_WORKING_CAPITAL_DAYS: Final = 366.0


class WorkingCapital(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days of revenue not yet received and of operating costs not yet paid."""

    receivable_days: float = 0.0
    payable_days: float = 0.0


class CashFlowCase(TimeTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Revenues and costs of a project, from which its CFADS follow.

    Time is that of `TimeTerms` without a `day_count`, because amounts a year count months; without
    dates or accruals `period_count` says how many periods there are. The concession ends after
    `concession_periods` or on `concession_end`: revenue and operating cost stop there, and the
    working capital is released. `tax_paid` is a tax for each period; with `tax` it is computed on
    EBITDA less the deductions and the given `interest` of each period.
    """

    period_count: int | None = None
    indices: tuple[PriceIndex, ...] = ()
    revenues: tuple[RevenueLine, ...] = ()
    availability_payments: tuple[AvailabilityPayment, ...] = ()
    operating_costs: tuple[OperatingCost, ...] = ()
    capital_costs: tuple[CapitalCost, ...] = ()
    working_capital: WorkingCapital | None = None
    concession_periods: int | None = None
    concession_end: date | None = None
    tax_paid: tuple[float, ...] | None = None
    tax: TaxTerms | None = None
    interest: tuple[float, ...] | None = None


class CashFlowInputs(NamedTuple):
    """The case with its time resolved: index factors by name, and the share of each period.

    `operating_shares` are 1 until the concession ends; `active_periods` counts the periods that
    it reaches into.
    """

    case: CashFlowCase
    schedule: PeriodSchedule
    bounds: PeriodBounds
    index_factors: dict[str, tuple[float, ...]]
    operating_shares: tuple[float, ...]
    active_periods: int

    def active_shares(self, first: int, last: int | None = None) -> tuple[float, ...]:
        """Return the operating share of each period of a line, zero outside its periods."""
        end = self.schedule.periods if last is None else last
        return tuple(
            share if first <= number <= end else 0.0
            for number, share in enumerate(self.operating_shares, start=1)
        )


def resolve_cash_flow_inputs(
    case: CashFlowCase, schedule: PeriodSchedule | None = None
) -> CashFlowInputs:
    """Validate the case, and resolve its time and its indices.

    Args:
        case: the lines, and their time unless a schedule is given.
        schedule: the periods of a larger case that the lines are a part of.

    Raises:
        InvalidInput: names each field outside its limits.
    """
    if schedule is None:
        schedule = _resolve_time(case)
    _check_lines(case, schedule)
    bounds = find_period_bounds(schedule)
    factors = {
        index.name: compute_index_factors(index, bounds, f"/indices/{number}")
        for number, index in enumerate(case.indices)
    }
    shares = count_contract_shares(bounds, case.concession_periods, case.concession_end)
    return CashFlowInputs(
        case=case,
        schedule=schedule,
        bounds=bounds,
        index_factors=factors,
        operating_shares=shares,
        active_periods=sum(share > 0.0 for share in shares),
    )


def count_contract_shares(
    bounds: PeriodBounds, periods: int | None, end: date | None
) -> tuple[float, ...]:
    """Return the share of each period before an end, given as a number of periods or a day."""
    count = len(bounds.years) - 1
    if end is not None:
        return bounds.shares_between(0.0, bounds.locate(end))
    last = count if periods is None else periods
    return (1.0,) * last + (0.0,) * (count - last)


def _resolve_time(case: CashFlowCase) -> PeriodSchedule:
    """Resolve the time; periods without dates or accruals need their number."""
    count = case.period_count
    if count is not None and not 1 <= count <= MAX_PERIODS:
        detail = f"must be a number from 1 to {MAX_PERIODS}"
        raise InvalidInput.at("/period_count", "out_of_range", detail)
    if case.day_count is not None:
        detail = "has no use: amounts a year count months, and no interest accrues; remove it"
        raise InvalidInput.at("/day_count", "not_applicable", detail)
    kinds = (case.payment_dates, case.dates, case.accruals)
    if count is None and all(kind is None for kind in kinds):
        detail = "is the number of periods; give it, or dates, payment_dates or accruals"
        raise InvalidInput.at("/period_count", "required", detail)
    schedule = resolve_schedule(case, None if case.dates or case.payment_dates else count)
    if count is not None and count != schedule.periods:
        detail = f"is {count}, but the time has {schedule.periods} periods; correct or remove it"
        raise InvalidInput.at("/period_count", "contradiction", detail)
    return schedule


def _check_lines(case: CashFlowCase, schedule: PeriodSchedule) -> None:
    checker = FieldChecker()
    index_names = _check_names(checker, "/indices", case.indices, MAX_INDICES)
    for number, index in enumerate(case.indices[:MAX_INDICES]):
        check_price_index(checker, f"/indices/{number}", index, schedule)
    lines = LineChecker(checker, schedule, index_names)
    revenue_names = _check_names(checker, "/revenues", case.revenues, MAX_LINES)
    _check_names(checker, "/availability_payments", case.availability_payments, MAX_LINES)
    _check_names(checker, "/operating_costs", case.operating_costs, MAX_LINES)
    _check_names(checker, "/capital_costs", case.capital_costs, MAX_LINES)
    for number, revenue in enumerate(case.revenues[:MAX_LINES]):
        lines.check_revenue(f"/revenues/{number}", revenue)
    for number, payment in enumerate(case.availability_payments[:MAX_LINES]):
        lines.check_availability(f"/availability_payments/{number}", payment)
    for number, cost in enumerate(case.operating_costs[:MAX_LINES]):
        lines.check_operating_cost(f"/operating_costs/{number}", cost, revenue_names)
    for number, capital_cost in enumerate(case.capital_costs[:MAX_LINES]):
        lines.check_capital_cost(f"/capital_costs/{number}", capital_cost)
    if not (case.revenues or case.availability_payments or case.operating_costs):
        detail = "has no line; give revenues, availability_payments or operating_costs"
        checker.reject("/revenues", "required", detail)
    lines.check_end("", "concession", case.concession_periods, case.concession_end)
    _check_indices_in_use(checker, case)
    _check_amounts(checker, case, schedule)
    checker.raise_errors()


class NamedLine(Protocol):
    """A line or an index with its name."""

    @property
    def name(self) -> str:
        """The name, of which a list has one each."""
        ...


def _check_names(
    checker: FieldChecker,
    pointer: str,
    lines: Sequence[NamedLine],
    maximum: int,
) -> frozenset[str]:
    """Return the names of lines; reject empty and repeated ones, and too many lines."""
    checker.require_size(pointer, len(lines), maximum, 0)
    names: set[str] = set()
    for number, line in enumerate(lines[:maximum]):
        if not line.name.strip():
            checker.reject(f"{pointer}/{number}/name", "empty", "must not be empty")
        elif line.name in names:
            detail = "another one of the list has this name; give each its own"
            checker.reject(f"{pointer}/{number}/name", "duplicate", detail)
        names.add(line.name)
    return frozenset(names)


def _check_indices_in_use(checker: FieldChecker, case: CashFlowCase) -> None:
    """Reject an index to which no line refers."""
    names = {line.index for line in case.revenues}
    names |= {line.merchant_index for line in case.revenues}
    names |= {line.index for line in case.availability_payments}
    names |= {line.index for line in case.operating_costs}
    names |= {line.index for line in case.capital_costs}
    for number, index in enumerate(case.indices[:MAX_INDICES]):
        if index.name not in names:
            detail = "no line refers to this index; refer to it, or remove it"
            checker.reject(f"/indices/{number}", "not_applicable", detail)


def _check_amounts(checker: FieldChecker, case: CashFlowCase, schedule: PeriodSchedule) -> None:
    if case.working_capital is not None:
        days, capital = _MAX_WORKING_CAPITAL_DAYS, case.working_capital
        pointer = "/working_capital"
        checker.require_number(f"{pointer}/receivable_days", capital.receivable_days, 0.0, days)
        checker.require_number(f"{pointer}/payable_days", capital.payable_days, 0.0, days)
    if case.tax_paid is not None and checker.require_length(
        "/tax_paid", case.tax_paid, schedule.periods
    ):
        checker.require_each("/tax_paid", case.tax_paid, -MAX_AMOUNT, MAX_AMOUNT)
    if case.interest is not None and checker.require_length(
        "/interest", case.interest, schedule.periods
    ):
        checker.require_each("/interest", case.interest, -MAX_AMOUNT, MAX_AMOUNT)
    if case.tax is not None:
        check_tax_terms(checker, "/tax", case.tax, find_period_bounds(schedule))
        if case.tax_paid is not None:
            checker.reject("/tax_paid", "ambiguous", "tax computes it; give one of them")
    elif case.interest is not None:
        checker.reject("/interest", "not_applicable", "is deducted from a tax; give tax too")
