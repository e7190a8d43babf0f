"""Dates, instants and periods are parsed strictly."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.dates import Period, add_months, format_instant, parse_date, parse_instant
from spawn.domain.errors import InvalidInput
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.strategies import instants

pytestmark = pytest.mark.core


def code_of(error: pytest.ExceptionInfo[InvalidInput]) -> str:
    return error.value.errors[0].code


@given(st.dates())
def test_a_date_round_trips_through_its_text(day: date) -> None:
    assert parse_date(day.isoformat()) == day


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2030-02-29", "out_of_range"),
        ("0000-01-01", "out_of_range"),
        ("10000-01-01", "not_a_date"),
        ("20300101", "not_a_date"),
        ("2030-W01-1", "not_a_date"),
        ("2030-1-1", "not_a_date"),
        ("2030-01-01T00:00:00Z", "not_a_date"),
        ("2030-01-01\n", "not_a_date"),
    ],
)
def test_other_forms_of_a_date_are_rejected(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_date(text, pointer="/cod_date")
    assert (error.value.errors[0].pointer, code_of(error)) == ("/cod_date", code)


@given(instants())
def test_an_instant_round_trips_through_its_text(instant: datetime) -> None:
    text = format_instant(instant)
    assert text.endswith("Z")
    assert parse_instant(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-31T12:00:00Z",
        "2030-01-31t12:00:00z",
        "2030-01-31 13:30:00+01:30",
        "2030-01-31T04:00:00.000000000-08:00",
        "2030-01-31T12:00:00-00:00",
    ],
)
def test_any_offset_is_converted_to_utc(text: str) -> None:
    instant = parse_instant(text)
    assert instant == datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert instant.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2030-01-31T12:00:00", "naive_time"),
        ("2030-01-31", "not_an_instant"),
        ("2030-01-31T12:00Z", "not_an_instant"),
        ("2030-01-31T12:00:00+0100", "not_an_instant"),
        ("2030-01-31T12:00:00.1234567Z", "too_precise"),
        ("2030-01-31T12:00:00." + "0" * 25 + "Z", "too_precise"),
        ("2030-01-31T25:00:00Z", "out_of_range"),
        ("2030-01-31T12:00:60Z", "out_of_range"),
        ("2030-01-31T12:00:00+24:00", "out_of_range"),
        ("0001-01-01T00:00:00+14:00", "out_of_range"),
        ("9999-12-31T23:00:00-14:00", "out_of_range"),
    ],
)
def test_naive_inexact_and_impossible_instants_are_rejected(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_instant(text)
    assert code_of(error) == code


def test_a_period_includes_its_start_and_not_its_end() -> None:
    year = Period(date(2030, 1, 1), date(2031, 1, 1))
    assert date(2030, 1, 1) in year
    assert date(2030, 12, 31) in year
    assert date(2031, 1, 1) not in year
    assert (year.days, year.months) == (365, 12)


@pytest.mark.parametrize("end", [date(2030, 1, 1), date(2029, 12, 31)])
def test_an_empty_or_reversed_period_is_rejected(end: date) -> None:
    with pytest.raises(InvalidInput) as error:
        Period(date(2030, 1, 1), end)
    assert code_of(error) == "date_order"


def test_periods_overlap_only_if_they_share_a_day() -> None:
    first = Period(date(2030, 1, 1), date(2030, 4, 1))
    assert not first.overlaps(Period(date(2030, 4, 1), date(2030, 7, 1)))
    assert not first.overlaps(Period(date(2029, 10, 1), date(2030, 1, 1)))
    assert first.overlaps(Period(date(2030, 3, 31), date(2030, 7, 1)))
    assert first.overlaps(first)


def test_months_are_clipped_to_the_last_day() -> None:
    assert add_months(date(2031, 1, 31), 1) == date(2031, 2, 28)
    assert add_months(date(2032, 1, 31), 1) == date(2032, 2, 29)
    assert add_months(date(2030, 1, 15), -13) == date(2028, 12, 15)
    with expect_invalid(("", "out_of_range")):
        add_months(date(9999, 12, 1), 1)


DAYS = st.dates(min_value=date(1900, 1, 1), max_value=date(2200, 12, 31))


@given(DAYS, st.integers(1, 40_000))
def test_the_whole_months_of_a_period_fit_and_one_more_does_not(start: date, days: int) -> None:
    period = Period(start, start + timedelta(days=days))
    assert add_months(start, period.months) <= period.end < add_months(start, period.months + 1)
