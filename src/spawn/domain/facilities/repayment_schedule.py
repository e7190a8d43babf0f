"""The schedule of a stored facility: what its terms and entries make due, by the finance engine.

The loan begins with its first draw or its opening position; later draws, fixings, margin steps,
repayments, forgiven principal and capitalised interest are events of it. What falls due is taken as
paid on its date: what a borrower has not paid is in arrears, and does not change the schedule.
Later interest goes on from what has accrued in the ledger.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec

from spawn.domain.facilities.facility import Facility, FacilityRepayment
from spawn.domain.facilities.facility_timeline import (
    RATE_UNITS,
    FacilityTimeline,
    annual_rate_units,
    build_timeline,
)
from spawn.domain.facilities.ledger import EntryKind, LedgerEntry
from spawn.domain.facilities.ledger_fold import LedgerFold
from spawn.domain.facilities.loan_projection import translate_repayment
from spawn.domain.finance.loans.loan_actuals import (
    LoanActuals,
    LoanCapitalisation,
    LoanDeferralSettlement,
    LoanRepayment,
)
from spawn.domain.finance.loans.loan_events import replay_loan
from spawn.domain.finance.loans.loan_results import LoanSchedule
from spawn.domain.finance.loans.loan_terms import LoanDraw, LoanTerms, PrepaymentEffect, RateReset
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule
from spawn.domain.money import get_exponent

_DRAW_KINDS: Final = frozenset({EntryKind.DRAW, EntryKind.OPENING})
_REPAYING_KINDS: Final = frozenset({EntryKind.PAYMENT, EntryKind.PREPAYMENT, EntryKind.WAIVER})


def build_repayment_schedule(
    facility: Facility, entries: Sequence[LedgerEntry], on: date | None = None
) -> LoanSchedule | None:
    """Return the schedule of a facility; None if nothing was drawn, or it is no loan.

    Interest that the terms capitalise joins the balance after the day by itself, and up to it as
    the entries say.

    Args:
        facility: the terms.
        entries: those in effect on the day, from `select_entries`, by value date.
        on: the day up to which the entries are known; by default that of the last one.

    Raises:
        Infeasible: the terms give no schedule, such as a payment below the interest.
    """
    timeline = build_timeline(facility)
    schedule, repayment = timeline.schedule, facility.repayment
    if schedule is None or schedule.dates is None or repayment is None:
        return None
    end = schedule.dates[-1]
    on = on or max((entry.value_date for entry in entries), default=date.min)
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
        accrued_interest=_find_accrued_interest(entries),
        **_translate_remaining(repayment, schedule, first_index, start),
    )
    remaining = _begin_schedule(timeline, schedule, first_index, start)
    return replay_loan(terms, remaining, _fold_actuals(timeline, entries, min(on, end)))


def find_first_draw(entries: Sequence[LedgerEntry]) -> date | None:
    """Return the day on which a loan begins; None before its first draw or opening position."""
    return next((e.value_date for e in entries if e.kind in _DRAW_KINDS), None)


def _fold_actuals(
    timeline: FacilityTimeline, entries: Sequence[LedgerEntry], on: date
) -> LoanActuals:
    """Return what a loan has repaid and capitalised up to a day, and its interest then."""
    facility = timeline.facility
    ledger = LedgerFold(facility, entries, traces=True)
    state = ledger.run(on)
    unit = 10 ** -get_exponent(facility.currency_code)
    effects = {entry.number: entry.effect for entry in entries}
    repayments, capitalisations = list[LoanRepayment](), list[LoanCapitalisation]()
    settlements = [
        LoanDeferralSettlement(
            date=line.day,
            amount=line.deferred_interest * unit,
            is_paid=line.kind == EntryKind.PAYMENT,
        )
        for line in ledger.lines
        if line.kind in _REPAYING_KINDS and line.deferred_interest
    ]
    for line in ledger.lines:
        if line.kind in _REPAYING_KINDS and line.principal:
            effect: PrepaymentEffect | None = None
            if line.kind != EntryKind.PAYMENT:
                effect = effects[line.number or 0] or "relevel"
            repayments.append(
                LoanRepayment(date=line.day, amount=line.principal * unit, effect=effect)
            )
        elif line.kind == EntryKind.CAPITALISATION:
            capitalisations.append(
                LoanCapitalisation(
                    date=line.day,
                    amount=line.amount * unit,
                    deferred_interest=line.deferred_interest * unit,
                    accrued_interest=line.accrued_interest * unit,
                )
            )
    interest = Fraction(state.interest_parts) / state.parts
    interest -= state.settled_interest + state.deferred_interest
    return LoanActuals(
        on=on,
        repayments=tuple(repayments),
        capitalisations=tuple(capitalisations),
        settlements=tuple(settlements),
        accrued_interest=float(interest) * unit,
        deferred_interest=state.deferred_interest * unit,
        levels_early_principal=facility.is_revolving,
        count_years=lambda start, end: float(
            Fraction(timeline.count_units(start, end), timeline.year_units)
        ),
        tolerance=unit / 2,
    )


def _sum_draws(entries: Sequence[LedgerEntry], on: date) -> Decimal:
    amounts = (e.amount for e in entries if e.kind in _DRAW_KINDS and e.value_date == on)
    return sum((amount for amount in amounts if amount is not None), Decimal(0))


def _list_draws(entries: Sequence[LedgerEntry], start: date) -> tuple[LoanDraw, ...]:
    days = dict.fromkeys(e.value_date for e in entries if e.kind in _DRAW_KINDS)
    return tuple(
        LoanDraw(date=day, amount=float(_sum_draws(entries, day))) for day in days if day > start
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
    repayment: FacilityRepayment, schedule: PeriodSchedule, first_index: int, start: date
) -> dict[str, Any]:
    """Return the repayment terms of the loan without the periods before it was drawn."""
    terms = translate_repayment(repayment)
    terms["grace_periods"] = max(repayment.grace_periods - first_index, 0)
    if repayment.custom_shares is not None:
        terms["custom_shares"] = tuple(map(float, repayment.custom_shares[first_index:]))
    payment_dates = dict(zip(schedule.accrual_dates or (), schedule.dates or (), strict=True))
    if repayment.principal_dates is not None:
        days = (payment_dates.get(day, day) for day in repayment.principal_dates)
        terms["principal_dates"] = tuple(day for day in days if day >= start)
    if repayment.interest_base_dates is not None:
        terms["interest_base_dates"] = tuple(
            day for day in repayment.interest_base_dates if day >= start
        )
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
