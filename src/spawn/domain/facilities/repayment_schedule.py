"""The schedule of a stored facility: what its terms and entries make due, by the finance engine.

The loan begins with its first draw or its opening position; later draws, fixings, margin steps,
prepayments and forgiven principal are events of it. What falls due is taken as paid on its date:
what a borrower has not paid is in arrears, and does not change the schedule.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec

from spawn.domain.errors import Infeasible
from spawn.domain.facilities.facility import Facility, FacilityRepayment
from spawn.domain.facilities.facility_timeline import (
    RATE_UNITS,
    FacilityTimeline,
    annual_rate_units,
    build_timeline,
)
from spawn.domain.facilities.ledger import EntryKind, LedgerEntry, WaivedPart
from spawn.domain.facilities.loan_projection import translate_repayment
from spawn.domain.finance.loans.loan_events import replay_loan
from spawn.domain.finance.loans.loan_results import LoanSchedule
from spawn.domain.finance.loans.loan_terms import (
    LoanDraw,
    LoanTerms,
    LoanTransfer,
    Prepayment,
    RateReset,
)
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule

_DRAW_KINDS: Final = frozenset({EntryKind.DRAW, EntryKind.OPENING})
_EXCEEDS_DEBT: Final = "exceeds_debt"


def build_repayment_schedule(
    facility: Facility, entries: Sequence[LedgerEntry]
) -> LoanSchedule | None:
    """Return the schedule of a facility; None if nothing was drawn, or it is no loan.

    Args:
        facility: the terms.
        entries: those in effect, from `select_entries`, by value date.

    Raises:
        Infeasible: the terms give no schedule, such as a payment below the interest.
    """
    timeline = build_timeline(facility)
    schedule, repayment = timeline.schedule, facility.repayment
    if schedule is None or schedule.dates is None or repayment is None:
        return None
    end = schedule.dates[-1]
    entries = [entry for entry in entries if entry.value_date < end]
    start = find_first_draw(entries)
    if start is None:
        return None
    first_index = bisect_right(schedule.dates, start) - 1
    terms = LoanTerms(
        principal=float(_sum_draws(entries, start)),
        annual_rates=_rate_on(facility, entries, start),
        rate_resets=_list_resets(timeline, entries, start) or None,
        draws=_list_draws(entries, start) or None,
        prepayments=_list_prepayments(entries) or None,
        accrued_interest=_find_accrued_interest(entries),
        **_translate_remaining(repayment, first_index, start),
    )
    return _replay(terms, _begin_schedule(timeline, schedule, first_index, start))


def find_first_draw(entries: Sequence[LedgerEntry]) -> date | None:
    """Return the day on which a loan begins; None before its first draw or opening position."""
    return next((e.value_date for e in entries if e.kind in _DRAW_KINDS), None)


def _replay(terms: LoanTerms, schedule: PeriodSchedule) -> LoanSchedule:
    """Replay a loan; a prepayment of more than is scheduled to be left ends it."""
    try:
        return replay_loan(terms, schedule)
    except Infeasible as error:
        first = error.errors[0]
        if first.code != _EXCEEDS_DEBT or not terms.prepayments:
            raise
        last = int(first.pointer.split("/")[2])
    day = terms.prepayments[last].date
    shorter = msgspec.structs.replace(
        terms,
        prepayments=tuple(one for one in terms.prepayments[:last] if one.date < day) or None,
        draws=tuple(one for one in terms.draws or () if one.date < day) or None,
        rate_resets=tuple(one for one in terms.rate_resets or () if one.date < day) or None,
        termination=LoanTransfer(date=day),
    )
    return replay_loan(shorter, schedule)


def _sum_draws(entries: Sequence[LedgerEntry], on: date) -> Decimal:
    amounts = (e.amount for e in entries if e.kind in _DRAW_KINDS and e.value_date == on)
    return sum((amount for amount in amounts if amount is not None), Decimal(0))


def _list_draws(entries: Sequence[LedgerEntry], start: date) -> tuple[LoanDraw, ...]:
    days = dict.fromkeys(e.value_date for e in entries if e.kind in _DRAW_KINDS)
    return tuple(
        LoanDraw(date=day, amount=float(_sum_draws(entries, day))) for day in days if day > start
    )


def _list_prepayments(entries: Sequence[LedgerEntry]) -> tuple[Prepayment, ...]:
    return tuple(
        Prepayment(
            date=entry.value_date,
            amount=float(entry.amount),
            effect=entry.effect or "relevel",
        )
        for entry in entries
        if entry.amount is not None
        and (
            entry.kind is EntryKind.PREPAYMENT
            or (entry.kind is EntryKind.WAIVER and entry.waived is WaivedPart.PRINCIPAL)
        )
    )


def _find_accrued_interest(entries: Sequence[LedgerEntry]) -> float | None:
    opening = next((e for e in entries if e.kind is EntryKind.OPENING), None)
    if opening is None or not opening.accrued_interest:
        return None
    return float(opening.accrued_interest)


def _rate_on(facility: Facility, entries: Sequence[LedgerEntry], on: date) -> float:
    fixings = [e.rate for e in entries if e.kind is EntryKind.RATE_FIXING and e.value_date <= on]
    return annual_rate_units(facility, fixings[-1] if fixings else None, on) / RATE_UNITS


def _list_resets(
    timeline: FacilityTimeline, entries: Sequence[LedgerEntry], start: date
) -> tuple[RateReset, ...]:
    """Return the rate from each fixing and margin step after the start on."""
    facility = timeline.facility
    end = timeline.due_dates[-1]
    days = {e.value_date for e in entries if e.kind is EntryKind.RATE_FIXING}
    if facility.rate is not None and facility.rate.curve is not None:
        days |= timeline.margin_dates
    return tuple(
        RateReset(date=day, annual_rate=_rate_on(facility, entries, day))
        for day in sorted(days)
        if start < day < end
    )


def _translate_remaining(
    repayment: FacilityRepayment, first_index: int, start: date
) -> dict[str, Any]:
    """Return the repayment terms of the loan without the periods before it was drawn."""
    terms = translate_repayment(repayment)
    terms["grace_periods"] = max(repayment.grace_periods - first_index, 0)
    if repayment.custom_shares is not None:
        terms["custom_shares"] = tuple(map(float, repayment.custom_shares[first_index:]))
    for name in ("principal_dates", "interest_base_dates"):
        days: tuple[date, ...] | None = getattr(repayment, name)
        if days is not None:
            terms[name] = tuple(day for day in days if day >= start)
    if repayment.capitalise_until is not None and repayment.capitalise_until <= start:
        del terms["capitalise_until"]
    if not terms["grace_periods"]:
        terms.pop("grace", None)
    return terms


def _begin_schedule(
    timeline: FacilityTimeline, schedule: PeriodSchedule, first_index: int, start: date
) -> PeriodSchedule:
    """Return the periods from the day on which the loan begins, the first perhaps in part."""
    dates, accrual_dates = schedule.dates or (), schedule.accrual_dates or ()
    remaining = schedule.take_periods(first_index, schedule.periods - first_index)
    if start == dates[first_index]:
        return remaining
    day = timeline.to_accrual_day(start)
    fraction = schedule.count_part(first_index + 1, day, accrual_dates[first_index + 1])
    return msgspec.structs.replace(
        remaining,
        accrual_fractions=(fraction, *remaining.accrual_fractions[1:]),
        dates=(start, *dates[first_index + 1 :]),
        accrual_dates=(day, *accrual_dates[first_index + 1 :]),
        unadjusted_dates=(day, *(schedule.unadjusted_dates or accrual_dates)[first_index + 1 :]),
    )
