"""Dates, instants and periods: strict and bounded, without a clock or a local time zone."""

import calendar
import re
from datetime import UTC, date, datetime, time

import msgspec

from spawn.domain.errors import InvalidInput

MIN_YEAR, MAX_YEAR = 1, 9999
"""The years of a date: those of RFC 3339 in the proleptic Gregorian calendar."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.([0-9]+))?"
    r"([Zz]|[+-][0-9]{2}:[0-5][0-9])?"
)
_MICROSECOND_DIGITS = 6
_MAX_FRACTION_DIGITS = 24
_MONTHS_A_YEAR = 12


def parse_date(text: str, *, pointer: str = "") -> date:
    """Parse a `YYYY-MM-DD` date.

    Raises:
        InvalidInput: `not_a_date` for another form, `out_of_range` for a day that does not exist.
    """
    if _DATE.fullmatch(text) is None:
        raise InvalidInput.at(pointer, "not_a_date", "a date is written YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput.at(pointer, "out_of_range", f"there is no day {text}") from error


def parse_instant(text: str, *, pointer: str = "") -> datetime:
    """Parse an RFC 3339 instant with offset into an aware datetime in UTC.

    The precision is one microsecond: further digits are accepted only if they are zeros.

    Raises:
        InvalidInput: `not_an_instant`, `naive_time` without an offset, `too_precise`, or
            `out_of_range` for a time that does not exist or leaves the years 1 to 9999 in UTC.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise InvalidInput.at(
            pointer, "not_an_instant", "an instant is written like 2030-01-31T12:00:00Z (RFC 3339)"
        )
    fraction, offset = match.groups(default="")
    if not offset:
        raise InvalidInput.at(pointer, "naive_time", "a time needs an offset, such as Z or +01:00")
    if len(fraction) > _MAX_FRACTION_DIGITS or fraction[_MICROSECOND_DIGITS:].strip("0"):
        raise InvalidInput.at(pointer, "too_precise", "a time has at most 6 decimals of a second")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput.at(pointer, "out_of_range", f"there is no instant {text}") from error


def format_log_time(instant: datetime) -> str:
    """Return an instant in the one form of logs: UTC, `Z`, always six decimals, so it sorts."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def format_instant(instant: datetime) -> str:
    """Return RFC 3339 text in UTC with `Z`; the instant must be aware."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def add_months(day: date, months: int) -> date:
    """Return the same day `months` later (or earlier), at most the last of its month.

    Raises:
        InvalidInput: `out_of_range` outside the years 1 to 9999.
    """
    year, month = divmod(day.year * _MONTHS_A_YEAR + day.month - 1 + months, _MONTHS_A_YEAR)
    if not MIN_YEAR <= year <= MAX_YEAR:
        raise InvalidInput.at(
            "", "out_of_range", f"{months} months from {day} leave the years 1 to 9999"
        )
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last))


class Period(msgspec.Struct, frozen=True):
    """The days from `start` (included) to `end` (excluded); never empty.

    Raises:
        InvalidInput: `date_order` unless start < end.
    """

    start: date
    end: date

    def __post_init__(self) -> None:
        """Raise if the period is empty or reversed."""
        if not self.start < self.end:
            raise InvalidInput.at(
                "/end", "date_order", f"a period ends after it starts: {self.start} to {self.end}"
            )

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    def overlaps(self, other: "Period") -> bool:
        """Whether both periods share at least one day."""
        return self.start < other.end and other.start < self.end

    @property
    def days(self) -> int:
        """The number of days, ≥ 1."""
        return (self.end - self.start).days

    @property
    def months(self) -> int:
        """The number of whole months, counted from `start` by `add_months`."""
        count = (self.end.year - self.start.year) * _MONTHS_A_YEAR
        count += self.end.month - self.start.month
        return count if add_months(self.start, count) <= self.end else count - 1


def parse_moment(text: str, *, pointer: str = "", is_start: bool = False) -> datetime:
    """Return the instant of a text, which may be a date.

    A date is the last instant of its day in UTC, or the first one (`is_start`).

    Raises:
        InvalidInput: it is neither a date nor an instant.
    """
    if not _DATE.fullmatch(text):
        return parse_instant(text, pointer=pointer)
    moment = time.min if is_start else time.max
    return datetime.combine(parse_date(text, pointer=pointer), moment, UTC)
