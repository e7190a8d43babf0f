"""Periods of cash that follow one another without a gap, with exact amounts.

A period includes both of its days; the next one starts on the day after. Each message names the
period by its number, counted from 1, so that a reader finds it in a table of the case.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from spawn.domain.dates import add_months
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.money import DECIMAL_CONTEXT, fit_amount, get_exponent
from spawn.domain.text import check_line, escape_pointer_token

MAX_CASE_PERIODS: Final = 480
"""Periods of one case or of the actuals: forty years of months."""

MAX_CASE_LINES: Final = 40
MAX_LINE_NAME: Final = 64
"""Lines of one period, and characters of the name of one."""

_ONE_DAY: Final = timedelta(days=1)
_NO_LINES: Final[Mapping[str, Decimal]] = {}


class CashPeriod(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cash of the days from `starts_on` to `ends_on`, both included, in major units.

    `cfads` may be negative. `interest` and `principal` are given together; a period without them
    has no debt service. `lines` are the parts of `cfads` by name, receipts positive: their sum is
    exactly `cfads`.
    """

    starts_on: date
    ends_on: date
    cfads: Decimal
    interest: Decimal | None = None
    principal: Decimal | None = None
    lines: Mapping[str, Decimal] = _NO_LINES

    @property
    def debt_service(self) -> Decimal:
        """Interest and principal; zero without them."""
        return add_exactly((self.interest or Decimal(0), self.principal or Decimal(0)))


def add_exactly(amounts: Sequence[Decimal]) -> Decimal:
    """Return the sum of amounts, unrounded in every context of the thread."""
    total = Decimal(0)
    for amount in amounts:
        total = DECIMAL_CONTEXT.add(total, amount)
    return total


def next_day(day: date) -> date:
    """Return the day after; the last day that a date can have stays itself."""
    return day if day == date.max else day + _ONE_DAY


def check_periods(
    periods: Sequence[CashPeriod], currency_code: str, errors: list[FieldError]
) -> None:
    """Append the errors of periods: their number, their order and their amounts."""
    if not 1 <= len(periods) <= MAX_CASE_PERIODS:
        detail = f"must have 1 to {MAX_CASE_PERIODS} periods"
        errors.append(FieldError("/periods", "wrong_length", detail))
        return
    try:
        get_exponent(currency_code, pointer="/currency_code")
    except InvalidInput as error:
        errors.extend(error.errors)
        return
    before: CashPeriod | None = None
    for index, period in enumerate(periods):
        _check_period(period, before, index, errors)
        check_amounts(period, currency_code, f"/periods/{index}", errors)
        before = period


def _check_period(
    period: CashPeriod, before: CashPeriod | None, index: int, errors: list[FieldError]
) -> None:
    pointer, number = f"/periods/{index}", index + 1
    if period.ends_on < period.starts_on:
        detail = f"period {number} ends before it starts on {period.starts_on}"
        errors.append(FieldError(f"{pointer}/ends_on", "date_order", detail))
    if before is None:
        return
    expected_day = next_day(before.ends_on)
    if period.starts_on != expected_day or period.starts_on <= before.ends_on:
        is_gap = period.starts_on > expected_day
        code, relation = ("gap", "a gap after") if is_gap else ("overlap", "an overlap with")
        detail = (
            f"period {number} starts on {period.starts_on}: {relation} period {index},"
            f" which ends on {before.ends_on}; it must start on {expected_day}"
        )
        errors.append(FieldError(f"{pointer}/starts_on", code, detail))


def check_amounts(
    period: CashPeriod, currency_code: str, pointer: str, errors: list[FieldError]
) -> None:
    """Append the errors of the amounts of one period."""
    named_amounts = [("cfads", period.cfads), *_list_service(period)]
    named_amounts += [
        (f"lines/{escape_pointer_token(name)}", amount) for name, amount in period.lines.items()
    ]
    count = len(errors)
    for name, amount in named_amounts:
        try:
            fit_amount(amount, currency_code, pointer=f"{pointer}/{name}")
        except InvalidInput as error:
            errors.extend(error.errors)
    if (period.interest is None) is not (period.principal is None):
        name = "interest" if period.interest is None else "principal"
        detail = "interest and principal are given together; one that is not paid is 0"
        errors.append(FieldError(f"{pointer}/{name}", "missing", detail))
    for name, amount in _list_service(period):
        if amount < 0:
            errors.append(FieldError(f"{pointer}/{name}", "out_of_range", "must be 0 or more"))
    if len(errors) == count:
        _check_lines(period, pointer, errors)


def _list_service(period: CashPeriod) -> list[tuple[str, Decimal]]:
    parts = (("interest", period.interest), ("principal", period.principal))
    return [(name, amount) for name, amount in parts if amount is not None]


def _check_lines(period: CashPeriod, pointer: str, errors: list[FieldError]) -> None:
    if not period.lines:
        return
    if len(period.lines) > MAX_CASE_LINES:
        detail = f"must have at most {MAX_CASE_LINES} lines"
        errors.append(FieldError(f"{pointer}/lines", "too_many", detail))
    for name in period.lines:
        check_line(name, f"{pointer}/lines/{escape_pointer_token(name)}", MAX_LINE_NAME, errors)
    total = add_exactly(tuple(period.lines.values()))
    if total != period.cfads:
        detail = f"the lines add up to {total}; correct a line, or cfads"
        errors.append(FieldError(f"{pointer}/cfads", "contradiction", detail))


def fit_period(period: CashPeriod, currency_code: str) -> CashPeriod:
    """Return a valid period with every amount at the scale of its currency."""

    def fit(amount: Decimal) -> Decimal:
        return fit_amount(amount, currency_code)

    return msgspec.structs.replace(
        period,
        cfads=fit(period.cfads),
        interest=None if period.interest is None else fit(period.interest),
        principal=None if period.principal is None else fit(period.principal),
        lines={name: fit(amount) for name, amount in period.lines.items()},
    )


def trailing_window(
    periods: Sequence[CashPeriod], ends_on: date, months: int
) -> tuple[CashPeriod, ...] | None:
    """Return the periods of the months that end on a day; None unless they fill them exactly."""
    last = next((n for n, period in enumerate(periods) if period.ends_on == ends_on), None)
    if last is None:
        return None
    end = next_day(ends_on)
    for first in range(last, -1, -1):
        if _spans(periods[first].starts_on, end, months):
            return tuple(periods[first : last + 1])
    return None


def forward_window(
    periods: Sequence[CashPeriod], after: date, months: int
) -> tuple[CashPeriod, ...] | None:
    """Return the periods of the months after a day; None unless they fill them exactly."""
    start = next_day(after)
    first = next((n for n, period in enumerate(periods) if period.starts_on == start), None)
    if first is None:
        return None
    for last in range(first, len(periods)):
        if _spans(start, next_day(periods[last].ends_on), months):
            return tuple(periods[first : last + 1])
    return None


def _spans(start: date, end: date, months: int) -> bool:
    """Whether it is so many months from one day to another; a month's last day may be clamped."""
    try:
        return add_months(start, months) == end or add_months(end, -months) == start
    except InvalidInput:  # beyond the calendar
        return False
