"""Dates as people write them: formats, parts of a date, serial numbers of spreadsheets."""

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

from spawn.domain.imports.cells.month_names import translate_months
from spawn.domain.imports.mapping import DATE_FORMAT_NAMES, FISCAL_YEAR, DayOfPeriod

MAX_FORMAT_LENGTH: Final = 40
_MAX_CACHED_TEXTS: Final = 4096

_DIRECTIVES = re.compile(r"%(.)", re.DOTALL)
_DAYS = frozenset("".join(sorted(parts)) for parts in ("Ymd", "Ybd", "YBd", "ymd", "ybd", "yBd"))
_MONTHS = frozenset("".join(sorted(parts)) for parts in ("Ym", "Yb", "YB", "ym", "yb", "yB"))
_TIMES = frozenset("HIMSfpz")

_YEAR = re.compile(r"([12]\d{3})(?:\.0{1,6})?", re.ASCII)
_PERIODS: Final = {
    # The letters and words for a part of a year: quarter, Quartal, trimestre; half, semester.
    4: r"(?:q|t|quarter|quartal|trimestre|trim)",
    2: r"(?:h|s|half|halbjahr|semestre|sem)",
}
_SEPARATOR: Final = r"[ \-/.']*"
_PART_YEAR: Final = r"(?:of )?(?P<year>[12]\d{3}|\d\d)"


def _compile_period(count: int, word: str) -> list[re.Pattern[str]]:
    """Return the forms of a part of a year: Q3 2021, 3rd quarter of 2021, 2021Q3, 2021-3T."""
    part, year = rf"(?P<part>[1-{count}])", r"(?P<year>[12]\d{3})"
    ordinal = rf"{part}(?:st|nd|rd|th|er|e)?"
    forms = [
        (word, part, _PART_YEAR),
        (ordinal, word, _PART_YEAR),
        (year, word, part),
        (year, part, word),
    ]
    return [re.compile(_SEPARATOR.join(form), re.ASCII | re.IGNORECASE) for form in forms]


_PERIOD_FORMS: Final = {count: _compile_period(count, word) for count, word in _PERIODS.items()}
_CENTURY: Final = 2000
_YEARS = re.compile(
    r"(?:FY ?)?([12]\d{3})\s?[-/\u2013]\s?([12]\d{3}|\d\d)", re.ASCII | re.IGNORECASE
)
_FISCAL = re.compile(r"FY ?'?([12]\d{3}|\d\d)", re.ASCII | re.IGNORECASE)
_OFFSET_DAY = re.compile(r"(\d{4}-\d\d-\d\d)(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_MIDNIGHT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ]00:00(?::00(?:\.0{1,9})?)?)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII
)
_SERIAL = re.compile(r"(\d{1,7})(?:\.\d{1,20})?", re.ASCII)
_OFFSET = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)", re.ASCII)
_MAX_SERIAL: Final = 2_958_465  # 9999-12-31
_LEAP_SERIAL: Final = 60  # 1900-02-29, a day that only spreadsheets have

DateReader = Callable[[str], date | None]
"""Function from text to a day; None if the text is not of the format."""


def is_date_format(text: str) -> bool:
    """Return whether a format has a name, or a year with month or day and time, once each."""
    if text in DATE_FORMAT_NAMES:
        return True
    # A lone percent sign would escape the pattern, so percent signs are counted too.
    directives = _DIRECTIVES.findall(text)
    if len(text) > MAX_FORMAT_LENGTH or text.count("%") != len(directives):
        return False
    parts = "".join(sorted(part for part in directives if part not in _TIMES))
    times = [part for part in directives if part in _TIMES]
    if parts in _MONTHS:
        return not times
    return parts in _DAYS and len(set(times)) == len(times) and not {"H", "I"}.issubset(times)


def parse_utc_offset(text: str) -> timezone | None:
    """Return an offset from UTC such as +01:00 or Z; None if the text is none."""
    if text == "Z":
        return UTC
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    delta = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-delta if match[1] == "-" else delta)


def compile_date_parser(
    formats: Sequence[str], period: DayOfPeriod | None = None
) -> Callable[[str], str | None]:
    """Return a function from text to an ISO date, by the first format that fits.

    A time is left out. A format without a day takes the first day of its period, or with
    `DayOfPeriod.END` the last one. The results are cached by text: a file has few different days.
    """
    readers = [_compile_format(text, period) for text in formats]

    @lru_cache(_MAX_CACHED_TEXTS)
    def parse(text: str) -> str | None:
        for read in readers:
            day = read(text)
            if day is not None:
                return day.isoformat()
        return None

    return parse


def compile_instant_parser(
    formats: Sequence[str], offset: timezone | None
) -> Callable[[str], str | None]:
    """Return a function from a local time to an RFC 3339 instant; `offset` is its place's."""

    def parse(text: str) -> str | None:
        for date_format in formats:
            instant = _parse_instant(text, date_format)
            if instant is not None:
                if instant.tzinfo is None:
                    instant = instant.replace(tzinfo=offset)
                return None if instant.tzinfo is None else instant.isoformat()
        return None

    return parse


def _parse_instant(text: str, date_format: str) -> datetime | None:
    try:
        if date_format == "iso":
            return datetime.fromisoformat(text)
        return datetime.strptime(text, date_format)  # noqa: DTZ007 - the offset follows
    except ValueError:
        return None


def _compile_format(text: str, period: DayOfPeriod | None) -> DateReader:
    is_end = period is DayOfPeriod.END
    if text in {"year", "year_end"}:
        return lambda cell: _read_year(cell, is_end=is_end or text == "year_end")
    if text in {"quarter", "half_year"}:
        count = 4 if text == "quarter" else 2
        return lambda cell: _read_part_of_year(cell, count, is_end=is_end)
    if text.startswith(FISCAL_YEAR):
        month = int(text.removeprefix(FISCAL_YEAR))
        return lambda cell: _read_fiscal_year(cell, month, is_end=is_end)
    if text == "iso":
        return _read_iso
    if text in {"serial", "serial_1904"}:
        return lambda cell: _read_serial(cell, is_1904=text == "serial_1904")
    has_day = "%d" in text
    return lambda cell: _read_directives(cell, text, has_day=has_day, is_end=is_end)


def _read_year(text: str, *, is_end: bool) -> date | None:
    match = _YEAR.fullmatch(text.strip())
    if match is None:
        return None
    return date(int(match[1]), 12, 31) if is_end else date(int(match[1]), 1, 1)


def _read_part_of_year(text: str, count: int, *, is_end: bool) -> date | None:
    """Read a quarter (`count` 4) or a half (2) of a year; a year of two digits is after 2000."""
    for form in _PERIOD_FORMS[count]:
        match = form.fullmatch(text.strip())
        if match is not None:
            year, part, months = int(match["year"]), int(match["part"]), 12 // count
            year += _CENTURY if year < 100 else 0  # noqa: PLR2004 - two digits
            last = _end_of_month(year, months * part)
            return last if is_end else date(year, months * (part - 1) + 1, 1)
    return None


def _read_fiscal_year(text: str, month: int, *, is_end: bool) -> date | None:
    """Read a year that begins in a month: 2020-21, 2020/2021, or FY2021 by the year of its end."""
    text = text.strip()
    if (match := _YEARS.fullmatch(text)) is not None:
        year = int(match[1])
        if int(match[2]) % 100 != (year + 1) % 100:
            return None
    elif (match := _FISCAL.fullmatch(text)) is not None:
        year = int(match[1])
        year += _CENTURY if year < 100 else 0  # noqa: PLR2004 - two digits
        year -= month > 1
    else:
        return None
    if not is_end:
        return date(year, month, 1)
    return _end_of_month(year, 12) if month == 1 else _end_of_month(year + 1, month - 1)


def _read_iso(text: str) -> date | None:
    text = text.strip()
    if (match := _OFFSET_DAY.fullmatch(text)) is not None:
        text = match[1]  # A day of XML Schema may have the offset of its place.
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        return None


def read_midnight(text: str) -> str | None:
    """Return the day of an ISO date whose time is midnight or absent; None for other texts."""
    match = _MIDNIGHT.fullmatch(text.strip())
    return None if match is None else match[1]


def _read_serial(text: str, *, is_1904: bool) -> date | None:
    """Read the serial number of a spreadsheet's date; a fraction is the time of the day."""
    match = _SERIAL.fullmatch(text.strip())
    if match is None or not 0 < int(match[1]) <= _MAX_SERIAL:
        return None
    number = int(match[1])
    if is_1904:
        epoch = date(1904, 1, 1)
    elif number == _LEAP_SERIAL:
        return None
    else:
        epoch = date(1899, 12, 31) if number < _LEAP_SERIAL else date(1899, 12, 30)
    try:
        return epoch + timedelta(days=number)
    except OverflowError:
        return None


def _read_directives(text: str, date_format: str, *, has_day: bool, is_end: bool) -> date | None:
    day = _parse_directives(text, date_format)
    directive = next((one for one in ("%b", "%B") if one in date_format), None)
    if day is None and directive is not None:
        day = _parse_directives(translate_months(text, directive), date_format)
    if day is None:
        return None
    return _end_of_month(day.year, day.month) if is_end and not has_day else day


def _parse_directives(text: str, date_format: str) -> date | None:
    try:
        return datetime.strptime(text, date_format).date()  # noqa: DTZ007 - a day, no instant
    except ValueError:
        return None


def _end_of_month(year: int, month: int) -> date:
    return date(year, month, monthrange(year, month)[1])
