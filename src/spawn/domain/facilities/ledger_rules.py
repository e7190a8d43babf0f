"""Rules of a ledger: how an entry is made, and how it is reversed.

An entry is checked against the ledger that it joins, at every value date: one that is valued in
the past may break a later day. Nothing ever changes an entry.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from spawn.domain.errors import (
    Conflict,
    Duplicate,
    FieldError,
    Infeasible,
    InvalidInput,
    NotFound,
)
from spawn.domain.facilities.facility import Facility, FacilityTermSheet, find_lenders
from spawn.domain.facilities.facility_rules import normalize_lenders
from spawn.domain.facilities.facility_timeline import build_timeline
from spawn.domain.facilities.ledger import (
    KINDS_WITHOUT_AMOUNT,
    MAX_ENTRIES,
    EntryFacts,
    EntryKind,
    LedgerEntry,
    RecordedEntry,
    build_entry_id,
    find_closed_date,
    select_entries,
    sort_in_effect,
)
from spawn.domain.facilities.ledger_fold import check_ledger, has_other_figures
from spawn.domain.facilities.principal_arrears import has_other_arrears
from spawn.domain.facilities.statement import PAID_KINDS
from spawn.domain.money import DECIMAL_CONTEXT, fit_amount
from spawn.domain.text import check_line, check_prose

MAX_EXTERNAL_KEY: Final = 200
MAX_EVIDENCE: Final = 2_000
MAX_ENTRY_REASON: Final = 1_000
"""Characters of the texts of an entry."""

_RATE_LIMITS: Final = (Decimal("-0.5"), Decimal(100))
_RATE_QUANTUM: Final = Decimal("1E-12")
_KINDS_WITHOUT_DEBT: Final = frozenset(
    {EntryKind.OPENING, EntryKind.DRAW, EntryKind.CANCELLATION, EntryKind.CLOSING}
)
_TERMS_OF_ERRORS: Final = {
    "exceeds_commitment": "/commitment",
    "ambiguous": "/repayment/balloon_share",
    "exceeds_due": "",
    "missing": "/payment_dates",
    "negative_balance": "",
    "no_rate": "/rate/curve",
    "out_of_range": "/payment_dates",
    "outside_availability": "/availability_start",
}
_FIELD_USES: Final = {
    "rate": (EntryKind.RATE_FIXING, "states the curve of a rate_fixing"),
    "accrued_interest": (EntryKind.OPENING, "belongs to an opening position"),
    "waived": (EntryKind.WAIVER, "names the part that a waiver forgives"),
    "effect": (EntryKind.PREPAYMENT, "says what a prepayment does to later payments"),
}


def build_entry(
    facility: Facility, history: Sequence[RecordedEntry], facts: EntryFacts, *, today: date
) -> LedgerEntry:
    """Return the next entry of a ledger.

    Args:
        facility: the terms.
        history: the ledger.
        facts: of the entry.
        today: the day of the clock; no period is closed before its end.

    Raises:
        InvalidInput: a field breaks a rule of its kind.
        Duplicate: another entry has the external key.
        Conflict: the ledger is full, or has an opening position already.
        Infeasible: the ledger would break a rule on a day, which the detail names.
    """
    errors: list[FieldError] = []
    if facts.kind is EntryKind.REVERSAL:
        detail = "an entry is reversed at its own address"
        errors.append(FieldError("/kind", "not_applicable", detail))
    if not facility.kind.is_debt and facts.kind not in _KINDS_WITHOUT_DEBT:
        detail = f"serves debt; {facility.kind} bears no interest and is not repaid"
        errors.append(FieldError("/kind", "not_applicable", detail))
    _check_fields(facility, facts, errors)
    amount, accrued = _fit_amounts(facility, facts, errors)
    _check_texts(facts, errors)
    _check_day(facility, facts, errors)
    _check_not_late(facility, facts, today, errors)
    _check_opening(facility, facts, errors)
    if errors:
        raise InvalidInput(errors)
    entry = _number_entry(
        facility,
        history,
        msgspec.structs.replace(facts, amount=amount, accrued_interest=accrued),
        reverses=None,
    )
    in_effect = select_entries(history)
    _check_order(in_effect, entry)
    _check_whole(facility, history, entry)
    return entry


def build_reversal(
    facility: Facility, history: Sequence[RecordedEntry], number: int, facts: EntryFacts
) -> LedgerEntry:
    """Return the reversal of an entry: the same value date, the amount with the opposite sign.

    Args:
        facility: the terms.
        history: the ledger.
        number: of the entry.
        facts: the texts of the reversal; its reason says why.

    Raises:
        NotFound: the ledger has no such entry.
        Conflict: the entry is a reversal, or reversed already.
        Infeasible: a later day needs the entry; the detail names it.
    """
    if not 1 <= number <= len(history):
        raise NotFound("The ledger has no entry of this number.")
    entry = history[number - 1].entry
    if entry.reverses is not None:
        raise Conflict(f"Entry {number} is a reversal: record a new entry instead.")
    earlier = next((e.entry.number for e in history if e.entry.reverses == number), None)
    if earlier is not None:
        raise Conflict(f"Entry {number} is reversed already, by entry {earlier}.")
    errors: list[FieldError] = []
    _check_texts(facts, errors)
    if errors:
        raise InvalidInput(errors)
    opposite = None if entry.amount is None else -entry.amount
    facts = msgspec.structs.replace(
        facts, kind=EntryKind.REVERSAL, value_date=entry.value_date, amount=opposite
    )
    reversal = _number_entry(facility, history, facts, reverses=number)
    _check_whole(facility, history, reversal)
    return reversal


def check_amendment(before: Facility, after: Facility, history: Sequence[RecordedEntry]) -> None:
    """Check that the entries of a ledger keep every rule under other terms.

    Raises:
        InvalidInput: the currency or the kind changes although there are entries, or an entry lies
            outside the time of the facility.
        Infeasible: a day breaks a rule; the detail names it.
        Conflict: the figures of closed periods would change.
    """
    if not history or not _changes_ledger(before, after):
        return
    errors = [
        FieldError(f"/{name}", "not_changeable", "the ledger has entries; create a new facility")
        for name in ("currency_code", "kind")
        if getattr(before, name) != getattr(after, name)
    ]
    in_effect = select_entries(history)
    for entry in in_effect:
        errors += _list_new_errors(before, after, entry)
    if errors:
        raise InvalidInput([_locate_term(error) for error in errors])
    try:
        check_ledger(after, in_effect)
    except Infeasible as error:
        raise Infeasible([_locate_term(one) for one in error.errors]) from error
    last_closed = find_closed_date(in_effect)
    if last_closed is not None and (
        has_other_figures(before, after, in_effect, last_closed)
        or has_other_arrears(before, after, in_effect, last_closed)
        or _has_other_lenders(before, after, in_effect, last_closed)
    ):
        raise Conflict(
            f"The periods up to {last_closed} are closed, and these terms change their figures: "
            "state them from a later date on, or reverse the closing."
        )


def _changes_ledger(before: Facility, after: Facility) -> bool:
    """Whether a term differs that a ledger can rest on: neither the name nor the rank is one."""
    names = set(FacilityTermSheet.__struct_fields__) - {"name", "rank"}
    return any(getattr(before, name) != getattr(after, name) for name in names)


def _list_new_errors(before: Facility, after: Facility, entry: LedgerEntry) -> list[FieldError]:
    """Return the errors of an entry under other terms that it does not have already."""
    before_and_after: list[list[FieldError]] = []
    for facility in (before, after):
        errors: list[FieldError] = []
        _check_day(facility, entry, errors)
        _check_opening(facility, entry, errors)
        before_and_after.append(errors)
    old = {(error.pointer, error.code) for error in before_and_after[0]}
    return [error for error in before_and_after[1] if (error.pointer, error.code) not in old]


def _has_other_lenders(
    before: Facility, after: Facility, entries: Sequence[LedgerEntry], until: date
) -> bool:
    """Whether a payment up to a day would be allocated to other lenders, or by other shares."""
    days = {one.value_date for one in entries if one.kind in PAID_KINDS and one.value_date <= until}
    return any(
        normalize_lenders(find_lenders(before, day)) != normalize_lenders(find_lenders(after, day))
        for day in days
    )


def _locate_term(error: FieldError) -> FieldError:
    """Return an error of an entry at the term that it is checked against."""
    pointer = _TERMS_OF_ERRORS.get(error.code, error.pointer)
    return msgspec.structs.replace(error, pointer=pointer)


def _number_entry(
    facility: Facility,
    history: Sequence[RecordedEntry],
    facts: EntryFacts,
    *,
    reverses: int | None,
) -> LedgerEntry:
    """Return the entry with its number; one in a closed period is a restatement."""
    if len(history) >= MAX_ENTRIES:
        raise Conflict(f"The ledger has {MAX_ENTRIES} entries and takes no more.")
    key = facts.external_key
    if key is not None and any(each.entry.external_key == key for each in history):
        raise Duplicate("Another entry of the ledger has this external key.")
    last_closed = find_closed_date(select_entries(history))
    is_restatement = last_closed is not None and facts.value_date <= last_closed
    if is_restatement and facts.reason is None:
        detail = f"is required: the periods up to {last_closed} are closed"
        raise InvalidInput.at("/reason", "missing", detail)
    if is_restatement and facts.kind is EntryKind.CLOSING:
        detail = f"must be after {last_closed}, up to which the periods are closed"
        raise InvalidInput.at("/value_date", "out_of_order", detail)
    number = len(history) + 1
    members = {name: getattr(facts, name) for name in EntryFacts.__struct_fields__}
    return LedgerEntry(
        **members,
        entry_id=build_entry_id(facility.facility_id, number),
        facility_id=facility.facility_id,
        project_id=facility.project_id,
        number=number,
        currency_code=facility.currency_code,
        reverses=reverses,
        is_restatement=is_restatement,
    )


def _check_fields(facility: Facility, facts: EntryFacts, errors: list[FieldError]) -> None:
    """Append an error for each field that the kind has no use for, or lacks."""
    for name, (kind, use) in _FIELD_USES.items():
        if getattr(facts, name) is not None and facts.kind is not kind:
            errors.append(FieldError(f"/{name}", "not_applicable", use))
    if facts.kind is EntryKind.WAIVER and facts.waived is None:
        errors.append(FieldError("/waived", "missing", "must name the part that is forgiven"))
    if facts.kind is EntryKind.RATE_FIXING:
        if facility.rate is not None and facility.rate.curve is None:
            detail = "serves a rate on a curve; the rate of this facility is fixed"
            errors.append(FieldError("/kind", "not_applicable", detail))
        _check_rate(facts.rate, errors)


def _check_rate(rate: Decimal | None, errors: list[FieldError]) -> None:
    low, high = _RATE_LIMITS
    if rate is None:
        errors.append(FieldError("/rate", "missing", "a fixing states the rate of the curve"))
    elif not rate.is_finite() or not low <= rate <= high:
        detail = f"must be a fraction per annum from {low} to {high}"
        errors.append(FieldError("/rate", "out_of_range", detail))
    elif rate.quantize(_RATE_QUANTUM, None, DECIMAL_CONTEXT) != rate:
        errors.append(FieldError("/rate", "too_precise", "must have at most 12 decimals"))


def _fit_amounts(
    facility: Facility, facts: EntryFacts, errors: list[FieldError]
) -> tuple[Decimal | None, Decimal | None]:
    """Return amount and accrued interest at the scale of the currency."""
    amounts: list[Decimal | None] = []
    for name in ("amount", "accrued_interest"):
        value: Decimal | None = getattr(facts, name)
        try:
            amounts.append(
                None
                if value is None
                else fit_amount(value, facility.currency_code, pointer=f"/{name}")
            )
        except InvalidInput as error:
            errors.extend(error.errors)
            return None, None
    amount, accrued = amounts
    if facts.kind in KINDS_WITHOUT_AMOUNT:
        if amount is not None:
            detail = f"a {facts.kind} has no amount"
            errors.append(FieldError("/amount", "not_applicable", detail))
    elif amount is None:
        errors.append(FieldError("/amount", "missing", "is required"))
    elif amount <= 0:
        errors.append(FieldError("/amount", "not_positive", "must be above 0"))
    if accrued is not None and accrued < 0:
        errors.append(FieldError("/accrued_interest", "out_of_range", "must not be negative"))
    return amount, accrued


def _check_texts(facts: EntryFacts, errors: list[FieldError]) -> None:
    if facts.external_key is not None:
        check_line(facts.external_key, "/external_key", MAX_EXTERNAL_KEY, errors)
    if facts.evidence is not None:
        check_prose(facts.evidence, "/evidence", MAX_EVIDENCE, errors)
    if facts.reason is not None:
        check_prose(facts.reason, "/reason", MAX_ENTRY_REASON, errors)
        if not facts.reason.strip():
            errors.append(FieldError("/reason", "empty", "must not be empty"))


def _check_day(facility: Facility, facts: EntryFacts, errors: list[FieldError]) -> None:
    """Append an error if an entry's day is outside the time of the facility."""
    day, kind = facts.value_date, facts.kind
    first, last = facility.availability_start, facility.availability_end
    if kind is EntryKind.DRAW and not first <= day <= last:
        detail = f"a draw falls in the availability period, from {first} to {last}"
        errors.append(FieldError("/value_date", "outside_availability", detail))
    schedule = build_timeline(facility).schedule
    start = first if schedule is None or schedule.dates is None else schedule.dates[0]
    if kind not in {EntryKind.DRAW, EntryKind.OPENING} and day < start:
        detail = f"must not be before {start}, when the facility begins"
        errors.append(FieldError("/value_date", "out_of_range", detail))
    if kind is EntryKind.OPENING and schedule is not None and schedule.dates is not None:
        start, end = schedule.dates[0], schedule.dates[-1]
        if not start <= day < end:
            detail = f"must be from {start} to the day before the maturity on {end}"
            errors.append(FieldError("/value_date", "out_of_range", detail))


def _check_not_late(
    facility: Facility, facts: EntryFacts, today: date, errors: list[FieldError]
) -> None:
    """Append an error of a closing in the future, or of a day after today and the last one."""
    last = max(facility.maturity_date or facility.availability_end, today)
    if facts.kind is EntryKind.CLOSING and facts.value_date > today:
        detail = f"must not be after {today}: a period is closed when it is over"
        errors.append(FieldError("/value_date", "in_the_future", detail))
    elif facts.kind is not EntryKind.DRAW and facts.value_date > last:
        detail = f"must not be after {last}, the last day of the facility or today"
        errors.append(FieldError("/value_date", "out_of_range", detail))


def _check_opening(facility: Facility, facts: EntryFacts, errors: list[FieldError]) -> None:
    """Append the errors of an opening position: its interest, and a balloon that it cannot tell.

    Within a period interest has accrued, which no later entry could state.
    """
    if facts.kind is not EntryKind.OPENING:
        return
    timeline, repayment = build_timeline(facility), facility.repayment
    if timeline.schedule is None:
        if facts.accrued_interest is not None:
            detail = f"serves debt; {facility.kind} bears no interest"
            errors.append(FieldError("/accrued_interest", "not_applicable", detail))
        return
    bears_interest = facility.rate is None or facility.rate.fixed_rate != 0
    is_within = facts.value_date not in (timeline.schedule.dates or ())
    if facts.accrued_interest is None and is_within and bears_interest:
        detail = f"is required: {facts.value_date} is no payment date; give 0 if none has accrued"
        errors.append(FieldError("/accrued_interest", "missing", detail))
    if repayment is not None and repayment.balloon_share:
        detail = (
            "an opening position does not tell what was drawn, of which balloon_share is a share: "
            "amend the terms to balloon, an amount"
        )
        errors.append(FieldError("/kind", "ambiguous", detail))


def _check_order(in_effect: Sequence[LedgerEntry], entry: LedgerEntry) -> None:
    """Check that an opening position is the first movement, and a day has one fixing.

    Raises:
        Conflict: a second opening position, or a second fixing of one day.
        InvalidInput: a movement before the opening position.
    """
    opening = next((e for e in in_effect if e.kind is EntryKind.OPENING), None)
    movements = [e for e in in_effect if e.kind not in KINDS_WITHOUT_AMOUNT]
    if entry.kind is EntryKind.OPENING:
        if opening is not None:
            raise Conflict(f"The ledger has an opening position already, entry {opening.number}.")
        _check_not_after(entry.value_date, min((e.value_date for e in movements), default=None))
    elif entry.kind not in KINDS_WITHOUT_AMOUNT and opening is not None:
        if entry.value_date < opening.value_date:
            detail = f"must not be before the opening position on {opening.value_date}"
            raise InvalidInput.at("/value_date", "out_of_order", detail)
    elif entry.kind is EntryKind.RATE_FIXING:
        same = next(
            (e for e in in_effect if e.kind is entry.kind and e.value_date == entry.value_date),
            None,
        )
        if same is not None:
            raise Conflict(f"Entry {same.number} fixes the rate of this day already: reverse it.")


def _check_not_after(day: date, first_movement: date | None) -> None:
    if first_movement is not None and day > first_movement:
        detail = f"an opening position comes first; the ledger has an entry on {first_movement}"
        raise InvalidInput.at("/value_date", "out_of_order", detail)


def _check_whole(facility: Facility, history: Sequence[RecordedEntry], entry: LedgerEntry) -> None:
    """Check the ledger with the entry at every value date.

    Raises:
        Infeasible: a day breaks a rule; the detail names it.
    """
    whole = [*(each.entry for each in history), entry]
    check_ledger(facility, sort_in_effect(whole))
