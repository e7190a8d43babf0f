"""Actual CFADS of a project: one fact a period, corrected by later facts, read as of a time.

All periods of a project are one aggregate, so that two facts can neither overlap nor be recorded
at once unseen. Each version of it is the knowledge at a time; the journal has them all.
"""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Final

import msgspec

from spawn.domain.covenants.cash_periods import (
    MAX_CASE_PERIODS,
    CashPeriod,
    check_amounts,
    fit_period,
)
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.money import get_exponent
from spawn.domain.text import check_line, check_prose

ACTUALS_KIND: Final = "cfads_actual"
ACTUALS_RECORDED_EVENT: Final = "cfads_actual.recorded"
"""Kind of the aggregate, whose id is that of the project, and its event."""

MAX_EVIDENCE, MAX_CORRECTION_REASON = 200, 1_000
"""Characters of the texts of a fact."""


class ActualPeriod(CashPeriod, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The actual cash of a period; its value date is the last day.

    `recorded_version` is the version of the actuals with this fact; its time is when it was known.
    `reason` is that of a correction.
    """

    evidence: str | None = None
    reason: str | None = None
    recorded_version: int = 0


class CfadsActuals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The newest facts of a project by period, in the order of dates and without an overlap."""

    project_id: str
    currency_code: str
    periods: tuple[ActualPeriod, ...] = ()


def record_actuals(
    actuals: CfadsActuals, facts: Sequence[ActualPeriod], *, version: int
) -> CfadsActuals:
    """Return the actuals with new facts; one of a period that is known corrects it.

    Raises:
        InvalidInput: a correction without a reason, a fact that overlaps another period, two facts
            of a period, or an invalid amount; every violation at once.
    """
    errors: list[FieldError] = []
    get_exponent(actuals.currency_code, pointer="/currency_code")
    periods = {(period.starts_on, period.ends_on): period for period in actuals.periods}
    before = dict(periods)
    new_keys: set[tuple[date, date]] = set()
    for index, fact in enumerate(facts):
        key, pointer = (fact.starts_on, fact.ends_on), f"/periods/{index}"
        _check_fact(fact, actuals.currency_code, pointer, errors)
        if key in new_keys:
            errors.append(FieldError(f"{pointer}/starts_on", "duplicate", "is the period of two"))
        if key in before and not (fact.reason or "").strip():
            detail = f"is required: {fact.starts_on} to {fact.ends_on} is recorded already"
            errors.append(FieldError(f"{pointer}/reason", "required", detail))
        new_keys.add(key)
        periods[key] = msgspec.structs.replace(fact, recorded_version=version)
    ordered = [periods[key] for key in sorted(periods)]
    if len(ordered) > MAX_CASE_PERIODS:
        detail = f"a project has at most {MAX_CASE_PERIODS} periods of actuals"
        errors.append(FieldError("/periods", "too_many", detail))
    if not errors:
        _check_overlaps(ordered, facts, errors)
    if errors:
        raise InvalidInput(errors)
    fitted_periods = tuple(_fit(period, actuals.currency_code) for period in ordered)
    return msgspec.structs.replace(actuals, periods=fitted_periods)


def _fit(period: ActualPeriod, currency_code: str) -> ActualPeriod:
    fitted_period = fit_period(period, currency_code)
    if not isinstance(fitted_period, ActualPeriod):
        raise TypeError("a period keeps its type")
    return fitted_period


def _check_fact(
    fact: ActualPeriod, currency_code: str, pointer: str, errors: list[FieldError]
) -> None:
    if fact.ends_on < fact.starts_on:
        errors.append(FieldError(f"{pointer}/ends_on", "date_order", "is before starts_on"))
    check_amounts(fact, currency_code, pointer, errors)
    if fact.evidence is not None:
        check_line(fact.evidence, f"{pointer}/evidence", MAX_EVIDENCE, errors)
    if fact.reason is not None:
        check_prose(fact.reason, f"{pointer}/reason", MAX_CORRECTION_REASON, errors)


def _check_overlaps(
    periods: Sequence[ActualPeriod], facts: Sequence[ActualPeriod], errors: list[FieldError]
) -> None:
    indexes = {(fact.starts_on, fact.ends_on): index for index, fact in enumerate(facts)}
    for earlier, later in pairwise(periods):
        if later.starts_on > earlier.ends_on:
            continue
        index = indexes.get((later.starts_on, later.ends_on))
        other = earlier
        if index is None:
            index, other = indexes[earlier.starts_on, earlier.ends_on], later
        detail = f"overlaps the period {other.starts_on} to {other.ends_on}"
        errors.append(FieldError(f"/periods/{index}/starts_on", "overlap", detail))


def select_known(actuals: CfadsActuals, on: date) -> tuple[ActualPeriod, ...]:
    """Return the periods that have ended by a day."""
    return tuple(period for period in actuals.periods if period.ends_on <= on)
