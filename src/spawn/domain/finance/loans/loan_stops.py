"""The stops of a loan: the boundaries of its periods and every date on which something happens."""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import date

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.loans.loan_actuals import LoanActuals
from spawn.domain.finance.loans.loan_terms import LoanTerms
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule


class LoanStop(msgspec.Struct, frozen=True, kw_only=True):
    """A point in time and what happens there; `fraction` is the year fraction since the last one.

    `period` is the one that ends at the stop or runs through it. `draws` are those after the first;
    `prepayments` are indices into the terms.
    """

    day: date | None
    period: int
    fraction: float
    pays_interest: bool
    pays_principal: bool
    capitalises: bool
    draws: tuple[float, ...]
    prepayments: tuple[int, ...]
    reset_rate: float | None
    renews_base: bool
    is_take_over: bool
    is_termination: bool


def build_loan_stops(
    terms: LoanTerms, schedule: PeriodSchedule, actuals: LoanActuals | None = None
) -> list[LoanStop]:
    """Return the stops of a loan, from the start to the last payment.

    With actuals a period ends on its payment date, as in a ledger, and each day of a fact is a
    stop; without them it ends on its accrual date.

    Raises:
        InvalidInput: an annuity with principal on a day on which it pays no interest.
    """
    if schedule.accrual_dates is None:
        return [
            _build_stop(terms, schedule, None, number, tau, is_boundary=True)
            for number, tau in enumerate((0.0, *schedule.accrual_fractions))
        ]
    if actuals is None:
        boundaries, days = schedule.accrual_dates, set(_event_days(terms, schedule))
    else:
        boundaries = schedule.dates or schedule.accrual_dates
        days = set(_actual_days(terms, actuals, boundaries))
    stops: list[LoanStop] = []
    before = boundaries[0]
    for day in sorted({*boundaries, *days}):
        number = bisect_left(boundaries, day)
        if not number:
            fraction = 0.0
        elif actuals is None:
            fraction = schedule.count_part(number, before, day)
        else:
            fraction = actuals.count_years(before, day)
        is_boundary = boundaries[number] == day
        stops.append(_build_stop(terms, schedule, day, number, fraction, is_boundary=is_boundary))
        before = day
    _check_annuity_dates(terms, stops)
    return stops


def _event_days(terms: LoanTerms, schedule: PeriodSchedule) -> Iterator[date]:
    """Yield the days of events; one on a payment date is at the end of that accrual period."""
    accrual_day_of = dict(zip(schedule.dates or (), schedule.accrual_dates or (), strict=True))
    for day in _term_days(terms):
        yield accrual_day_of.get(day, day)


def _actual_days(
    terms: LoanTerms, actuals: LoanActuals, boundaries: tuple[date, ...]
) -> Iterator[date]:
    """Yield the days of events, of facts, and the last day of the facts, within the loan."""
    yield from _term_days(terms)
    days = {actuals.on, *(fact.date for fact in actuals.repayments)}
    days |= {fact.date for fact in actuals.capitalisations}
    days |= {fact.date for fact in actuals.settlements}
    for day in days:
        if boundaries[0] <= day < boundaries[-1]:
            yield day


def _term_days(terms: LoanTerms) -> list[date]:
    days: list[date] = [*(terms.principal_dates or ()), *(terms.interest_base_dates or ())]
    for events in (terms.rate_resets, terms.draws, terms.prepayments):
        days.extend(event.date for event in events or ())
    days.extend(transfer.date for transfer in (terms.take_over, terms.termination) if transfer)
    if terms.capitalise_until is not None:
        days.append(terms.capitalise_until)
    return days


def _build_stop(
    terms: LoanTerms,
    schedule: PeriodSchedule,
    day: date | None,
    number: int,
    fraction: float,
    *,
    is_boundary: bool,
) -> LoanStop:
    names = _names_of(schedule, day, number, is_boundary=is_boundary)
    is_last = number == schedule.periods and is_boundary
    draws = [draw.amount for draw in terms.draws or () if draw.date in names]
    if isinstance(terms.principal, tuple) and is_boundary and 0 < number < len(terms.principal):
        draws.append(terms.principal[number])
    resets = [reset.annual_rate for reset in terms.rate_resets or () if reset.date in names]
    return LoanStop(
        day=schedule.dates[number] if schedule.dates and is_boundary else day,
        period=max(number, 1),
        fraction=fraction,
        pays_interest=is_boundary and number > 0,
        pays_principal=is_last or _pays_principal(terms, names, number, is_boundary=is_boundary),
        capitalises=_capitalises(terms, day, number, is_boundary=is_boundary),
        draws=tuple(draws),
        prepayments=tuple(
            index for index, event in enumerate(terms.prepayments or ()) if event.date in names
        ),
        reset_rate=resets[0] if resets else None,
        renews_base=any(day in names for day in terms.interest_base_dates or ()),
        is_take_over=terms.take_over is not None and terms.take_over.date in names,
        is_termination=terms.termination is not None and terms.termination.date in names,
    )


def _names_of(
    schedule: PeriodSchedule, day: date | None, number: int, *, is_boundary: bool
) -> frozenset[date | None]:
    """Return the dates by which events may name a stop: its accrual day and its payment date."""
    payment_date = schedule.dates[number] if schedule.dates and is_boundary else day
    return frozenset({day, payment_date} - {None})


def _pays_principal(
    terms: LoanTerms, names: frozenset[date | None], number: int, *, is_boundary: bool
) -> bool:
    if terms.profile == "bullet":
        return False
    if terms.principal_dates is not None:
        return any(day in names for day in terms.principal_dates)
    return is_boundary and number > terms.grace_periods


def _capitalises(terms: LoanTerms, day: date | None, number: int, *, is_boundary: bool) -> bool:
    """Return whether the accrued interest joins the balance at this stop."""
    until = terms.capitalise_until
    if until is not None and day is not None:
        return day == until or (is_boundary and number > 0 and day < until)
    return terms.grace == "capitalised" and is_boundary and 0 < number <= terms.grace_periods


def _check_annuity_dates(terms: LoanTerms, stops: list[LoanStop]) -> None:
    for stop in stops[1:]:
        if terms.profile == "annuity" and stop.pays_principal and not stop.pays_interest:
            detail = f"{stop.day} is no payment date, and an annuity pays principal with interest"
            raise InvalidInput.at("/principal_dates", "off_roll", detail)
