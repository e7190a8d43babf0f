"""Cash flows that the schedules of a portfolio's facilities make due after a day.

Figures of the engine are rounded once: the closing balance of each date to the minor unit, and the
amortisation is the difference, so that the amortisation of a facility adds up to what is
outstanding of it. Payments of principal and interest are rounded cumulatively.
"""

import calendar
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

import msgspec

from spawn.domain.facilities.facility import Facility
from spawn.domain.facilities.facility_timeline import build_timeline
from spawn.domain.facilities.ledger import RecordedEntry, select_entries
from spawn.domain.facilities.ledger_fold import LedgerPosition, fold
from spawn.domain.facilities.principal_arrears import find_principal_dues
from spawn.domain.finance.loans.loan_results import LoanSchedule
from spawn.domain.money import get_exponent
from spawn.domain.portfolios.exposure import round_part
from spawn.domain.portfolios.held_facility import HeldFacility

DAYS_A_YEAR: Final = 365
"""Days of a year of the weighted average life (ACT/365)."""


class FlowInterval(StrEnum):
    """The length of the periods of a forecast: calendar months, quarters or years."""

    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"

    @property
    def months(self) -> int:
        """Months of a period."""
        return {FlowInterval.MONTH: 1, FlowInterval.QUARTER: 3, FlowInterval.YEAR: 12}[self]

    def period_of(self, day: date) -> int:
        """Return the number of the period that a day falls in."""
        return (day.year * 12 + day.month - 1) // self.months

    def start_of(self, period: int) -> date:
        """Return the first day of a period."""
        year, month = divmod(period * self.months, 12)
        return date(year, month + 1, 1)

    def end_of(self, period: int) -> date:
        """Return the last day of a period."""
        start = self.start_of(period)
        month = start.month + self.months - 1
        return date(start.year, month, calendar.monthrange(start.year, month)[1])


class ScheduledFlow(msgspec.Struct, frozen=True, kw_only=True):
    """Payments that fall due on a day, in minor units.

    `amortisation` reduces the balance; it is below zero where interest is capitalised.
    """

    day: date
    amortisation: int
    principal: int
    interest: int


class FacilityForecast(msgspec.Struct, frozen=True, kw_only=True):
    """The flows of a part after a day, and its balance, in minor units of its currency.

    outstanding = overdue + unscheduled + the amortisation of all flows. `annual_rate` and `margin`
    are fractions; `repricing_on` is the day on which a floating rate is fixed next, or the
    maturity of a fixed one; None if nothing is scheduled. `no_schedule_reason` says why the terms
    give no schedule; all that is not known to be overdue is unscheduled then.
    """

    outstanding: int
    overdue: int
    unscheduled: int
    flows: tuple[ScheduledFlow, ...]
    annual_rate: Decimal
    margin: Decimal
    is_floating: bool
    repricing_on: date | None
    no_schedule_reason: str | None = None


def forecast_facility(
    part: HeldFacility, ledger: Sequence[RecordedEntry], on: date
) -> FacilityForecast:
    """Return the flows after a day that the terms and the entries up to it make due.

    A floating rate is that of the last fixing; what is undrawn is taken as not drawn.

    Args:
        part: the facility and the share of it that is held.
        ledger: the entries of the facility.
        on: the day.
    """
    return forecast_share(part.facility, part.holding.ratio, ledger, on)


def forecast_share(
    facility: Facility, share: Fraction, ledger: Sequence[RecordedEntry], on: date
) -> FacilityForecast:
    """Return the flows of a share of a facility, as `forecast_facility`."""
    entries = select_entries(ledger, on)
    position = fold(facility, entries, on)
    code = facility.currency_code
    outstanding = round_part(position.balance, share, code)
    if not outstanding:
        return _build_forecast(facility, position, 0, 0)
    dues = find_principal_dues(facility, entries, on)
    repaid = position.repaid - position.prepaid
    arrears = dues.measure_arrears(on, repaid, position.balance)
    overdue = 0 if arrears is None else round_part(arrears, share, code)
    flows: tuple[ScheduledFlow, ...] = ()
    if dues.schedule is not None:
        scale = share * 10 ** get_exponent(code)
        flows = _list_flows(dues.schedule, on, scale, outstanding - overdue)
    return _build_forecast(facility, position, outstanding, overdue, flows, dues.no_schedule_reason)


def _build_forecast(
    facility: Facility,
    position: LedgerPosition,
    outstanding: int,
    overdue: int,
    flows: tuple[ScheduledFlow, ...] = (),
    no_schedule_reason: str | None = None,
) -> FacilityForecast:
    on = position.on
    is_floating = facility.rate is not None and facility.rate.curve is not None
    due_dates = build_timeline(facility).due_dates
    later = [day for day in due_dates if day > on]
    repricing_on = None
    if later:
        repricing_on = later[0] if is_floating else later[-1]
    amortisation = sum(flow.amortisation for flow in flows)
    return FacilityForecast(
        outstanding=outstanding,
        overdue=overdue,
        unscheduled=outstanding - overdue - amortisation,
        flows=flows,
        annual_rate=position.annual_rate,
        margin=_find_margin(facility, on),
        is_floating=is_floating,
        repricing_on=repricing_on,
        no_schedule_reason=no_schedule_reason,
    )


def _find_margin(facility: Facility, on: date) -> Decimal:
    rate = facility.rate
    if rate is None or rate.curve is None:
        return Decimal(0)
    steps = [step.margin for step in rate.margin_steps if step.from_date <= on]
    return steps[-1] if steps else rate.margin


def list_schedule_flows(schedule: LoanSchedule, currency_code: str) -> tuple[ScheduledFlow, ...]:
    """Return the flows of a whole schedule, day by day, in minor units.

    A draw is an amortisation below zero, so that the sum of all is what is left at the end.
    """
    return _list_flows(schedule, date.min, Fraction(10 ** get_exponent(currency_code)), 0)


def _list_flows(
    schedule: LoanSchedule, on: date, scale: Fraction, balance: int
) -> tuple[ScheduledFlow, ...]:
    """Return the flows after a day, day by day.

    Args:
        schedule: of the whole facility, in major units.
        on: the day.
        scale: minor units of the part for one major unit of the facility.
        balance: minor units that the flows amortise.
    """
    payments = {"principal": Fraction(0), "interest": Fraction(0)}
    flows: list[ScheduledFlow] = []
    principal = interest = 0
    for day, closing, amounts in _group_by_day(schedule, on):
        for kind, amount in amounts.items():
            payments[kind] += amount
        closing_units = round(closing * scale)
        principal_units, interest_units = (round(payments[k] * scale) for k in payments)
        flows.append(
            ScheduledFlow(
                day=day,
                amortisation=balance - closing_units,
                principal=principal_units - principal,
                interest=interest_units - interest,
            )
        )
        balance, principal, interest = closing_units, principal_units, interest_units
    return tuple(flows)


def _group_by_day(
    schedule: LoanSchedule, on: date
) -> list[tuple[date, Fraction, dict[str, Fraction]]]:
    """Return each day after `on` with its closing balance and its payments."""
    days: dict[date, tuple[Fraction, dict[str, Fraction]]] = {}
    for event in schedule.events:
        if event.date is None or event.date <= on:
            continue
        _, amounts = days.get(event.date, (Fraction(0), {}))
        if event.kind in {"principal", "interest"}:
            amounts[event.kind] = amounts.get(event.kind, Fraction(0)) + Fraction(event.cash_flow)
        days[event.date] = (Fraction(event.balance), amounts)
    return [(day, *days[day]) for day in sorted(days)]


def measure_average_life(flows: Iterable[tuple[date, Fraction]], on: date) -> Fraction | None:
    """Return the weighted average life in years (ACT/365): Σ t·P / Σ P; None without principal.

    Args:
        flows: days with the principal that is amortised on them, in one currency.
        on: the day from which time counts.
    """
    total = weighted_sum = Fraction(0)
    for day, amount in flows:
        total += amount
        weighted_sum += amount * (day - on).days
    return weighted_sum / total / DAYS_A_YEAR if total else None


def measure_average(values: Sequence[tuple[Decimal, Fraction]]) -> Fraction | None:
    """Return the average of values weighted by amounts; None without any amount."""
    total = sum((weight for _, weight in values), Fraction(0))
    if not total:
        return None
    return sum((Fraction(value) * weight for value, weight in values), Fraction(0)) / total
